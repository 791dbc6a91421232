"""What is wrong with an answer, in one word and in a line for a person; and the worst answers of an evaluation.

Owns the order of badness. Knows verdicts, not how they came about.
"""

import heapq
import json
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from callwright.evaluator import report
from callwright.evaluator.outcomes import Outcome
from callwright.evaluator.rows import Call, Row

Kind = Literal["right", "arguments", "tool", "no call", "malformed", "call", "again", "no answer"]
"""`call`: something was called where no tool fits; `again`: a call whose result is already there."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_SHOWN = 600


class Fault(NamedTuple):
    """The kind, how bad it is (0 for what is right), and words."""

    kind: Kind
    severity: float
    words: str


_RIGHT = Fault("right", 0.0, "")


def find(row: Row, outcome: Outcome) -> Fault:
    """Say what is wrong with one outcome."""
    verdict = outcome.verdict
    if outcome.error:
        return Fault("no answer", 7.0, f"no answer: {outcome.error[0]}")
    if verdict is None or row.kind == "general":
        return _RIGHT
    if verdict.malformed:
        return Fault("malformed", 6.0, f"malformed call: {verdict.malformed}")
    match row.kind:
        case "call" if not verdict.correct:
            return _wrong_call(row, outcome)
        case "no_call" if verdict.called:
            return Fault("call", 5.0, "called where no tool fits")
        case "answer" if verdict.repeated:
            return Fault("again", 2.5, "the same call again")
        case _:
            return _RIGHT


def _wrong_call(row: Row, outcome: Outcome) -> Fault:
    verdict = outcome.verdict
    assert verdict
    if not verdict.called:
        return Fault("no call", 4.0, "no call")
    if not verdict.right_tools:
        same_number = len(row.expected) == len(outcome.calls)
        return Fault("tool", 3.0, "wrong tool" if same_number else "wrong number of calls")
    due = verdict.arguments_expected
    missed = due - verdict.arguments_equal
    return Fault(
        "arguments", 1 + missed / max(due, 1), f"{missed} of {due} arguments wrong" if missed else "extra arguments"
    )


class Worst:
    """The `count` worst answers seen, by how wrong they are and then by order."""

    def __init__(self, count: int) -> None:
        self._count, self._seen = count, 0
        self._heap: list[tuple[float, int, report.Failure]] = []

    def add(self, row: Row, outcome: Outcome) -> None:
        """Look at one outcome."""
        fault = find(row, outcome)
        self._seen += 1
        if not fault.severity or self._count < 1:
            return
        if len(self._heap) == self._count and (fault.severity, -self._seen) <= self._heap[0][:2]:
            return
        entry = (fault.severity, -self._seen, _failure(row, outcome, fault.words))
        if len(self._heap) < self._count:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def failures(self) -> tuple[report.Failure, ...]:
        """Worst first."""
        return tuple(entry[2] for entry in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


def _failure(row: Row, outcome: Outcome, what: str) -> report.Failure:
    return report.Failure(
        set=row.set,
        id=row.id,
        what=what,
        prompt=_cut(str(row.messages[-1].get("content"))),
        expected=_cut(_shown(row.expected, row.reference)),
        got=_cut(outcome.error[1] if outcome.error else _shown(outcome.calls, outcome.content)),
    )


def _shown(calls: Sequence[Call], text: str | None) -> str:
    lines = [f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})" for call in calls]
    return "\n".join(lines or [text or "(nothing)"])


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
