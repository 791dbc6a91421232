"""Settings of the evaluation Job; each field is a flag."""

from pydantic import Field

from callwright.run import StageConfig


class EvaluatorConfig(StageConfig):
    """One evaluation of one run."""

    version: str | None = None
    """Version to evaluate; the run's name when absent."""
    base_url: str
    """OpenAI endpoint that serves the candidate under the model's name."""
    base_id: str | None = None
    """Model id of the base at the endpoint; it is not measured when absent."""
    promoted_id: str | None = None
    """Model id of the promoted version at the endpoint; its stored report is used when absent."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """Time that an answer may take."""
