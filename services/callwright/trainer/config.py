"""What a training worker is told: plain values that travel to every node."""

from pydantic import BaseModel, ConfigDict

from callwright.spec.model import Base, Lora, Train


class WorkerConfig(BaseModel):
    """The settings of one training worker."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run: str
    """Name of the run."""
    base: Base
    """The base model, resolved on the worker's own node."""
    lora: Lora
    """The adapter."""
    train: Train
    """The optimization."""
    store: str
    """URL of the object store that holds `runs/<run>/data/`."""
    data: str
    """Folder with `train.arrow` and `test.arrow`; a node that lacks it copies it from the store."""
    cache: str
    """Folder for what a node copies from the store."""
    sharded: bool | None = None
    """Whether workers hold shares of the base's layers; None where the workers find out by their devices' memory."""
    gpu: bool = False
    """Whether the worker has a GPU to itself."""
