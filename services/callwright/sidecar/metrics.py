"""`Metrics`: what the sidecar counts, in Prometheus' format.

A registry of its own for each application, so that tests don't meet. What clients and models can make up, tool names
and reasons, becomes labels only up to a bound.
"""

import re

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from callwright.dialects.types import MalformedCall
from callwright.sidecar.answers import Observed
from callwright.sidecar.gate import Gate

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MOST_LABELS = 200


class Metrics(Observed):
    """Counters of one application."""

    def __init__(self, gate: Gate) -> None:
        self._registry = CollectorRegistry()
        self._tools: set[str] = set()
        self._reasons: set[str] = set()
        registry = self._registry
        self.requests = Counter(
            "callwright_requests", "Requests by path, status and whether a dialect was needed.",
            ("path", "status", "dialect"), registry=registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "callwright_first_token_seconds", "From a request's arrival to the first bytes of its answer.",
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            "callwright_tokens", "Tokens of requests with tools, as far as the engine reported them.",
            ("kind",), registry=registry,
        )  # fmt: skip
        self.calls = Counter("callwright_tool_calls", "Calls sent, by tool.", ("tool",), registry=registry)
        self.malformed_calls = Counter(
            "callwright_malformed_tool_calls",
            "Calls that could not be read, by reason.",
            ("reason",),
            registry=registry,
        )
        self.repairs = Counter(
            "callwright_repairs", "Second tries after a malformed call; repaired: the second had none.",
            ("result",), registry=registry,
        )  # fmt: skip
        self.disconnects = Counter(
            "callwright_client_disconnects", "Requests that the client gave up.", registry=registry
        )
        active = Gauge("callwright_active_requests", "Requests at the engine.", registry=registry)
        active.set_function(lambda: gate.active)
        waiting = Gauge("callwright_waiting_requests", "Requests in the queue.", registry=registry)
        waiting.set_function(lambda: gate.waiting)

    def call(self, name: str) -> None:
        """Count a call of the tool `name`."""
        self.calls.labels(_bounded(name, self._tools)).inc()

    def malformed(self, call: MalformedCall) -> None:
        """Count a malformed call. Reasons are a closed set but for what they quote or list, which is left out."""
        reason = re.split("[:;']", call.reason, maxsplit=1)[0].strip()[:60]
        self.malformed_calls.labels(_bounded(reason, self._reasons)).inc()

    def usage(self, usage: object) -> None:
        """Count the tokens of an OpenAI `usage` object."""
        if isinstance(usage, dict):
            for kind in ("prompt_tokens", "completion_tokens"):
                if isinstance(count := usage.get(kind), int):
                    self.tokens.labels(kind.removesuffix("_tokens")).inc(count)

    def text(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self._registry)


def _bounded(label: str, known: set[str]) -> str:
    if label not in known and len(known) >= _MOST_LABELS:
        return "other"
    known.add(label)
    return label
