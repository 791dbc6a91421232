"""`FineTune.status` as pydantic models: the controller writes them, `callwright status` and the CRD read them."""

from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, field_validator

from callwright.spec.model import SpecModel

Phase = Literal[
    "Pending", "Preparing", "Training", "Merging", "Evaluating", "AwaitingPromotion", "Promoting", "Deploying",
    "Suspended", "Promoted", "Completed", "Rejected", "Failed",
]  # fmt: skip
FINAL: frozenset[Phase] = frozenset({"Promoted", "Completed", "Rejected", "Failed"})
"""Phases in which nothing more happens until the document changes."""

ConditionType = Literal[
    "Ready", "Accepted", "Prepared", "Trained", "Merged", "Evaluated", "Canary", "Promoted", "Deployed", "Complete",
    "Failed",
]  # fmt: skip


class _StatusModel(SpecModel):
    """Base of what the controller writes, without what a newer release has added; `helm rollback` leaves that there."""

    model_config = ConfigDict(extra="ignore")


class Condition(_StatusModel):
    type: ConditionType
    """What this is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds; Unknown while the work is under way."""
    reason: str = Field(min_length=1, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    """Why, as one CamelCase word."""
    message: str | None = None
    """Why, for people: stage, pod, last log lines and what to do, where something failed."""
    last_transition_time: str
    """When `status` last changed, RFC 3339 in UTC."""
    observed_generation: int = Field(default=0, ge=0)
    """The document's generation that this speaks of."""


class ServedFigures(_StatusModel):
    """What a version has come to under its users."""

    requests: int = 0
    """Answers that were asked for, and came or failed."""
    error_rate: float | None = None
    """Share of them that failed."""
    refused_rate: float | None = None
    """Share of all requests that the engine refused with a 4xx."""
    left_rate: float | None = None
    """Share of all requests whose client gave up."""
    calls: int = 0
    """Tool calls, those included that cannot be read."""
    malformed_rate: float | None = None
    """Share of them that cannot be read."""
    streams: int = 0
    """Streams whose first token has come."""
    ttft_seconds: float | None = None
    """Time to the first token that 95 % of them kept, as exactly as the buckets of the metric tell it."""


class CanaryStatus(_StatusModel):
    version: str
    """The version that is tried, or was."""
    weight: int
    """Share of the requests that it takes, in percent."""
    since: str | None = None
    """When it was healthy first, RFC 3339 in UTC."""
    until: str | None = None
    """Until when the figures count."""
    candidate: ServedFigures = ServedFigures()
    """Its figures."""
    standing: ServedFigures = ServedFigures()
    """Those of the version that stands, in the same time."""


class Status(_StatusModel):
    observed_generation: int = Field(default=0, ge=0)
    """The document's generation that this status speaks of."""
    phase: Phase = "Pending"
    """Where the run stands."""
    run: str | None = None
    """Name of the run: the prefix of its objects and its folder in the store. A changed document makes a new one."""
    store: str | None = None
    """URL of the object store that the run and its model are in, for `--store` and for what serves the model."""
    attempt: int = Field(default=0, ge=0)
    """How often a failed stage of this run was taken up again."""
    version: str | None = None
    """Version of the merged model in the registry."""
    service: str | None = None
    """RayService that has taken the version. It does so once: what it serves after that is its users' to say."""
    canary: CanaryStatus | None = None
    """Figures of the candidate under a share of the requests, where `deploy.canary` asks for that."""
    progress: str | None = None
    """Training steps, done/total."""
    loss: float | None = None
    """Newest training loss."""
    accuracy: float | None = None
    """Share of requests with the right tool and every argument equal, from the evaluation."""
    gpu_hours: float | None = None
    """GPU-hours that the run's pods have held, all tries together; not the time for which they waited."""
    gpus: int | None = None
    """GPUs that they hold."""
    gpus_counted_at: str | None = None
    """Until when `gpuHours` counts."""
    message: str | None = None
    """What goes on, or what went wrong and what to do."""
    started_at: str | None = None
    """When this run began, RFC 3339 in UTC."""
    finished_at: str | None = None
    """When this run reached a final phase."""
    conditions: tuple[Condition, ...] = ()
    """`Ready` (the run came to its end well, or why not), `Accepted`, one per stage, and the outcomes `Complete` and
    `Failed`."""

    @field_validator("conditions", mode="before")
    @classmethod
    def _known(cls, conditions: Any) -> Any:
        """Leave out conditions of a type that another release has."""
        if not isinstance(conditions, list | tuple):
            return conditions
        types = get_args(ConditionType)
        return [each for each in conditions if not isinstance(each, dict) or each.get("type") in types]

    def condition(self, kind: ConditionType) -> Condition | None:
        """Return the condition of this type, if it was set."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def holds(self, kind: ConditionType) -> bool:
        """Return whether the condition of this type is True."""
        found = self.condition(kind)
        return found is not None and found.status == "True"
