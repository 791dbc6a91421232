"""Settings of the merge Job; each field is a flag."""

from callwright.run import StageConfig


class MergerConfig(StageConfig):
    """One merge of one run."""

    version: str | None = None
    """Version to publish; the run's name when absent."""
