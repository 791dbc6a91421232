"""What the merge Job needs to know beside the FineTune document: each fact once, under its field."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class MergerConfig(BaseModel):
    """One merge of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    spec: Path
    """The FineTune document."""
    run: str = Field(min_length=1)
    """Name of the run whose adapter is merged."""
    version: str | None = None
    """Version to publish; the run's name when absent."""
    store: str
    """URL of the object store."""
    workdir: Path = Path("/tmp/callwright")
    """Folder for the adapter and a downloaded base."""
