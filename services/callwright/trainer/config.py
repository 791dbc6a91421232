"""What a pod is told, a flag per field, and what a training worker is: plain values that travel to every node."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from callwright.run import Run, StageConfig
from callwright.spec import FineTune
from callwright.store import Store


class TrainerConfig(StageConfig):
    """What one process does for one run."""

    stage: Literal["prepare", "train"] = "train"
    """`prepare` puts into the store all that the training waits for; `train` (when absent) trains."""


class WorkerConfig(BaseModel):
    """The run that a worker trains for, and what the driver has decided."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    finetune: FineTune
    """The document."""
    run: str
    """Name of the run."""
    store: str
    """URL of the object store that holds `runs/<run>/data/`."""
    directory: Path
    """The driver's working directory, which the document's relative paths are of; Ray gives workers another one."""
    root: Path
    """Folder for scratch files; what a node lacks it copies there."""
    data: Path
    """Folder with `train.arrow` and `test.arrow`; a node that lacks it copies it from the store."""
    sharded: bool | None = None
    """Whether workers hold shares of the base's layers; None where the workers find out by their devices' memory."""

    def open_run(self) -> Run:
        """Open the run on the worker's own node."""
        return Run(self.finetune, self.run, Store.open(self.store), self.root)
