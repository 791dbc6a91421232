"""Adds outcomes up, one at a time, into measures.

Memory grows by eight bytes a request, whatever the answers hold.
"""

from array import array
from collections import Counter

from callwright.evaluator import faults, report, statistics
from callwright.evaluator.outcomes import Outcome
from callwright.evaluator.rows import Row


class Tally:
    """Counts over some requests."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._malformed: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._latencies = array("d")
        self._answer_overlap = self._general_overlap = self._nats = 0.0

    def add(self, row: Row, outcome: Outcome) -> None:
        """Count one request."""
        counts, verdict = self._counts, outcome.verdict
        kind, parallel = row.kind, len(row.expected) > 1
        counts["requests"] += 1
        counts[kind] += 1
        counts["tools"] += bool(row.tools)
        counts["parallel"] += parallel
        counts["arguments_due"] += sum(len(call.arguments) for call in row.expected)
        if kind == "call":
            self._faults[faults.find(row, outcome).kind] += 1
        counts["prompt_tokens"] += outcome.prompt_tokens
        counts["completion_tokens"] += outcome.completion_tokens
        if outcome.error:
            self._errors[outcome.error[0]] += 1
            return
        self._latencies.append(outcome.seconds)
        if outcome.loss:
            counts["losses"] += 1
            counts["loss_tokens"] += outcome.loss[1]
            self._nats += outcome.loss[0]
        if verdict is None:
            return
        for name in ("correct", "normalised", "called", "right_tools"):
            counts[f"{kind}_{name}"] += getattr(verdict, name)
        counts["parallel_correct"] += parallel and verdict.correct
        counts["arguments_equal"] += verdict.arguments_equal
        counts["schema"] += verdict.schema_valid is not None
        counts["schema_valid"] += bool(verdict.schema_valid)
        counts["followed"] += verdict.repeated is not None
        counts["repeated"] += bool(verdict.repeated)
        counts["judged"] += outcome.judged is not None
        counts["judged_right"] += bool(outcome.judged)
        if verdict.malformed:
            self._malformed[verdict.malformed] += 1
        if verdict.overlap is not None:
            counts[f"{kind}_overlaps"] += 1
            if kind == "general":
                self._general_overlap += verdict.overlap
            else:
                self._answer_overlap += verdict.overlap

    def measures(self) -> report.Measures:
        """The figures so far."""
        c = self._counts
        return report.Measures(
            requests=c["requests"],
            errors=self._errors.total(),
            error_reasons=dict(self._errors.most_common()),
            calls_due=c["call"],
            accuracy=_share(c["call_correct"], c["call"]),
            accuracy_interval=statistics.wilson(c["call_correct"], c["call"]),
            normalised_accuracy=_share(c["call_normalised"], c["call"]),
            called=_share(c["call_called"], c["call"]),
            right_tool=_share(c["call_right_tools"], c["call"]),
            arguments=_share(c["arguments_equal"], c["arguments_due"]),
            faults={kind: self._faults[kind] for kind in faults.KINDS if self._faults[kind]},
            parallel_due=c["parallel"],
            parallel_accuracy=_share(c["parallel_correct"], c["parallel"]),
            schema_valid=_share(c["schema_valid"], c["schema"]),
            tool_requests=c["tools"],
            malformed=_share(self._malformed.total(), c["tools"]),
            malformed_reasons=dict(self._malformed.most_common()),
            no_call_due=c["no_call"],
            no_call_accuracy=_share(c["no_call_correct"], c["no_call"]),
            answers_due=c["answer"],
            answer_overlap=_share(self._answer_overlap, c["answer_overlaps"]),
            answers_judged=c["judged"],
            judged_right=_share(c["judged_right"], c["judged"]),
            repeated=_share(c["repeated"], c["followed"]),
            general_rows=c["general"],
            general_tokens=c["loss_tokens"],
            general_loss=self._nats / c["loss_tokens"] if c["loss_tokens"] else None,
            general_overlap=_share(self._general_overlap, c["general_overlaps"]),
            latency_p50_seconds=statistics.quantile(self._latencies, 0.5),
            latency_p95_seconds=statistics.quantile(self._latencies, 0.95),
            prompt_tokens=c["prompt_tokens"],
            completion_tokens=c["completion_tokens"],
        )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
