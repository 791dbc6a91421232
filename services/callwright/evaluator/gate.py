"""Whether a candidate may be promoted: its measures against the gate of the FineTune document.

The caller records the `GateResult`, or raises `GateFailed` with its `message`.
"""

from typing import Literal

from callwright.errors import Unavailable
from callwright.evaluator.report import TOO_LONG, Report, ReportModel
from callwright.spec.model import Gate

MAX_UNANSWERED = 0.01
"""Largest share of requests without an answer in an evaluation that a gate can go by; those too long excepted."""


class GateMeasure(ReportModel):
    """One measure against what the gate allows."""

    name: str
    """The gate's key, in the document's spelling."""
    got: float | None
    """What was measured; None when nothing was, which passes only where the gate asks nothing."""
    bound: Literal["at least", "at most"]
    """The side of the limit that is allowed."""
    allowed: float
    """The limit."""
    passed: bool
    """Within it."""


class GateResult(ReportModel):
    """The decision, with every measure that led to it."""

    passed: bool
    """Every measure is within its limit."""
    measures: tuple[GateMeasure, ...]
    """All of them, passed or not."""

    message: str
    """Names the failed measures and by how much they fail, in one line; empty when none does."""


def decide(
    gate: Gate,
    candidate: Report,
    *,
    promoted: Report | None = None,
    expects_promoted: bool = False,
    base: Report | None = None,
) -> GateResult:
    """Hold a candidate's report against the gate.

    `promoted` is the promoted version's report and `base` the base model's, both on the same requests.
    `expects_promoted` says that a version is promoted: without a report of it, a gate on regression fails.
    Raises `Unavailable` where too few requests were answered to say anything of a model that the gate asks of.
    """
    asked_of = (candidate, promoted if gate.max_regression < 1 else None, None if gate.max_forgetting is None else base)
    for report in filter(None, asked_of):
        _check_answered(report)
    total = candidate.total
    measures = [
        _measure("minAccuracy", total.accuracy, "at least", gate.min_accuracy, asked=gate.min_accuracy > 0),
        _measure("maxMalformed", total.malformed, "at most", gate.max_malformed, asked=gate.max_malformed < 1),
    ]
    if promoted is not None or expects_promoted:
        lost = _lost(promoted, candidate) if promoted else None
        measures.append(_measure("maxRegression", lost, "at most", gate.max_regression, asked=gate.max_regression < 1))
    if gate.max_forgetting is not None:
        before, now = base.total.general_loss if base else None, total.general_loss
        forgotten = None if before is None or now is None else now - before
        measures.append(_measure("maxForgetting", forgotten, "at most", gate.max_forgetting, asked=True))
    failed = [measure for measure in measures if not measure.passed]
    return GateResult(passed=not failed, measures=tuple(measures), message="; ".join(map(_words, failed)))


def _check_answered(report: Report) -> None:
    """What an engine, node or network failed to answer is no fault of the model: trying again may help."""
    reasons = {reason: count for reason, count in report.total.error_reasons.items() if reason != TOO_LONG}
    unanswered, asked = sum(reasons.values()), report.total.requests
    if unanswered > MAX_UNANSWERED * asked:
        counted = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
        raise Unavailable(
            f"deciding by the gate: {unanswered} of {asked} requests to {report.model!r} got no answer ({counted}); "
            f"expected at most {MAX_UNANSWERED:.0%}; see the engine's log and evaluate again"
        )


def _lost(promoted: Report, candidate: Report) -> float | None:
    """Loss of accuracy on the requests that both were asked."""
    keys = promoted.calls.keys() & candidate.calls.keys()
    return sum(promoted.calls[key] - candidate.calls[key] for key in keys) / len(keys) if keys else None


def _measure(
    name: str, got: float | None, bound: Literal["at least", "at most"], allowed: float, *, asked: bool
) -> GateMeasure:
    within = got is not None and (got >= allowed if bound == "at least" else got <= allowed)
    passed = within or (got is None and not asked)
    return GateMeasure(name=name, got=got, bound=bound, allowed=allowed, passed=passed)


def _words(measure: GateMeasure) -> str:
    expected = f"expected {measure.bound} {measure.allowed:.4g}"
    if measure.got is None:
        return f"{measure.name}: nothing was measured; {expected}"
    return f"{measure.name}: got {measure.got:.4g}; {expected}; off by {abs(measure.got - measure.allowed):.4g}"
