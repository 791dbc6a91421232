"""What the sidecar counts (`Metrics`, in Prometheus' format) and traces (`Tracing`, OpenTelemetry).

Neither holds content. What clients and models can make up, tool names and reasons, becomes labels only up to a bound.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request

from callwright import __version__
from callwright.dialects.types import MalformedCall
from callwright.sidecar.admission import Gate
from callwright.sidecar.breaker import STATES, Breaker, State
from callwright.sidecar.budget import Budget
from callwright.sidecar.config import ToolNames
from callwright.sidecar.upstream import Headers

T = TypeVar("T")
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LONG_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_MOST_REASONS = _MOST_VERSIONS = 200


class Metrics:
    """Counters of one application, in a registry of its own."""

    def __init__(
        self,
        gate: Gate,
        budget: Budget,
        breaker: Breaker | None = None,
        tool_names: ToolNames = "hashed",
        max_tools: int = 200,
    ) -> None:
        breaker = breaker or Breaker()
        self._tool_names, self._max_tools = tool_names, max_tools
        self._registry = registry = CollectorRegistry()
        self._tools: set[str] = set()
        self._reasons: set[str] = set()
        self._versions: set[tuple[str, str]] = set()
        self.requests = Counter(
            "callwright_requests", "Requests by path, status and whether a dialect was needed.",
            ("path", "status", "dialect", "model", "version"), registry=registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "callwright_first_token_seconds", "From a request's arrival to the first token of its answer, in streams.",
            ("model", "version"), buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self.generation = Histogram(
            "callwright_generation_seconds", "From a request's arrival to the end of an answer that was generated.",
            ("model", "version"), buckets=_LONG_BUCKETS, registry=registry,
        )  # fmt: skip
        self.answers = Counter(
            "callwright_answers", "Requests for a generated answer, by what came of them.",
            ("outcome", "model", "version"), registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            "callwright_tokens", "Tokens of prompts and completions.", ("kind", "model", "version"), registry=registry,
        )  # fmt: skip
        self.calls = Counter(
            "callwright_tool_calls", "Calls sent, by tool.", ("tool", "model", "version"), registry=registry
        )
        self.malformed_calls = Counter(
            "callwright_malformed_tool_calls", "Calls that could not be read, by reason.",
            ("reason", "model", "version"), registry=registry,
        )  # fmt: skip
        self.key_requests = Counter(
            "callwright_key_requests", "Requests by the name of their API key.", ("key",), registry=registry
        )
        self.key_tokens = Counter(
            "callwright_key_tokens", "Tokens by the name of the API key.", ("key", "kind"), registry=registry
        )
        self.key_limited = Counter(
            "callwright_key_limited_requests", "Requests refused for a key's limit, by that: requests or tokens.",
            ("key", "limit"), registry=registry,
        )  # fmt: skip
        self.repairs = Counter(
            "callwright_repairs", "Second tries after a malformed call; repaired: the second had none.",
            ("result",), registry=registry,
        )  # fmt: skip
        self.left_out = Counter(
            "callwright_left_out_of_grammars", "Parts of schemas too weighty for a grammar, by keyword.",
            ("keyword",), registry=registry,
        )  # fmt: skip
        self.foreign_tokens = Counter(
            "callwright_foreign_tokens", "Special tokens and markers broken in texts that are not the model's own.",
            registry=registry,
        )  # fmt: skip
        self.disconnects = Counter(
            "callwright_client_disconnects", "Requests that the client gave up.", registry=registry
        )
        active = Gauge("callwright_active_requests", "Requests at the engine.", registry=registry)
        active.set_function(lambda: gate.active)
        waiting = Gauge("callwright_waiting_requests", "Requests in the queue.", registry=registry)
        waiting.set_function(lambda: gate.waiting)
        held = Gauge("callwright_held_bytes", "Bytes of bodies and answers that are held.", registry=registry)
        held.set_function(lambda: budget.held)
        state = Gauge("callwright_breaker", "1 for the state of the engine's breaker.", ("state",), registry=registry)

        def mark(name: State) -> None:
            state.labels(name).set_function(lambda: breaker.state == name)

        for name in STATES:
            mark(name)

    def known_version(self, model: str, version: str) -> tuple[str, str]:
        """Return the labels of a model and its version, which are `other` where there are too many."""
        return _bounded((model, version), self._versions, _MOST_VERSIONS, ("other", ""))

    def count_call(self, name: str, model: str = "", version: str = "") -> None:
        """Count a call of the tool `name`."""
        self.calls.labels(_bounded(self._told(name), self._tools, self._max_tools, "other"), model, version).inc()

    def _told(self, name: str) -> str:
        match self._tool_names:
            case "plain":
                return name
            case "hashed":
                return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:12]
            case "off":
                return "any"

    def count_malformed(self, call: MalformedCall, model: str = "", version: str = "") -> None:
        """Count a malformed call. Reasons are a closed set but for what they quote or list, which is left out."""
        reason = re.split("[:;']", call.reason, maxsplit=1)[0].strip()[:60]
        known = _bounded(reason, self._reasons, _MOST_REASONS, "other")
        self.malformed_calls.labels(known, model, version).inc()

    def count_tokens(self, prompt: int, completion: int, model: str, version: str) -> None:
        """Count the tokens of a request, if it had any."""
        for kind, count in (("prompt", prompt), ("completion", completion)):
            if count:
                self.tokens.labels(kind, model, version).inc(count)

    def count_use(self, key: str, prompt: int, completion: int) -> None:
        """Count a request, and its tokens, for the key of that name."""
        self.key_requests.labels(key).inc()
        self.key_tokens.labels(key, "prompt").inc(prompt)
        self.key_tokens.labels(key, "completion").inc(completion)

    def count_left_out(self, left_out: Iterable[tuple[str, str]]) -> None:
        """Count what of a request's schemas its grammar lacks; the keywords are a closed set."""
        for _, keyword in left_out:
            self.left_out.labels(keyword).inc()

    def count_repair(self, repaired: bool) -> None:
        """Count a second try after a malformed call."""
        self.repairs.labels("repaired" if repaired else "failed").inc()

    def text(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        return generate_latest(self._registry)


def _bounded(label: T, known: set[T], most: int, other: T) -> T:
    if label not in known and len(known) >= most:
        return other
    known.add(label)
    return label


class Trace:
    """The span of one request: method, path, status and dialect."""

    def __init__(self, span: Any, headers: Headers) -> None:
        self._span = span
        self.headers = headers
        """What the engine gets, so that its spans are this one's children."""

    def end(self, status: int, dialect: str) -> None:
        """End the span; `status` is 0 when the client left first."""
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("callwright.dialect", dialect)
        self._span.end()


class Tracing:
    """Sends a span for each request to the collector at `endpoint`, OTLP over HTTP. To be closed.

    The SDK is imported here, since it costs memory that a sidecar without a collector need not have.
    """

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = TracerProvider(resource=Resource.create({"service.name": "callwright-sidecar"}))
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("callwright.sidecar", __version__)
        self._kind, self._within = SpanKind.SERVER, set_span_in_context
        self._context = TraceContextTextMapPropagator()

    def begin(self, request: Request) -> Trace:
        """Open the span of a request, as a child of the client's where that names one."""
        method, path = request.method, request.scope["path"]
        given = {name: request.headers.get(name) for name in ("traceparent", "tracestate")}
        parent = self._context.extract({name: value for name, value in given.items() if value})
        attributes = {"http.request.method": method, "url.path": path}
        span = self._tracer.start_span(f"{method} {path}", parent, kind=self._kind, attributes=attributes)
        headers: dict[str, str] = {}
        self._context.inject(headers, self._within(span))
        return Trace(span, [(name.encode(), value.encode()) for name, value in headers.items()])

    def close(self) -> None:
        """Send what is left; blocks up to some seconds when the collector is down."""
        self._provider.shutdown()
