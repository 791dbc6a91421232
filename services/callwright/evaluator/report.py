"""The report on one model, as it stands in JSON: measures in total and per set, the worst answers, and notes."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Share = float
"""Between 0 and 1."""
TOO_LONG = "prompt too long"
"""The one reason of an error that is the model's own: it has no room for the request."""


class ReportModel(BaseModel):
    """Base of everything in a report: frozen. What a newer Callwright wrote can be read: unknown keys are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Measures(ReportModel):
    """What was counted over some requests. A share of nothing is None."""

    requests: int
    """Requests put, of every kind."""
    errors: int
    """Requests without an answer; they count as wrong."""
    error_reasons: dict[str, int]
    """The errors by reason."""
    calls_due: int
    """Requests that a call answers."""
    accuracy: Share | None
    """Of the calls due: right tool and every argument equal, and no other call."""
    accuracy_interval: tuple[Share, Share] | None
    """95 % interval of the accuracy (Wilson)."""
    normalised_accuracy: Share | None
    """The same where case, spaces, outer punctuation, numbers as text and default values do not matter."""
    called: Share | None
    """Of the calls due: anything was called."""
    right_tool: Share | None
    """Of the calls due: exactly the right tools were called."""
    arguments: Share | None
    """Of the arguments due: equal."""
    faults: dict[str, int]
    """The calls due by what is wrong with the answer: `right`, `arguments`, `tool`, `no call`, `malformed`, …"""
    parallel_due: int
    """Requests that several calls at once answer."""
    parallel_accuracy: Share | None
    """Accuracy over those."""
    schema_valid: Share | None
    """Of the answers with calls: every call fits its tool's schema."""
    tool_requests: int
    """Requests with tools."""
    malformed: Share | None
    """Of the requests with tools: answered with a call that cannot be read."""
    malformed_reasons: dict[str, int]
    """The malformed calls by reason."""
    no_call_due: int
    """Requests with tools of which none fits (irrelevance)."""
    no_call_accuracy: Share | None
    """Of those: nothing was called."""
    answers_due: int
    """Requests where tool results are to be put into words."""
    answer_overlap: Share | None
    """Mean ROUGE-L of those answers with the reference."""
    answers_judged: int
    """Answers that a judge model gave a verdict on."""
    judged_right: Share | None
    """Of those: judged right."""
    repeated: Share | None
    """Of the requests that follow a tool result: the same call again."""
    general_rows: int
    """General conversations measured."""
    general_tokens: int
    """Tokens of their answers."""
    general_loss: float | None
    """Negative log-likelihood of those answers, in nats per token."""
    general_overlap: Share | None
    """Mean ROUGE-L with the reference, where the endpoint gives no log-probabilities."""
    latency_p50_seconds: float | None
    """Median time from request to whole answer."""
    latency_p95_seconds: float | None
    """The time that 95 % stay under."""
    prompt_tokens: int
    """Tokens read, as the endpoint counts them."""
    completion_tokens: int
    """Tokens written."""


class ShownRow(ReportModel):
    """One answer, as a report shows it."""

    set: str
    """Set that the request is from."""
    id: str
    """The request's id in it."""
    what: str
    """What is wrong with the answer; empty where it is right."""
    prompt: str
    """End of the conversation that was put."""
    expected: str
    """The gold."""
    got: str
    """What came."""


class Report(ReportModel):
    """One model, measured."""

    model: str
    """Model id at the endpoint."""
    version: str | None = None
    """Version in the store, where known."""
    base_url: str
    """Endpoint, without credentials."""
    dialect: str | None
    """Dialect that was asked for by header."""
    created_at: str
    """Time of the report, UTC, ISO 8601."""
    seconds: float
    """Time that this run took; less than the whole when it carried on an earlier one."""
    total: Measures
    """Over every set."""
    sets: dict[str, Measures]
    """Per set."""
    failures: tuple[ShownRow, ...] = ()
    """The worst answers, worst first: of each kind of fault as many, as far as there are."""
    samples: tuple[ShownRow, ...] = ()
    """Answers to a few requests, right and wrong: of the same rows always to the same ones."""
    notes: tuple[str, ...] = ()
    """What a reader must know to trust the numbers."""
    calls: dict[str, bool] = Field(default_factory=dict)
    """Right or wrong, for each request that a call answers."""
    no_calls: dict[str, bool] = Field(default_factory=dict)
    """The same for each request with tools of which none fits."""
    losses: dict[str, tuple[float, int]] = Field(default_factory=dict)
    """Nats and tokens of each general conversation."""

    def summary(self) -> dict[str, Any]:
        """Return the figures without rows: for a manifest, or to print."""
        return self.model_dump(mode="json", exclude={"failures", "samples", "calls", "no_calls", "losses"})
