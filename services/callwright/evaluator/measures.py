"""From results to figures: what is wrong with each answer, and the measures over many.

    measures = measure([judged(row, outcome) for …])
    measures.accuracy

A `Judged` keeps of a result what figures need, so memory does not grow with the answers.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy

from callwright.dialects.literals import encodable
from callwright.evaluator.journal import Outcome
from callwright.evaluator.report import Measures, ShownRow
from callwright.evaluator.row import Call, Kind, Row
from callwright.evaluator.scoring import Verdict

FaultKind = Literal["right", "arguments", "tool", "no call", "malformed", "call", "again", "no answer"]
"""`call`: something was called where no tool fits; `again`: a call whose result is already there."""
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

_SHOWN = 600
_Z95 = 1.959963984540054


class Fault(NamedTuple):
    """What is wrong with an answer: the kind, how bad it is (0 for what is right), and words for a person."""

    kind: FaultKind
    severity: float
    words: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of a request, with what its row asked for and without what the model wrote."""

    set: str
    key: str
    kind: Kind
    has_tools: bool
    calls_due: int
    arguments_due: int
    fault: Fault
    outcome: Outcome

    @property
    def correct(self) -> bool:
        """Whether exactly what is due came."""
        return bool(self.outcome.verdict and self.outcome.verdict.correct)


def judged(row: Row, outcome: Outcome) -> Judged:
    """Take a result to be counted."""
    return Judged(
        set=row.set,
        key=row.key,
        kind=row.kind,
        has_tools=bool(row.tools),
        calls_due=len(row.expected),
        arguments_due=sum(len(call.arguments) for call in row.expected),
        fault=_fault(row, outcome),
        outcome=replace(outcome, content=None, calls=()),
    )


def _fault(row: Row, outcome: Outcome) -> Fault:
    verdict = outcome.verdict
    if outcome.error:
        return Fault("no answer", 7.0, f"no answer: {outcome.error.reason}")
    if verdict is None or row.kind == "general":
        return Fault("right", 0.0, "")
    if verdict.malformed:
        return Fault("malformed", 6.0, f"malformed call: {verdict.malformed}")
    if row.kind == "no_call" and verdict.called:
        return Fault("call", 5.0, "called where no tool fits")
    if row.kind == "answer" and verdict.repeated:
        return Fault("again", 2.5, "the same call again")
    if row.kind != "call" or verdict.correct:
        return Fault("right", 0.0, "")
    if not verdict.called:
        return Fault("no call", 4.0, "no call")
    if not verdict.right_tools:
        same_number = len(row.expected) == len(outcome.calls)
        return Fault("tool", 3.0, "wrong tool" if same_number else "wrong number of calls")
    due = verdict.arguments_expected
    missed = due - verdict.arguments_equal
    words = f"{missed} of {due} arguments wrong" if missed else "extra arguments"
    return Fault("arguments", 1 + missed / max(due, 1), words)


def measure(results: Sequence[Judged]) -> Measures:
    """Return the figures over some results. A request without an answer counts as wrong."""
    by_kind: dict[Kind, list[Judged]] = {kind: [r for r in results if r.kind == kind] for kind in get_args(Kind)}
    due = by_kind["call"]
    parallel = [r for r in due if r.calls_due > 1]
    tool_requests = sum(r.has_tools for r in results)
    errors = [r.outcome.error.reason for r in results if r.outcome.error]
    seconds = [r.outcome.seconds for r in results if not r.outcome.error]
    verdicts = _verdicts(results)
    malformed = [v.malformed for v in verdicts if v.malformed]
    word_of_judge = [r.outcome.judged for r in results if r.outcome.judged is not None]
    losses = [r.outcome.loss for r in results if r.outcome.loss]
    tokens = sum(count for _, count in losses)
    return Measures(
        requests=len(results),
        errors=len(errors),
        error_reasons=dict(Counter(errors).most_common()),
        calls_due=len(due),
        accuracy=_ratio(sum(r.correct for r in due), len(due)),
        accuracy_interval=wilson(sum(r.correct for r in due), len(due)),
        normalised_accuracy=_ratio(sum(v.normalised for v in _verdicts(due)), len(due)),
        called=_ratio(sum(v.called for v in _verdicts(due)), len(due)),
        right_tool=_ratio(sum(v.right_tools for v in _verdicts(due)), len(due)),
        arguments=_ratio(sum(v.arguments_equal for v in _verdicts(due)), sum(r.arguments_due for r in due)),
        faults={kind: count for kind in FAULT_KINDS if (count := sum(r.fault.kind == kind for r in due))},
        parallel_due=len(parallel),
        parallel_accuracy=_ratio(sum(r.correct for r in parallel), len(parallel)),
        schema_valid=_mean(v.schema_valid for v in verdicts),
        tool_requests=tool_requests,
        malformed=_ratio(len(malformed), tool_requests),
        malformed_reasons=dict(Counter(malformed).most_common()),
        no_call_due=len(by_kind["no_call"]),
        no_call_accuracy=_ratio(sum(r.correct for r in by_kind["no_call"]), len(by_kind["no_call"])),
        answers_due=len(by_kind["answer"]),
        answer_overlap=_mean(v.overlap for v in _verdicts(by_kind["answer"])),
        answers_judged=len(word_of_judge),
        judged_right=_mean(word_of_judge),
        repeated=_mean(v.repeated for v in verdicts),
        general_rows=len(by_kind["general"]),
        general_tokens=tokens,
        general_loss=_ratio(sum(nats for nats, _ in losses), tokens),
        general_overlap=_mean(v.overlap for v in _verdicts(by_kind["general"])),
        latency_p50_seconds=float(numpy.quantile(seconds, 0.5)) if seconds else None,
        latency_p95_seconds=float(numpy.quantile(seconds, 0.95)) if seconds else None,
        prompt_tokens=sum(r.outcome.prompt_tokens for r in results),
        completion_tokens=sum(r.outcome.completion_tokens for r in results),
    )


def _verdicts(results: Iterable[Judged]) -> list[Verdict]:
    return [result.outcome.verdict for result in results if result.outcome.verdict]


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None."""
    known = [value for value in values if value is not None]
    return _ratio(sum(known), len(known))


def wilson(successes: int, count: int) -> tuple[float, float] | None:
    """95 % interval of a share, by Wilson's score; None of nothing."""
    if not count:
        return None
    share, z2 = successes / count, _Z95 * _Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    # The ends are exact where rounding would leave a trace of 1e-17.
    return 0.0 if not successes else middle - half, 1.0 if successes == count else middle + half


def shown_row(row: Row, outcome: Outcome, what: str) -> ShownRow:
    """Return an answer as the report shows it, cut where it is long."""
    return ShownRow(
        set=row.set,
        id=encodable(row.id),
        what=what,
        prompt=_cut(str(row.messages[-1].get("content"))),
        expected=_cut(_gold(row)),
        got=_cut(outcome.error.text if outcome.error else _shown(outcome.calls, outcome.content)),
    )


def _gold(row: Row) -> str:
    if row.kind == "no_call":
        return " ".join(filter(None, ("(no call)", row.reference)))
    return _shown(row.expected, row.reference)


def _shown(calls: Sequence[Call], text: str | None) -> str:
    lines = [f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})" for call in calls]
    return "\n".join(lines or [text or "(nothing)"])


def _cut(text: str) -> str:
    """Return the text's beginning, without half surrogate pairs, which no report could be written with."""
    return encodable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
