"""Adds results up, one at a time, into measures; says what is wrong with each, and keeps the worst.

Memory grows by eight bytes a request, whatever the answers hold.
"""

import heapq
import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy

from callwright.dialects.literals import encodable
from callwright.evaluator.journal import Outcome
from callwright.evaluator.report import FailedRow, Measures
from callwright.evaluator.row import Call, Row

FaultKind = Literal["right", "arguments", "tool", "no call", "malformed", "call", "again", "no answer"]
"""`call`: something was called where no tool fits; `again`: a call whose result is already there."""
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

_SHOWN = 600
_Z95 = 1.959963984540054


class Tally:
    """Counts over some requests."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._malformed: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._sums: dict[str, float] = {"answer": 0.0, "general": 0.0, "nats": 0.0}
        self._latencies = array("d")

    def add(self, row: Row, outcome: Outcome) -> None:
        """Count one request."""
        kind, parallel = row.kind, len(row.expected) > 1
        self._counts.update(
            {
                "requests": 1,
                kind: 1,
                "tools": bool(row.tools),
                "parallel": parallel,
                "arguments_due": sum(len(call.arguments) for call in row.expected),
                "prompt_tokens": outcome.prompt_tokens,
                "completion_tokens": outcome.completion_tokens,
            }
        )
        if kind == "call":
            self._faults[find_fault(row, outcome).kind] += 1
        if outcome.error:
            self._errors[outcome.error.reason] += 1
            return
        self._latencies.append(outcome.seconds)
        if outcome.loss:
            nats, tokens = outcome.loss
            self._counts["loss_tokens"] += tokens
            self._sums["nats"] += nats
        verdict = outcome.verdict
        if verdict is None:
            return
        self._counts.update(
            {f"{kind}_{n}": getattr(verdict, n) for n in ("correct", "normalised", "called", "right_tools")}
        )
        self._counts.update(
            {
                "parallel_correct": parallel and verdict.correct,
                "arguments_equal": verdict.arguments_equal,
                "schema": verdict.schema_valid is not None,
                "schema_valid": bool(verdict.schema_valid),
                "followed": verdict.repeated is not None,
                "repeated": bool(verdict.repeated),
                "judged": outcome.judged is not None,
                "judged_right": bool(outcome.judged),
                f"{kind}_overlaps": verdict.overlap is not None,
            }
        )
        if verdict.malformed:
            self._malformed[verdict.malformed] += 1
        if verdict.overlap is not None:
            self._sums[kind] += verdict.overlap

    def measures(self) -> Measures:
        """The figures so far."""
        c = self._counts
        return Measures(
            requests=c["requests"],
            errors=self._errors.total(),
            error_reasons=dict(self._errors.most_common()),
            calls_due=c["call"],
            accuracy=_share(c["call_correct"], c["call"]),
            accuracy_interval=wilson(c["call_correct"], c["call"]),
            normalised_accuracy=_share(c["call_normalised"], c["call"]),
            called=_share(c["call_called"], c["call"]),
            right_tool=_share(c["call_right_tools"], c["call"]),
            arguments=_share(c["arguments_equal"], c["arguments_due"]),
            faults={kind: self._faults[kind] for kind in FAULT_KINDS if self._faults[kind]},
            parallel_due=c["parallel"],
            parallel_accuracy=_share(c["parallel_correct"], c["parallel"]),
            schema_valid=_share(c["schema_valid"], c["schema"]),
            tool_requests=c["tools"],
            malformed=_share(self._malformed.total(), c["tools"]),
            malformed_reasons=dict(self._malformed.most_common()),
            no_call_due=c["no_call"],
            no_call_accuracy=_share(c["no_call_correct"], c["no_call"]),
            answers_due=c["answer"],
            answer_overlap=_share(self._sums["answer"], c["answer_overlaps"]),
            answers_judged=c["judged"],
            judged_right=_share(c["judged_right"], c["judged"]),
            repeated=_share(c["repeated"], c["followed"]),
            general_rows=c["general"],
            general_tokens=c["loss_tokens"],
            general_loss=_share(self._sums["nats"], c["loss_tokens"]),
            general_overlap=_share(self._sums["general"], c["general_overlaps"]),
            latency_p50_seconds=self._latency(0.5),
            latency_p95_seconds=self._latency(0.95),
            prompt_tokens=c["prompt_tokens"],
            completion_tokens=c["completion_tokens"],
        )

    def _latency(self, share: float) -> float | None:
        return float(numpy.quantile(self._latencies, share)) if self._latencies else None


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def wilson(successes: int, count: int) -> tuple[float, float] | None:
    """95 % interval of a share, by Wilson's score; None of nothing."""
    if not count:
        return None
    share, z2 = successes / count, _Z95 * _Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    # The ends are exact where rounding would leave a trace of 1e-17.
    return 0.0 if not successes else middle - half, 1.0 if successes == count else middle + half


class Fault(NamedTuple):
    """What is wrong with an answer: the kind, how bad it is (0 for what is right), and words for a person."""

    kind: FaultKind
    severity: float
    words: str


def find_fault(row: Row, outcome: Outcome) -> Fault:
    """Say what is wrong with one result."""
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


class Worst:
    """The `count` worst answers seen, by how wrong they are and then by order."""

    def __init__(self, count: int) -> None:
        self._count, self._seen = count, 0
        self._heap: list[tuple[float, int, FailedRow]] = []

    def add(self, row: Row, outcome: Outcome) -> None:
        """Look at one result."""
        fault = find_fault(row, outcome)
        self._seen += 1
        if fault.severity:
            heapq.heappush(self._heap, (fault.severity, -self._seen, _failed_row(row, outcome, fault.words)))
        if len(self._heap) > self._count:
            heapq.heappop(self._heap)

    def rows(self) -> tuple[FailedRow, ...]:
        """Worst first."""
        return tuple(entry[2] for entry in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


def _failed_row(row: Row, outcome: Outcome, what: str) -> FailedRow:
    return FailedRow(
        set=row.set,
        id=encodable(row.id),
        what=what,
        prompt=_cut(str(row.messages[-1].get("content"))),
        expected=_cut(_shown(row.expected, row.reference)),
        got=_cut(outcome.error.text if outcome.error else _shown(outcome.calls, outcome.content)),
    )


def _shown(calls: Sequence[Call], text: str | None) -> str:
    lines = [f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})" for call in calls]
    return "\n".join(lines or [text or "(nothing)"])


def _cut(text: str) -> str:
    """The text's beginning, without half surrogate pairs, which no report could be written with."""
    return encodable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
