"""What the evaluation Job needs to know beside the FineTune document: each fact once, under its field."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EvaluatorConfig(BaseModel):
    """One evaluation of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    spec: Path
    """The FineTune document."""
    run: str = Field(min_length=1)
    """Name of the run, under which the result is kept."""
    version: str
    """Version to evaluate; the run's name on a cluster."""
    store: str
    """URL of the object store."""
    base_url: str
    """OpenAI endpoint that serves the candidate under the model's name."""
    base_id: str | None = None
    """Model id of the base at the endpoint; it is not measured when absent."""
    promoted_id: str | None = None
    """Model id of the promoted version at the endpoint; its stored report is used when absent."""
    workdir: Path = Path(".callwright")
    """Folder for what an interrupted evaluation carries on from."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """Time that an answer may take."""
