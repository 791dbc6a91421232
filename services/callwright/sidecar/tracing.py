"""`Tracing`: one OpenTelemetry span a request, between the client's and the engine's, sent to a collector.

Only where a collector is configured; the SDK is loaded then alone. A span holds no content: method, path, status and
dialect.
"""

from typing import Any

from callwright import __version__
from callwright.sidecar.http import Headers, Scope, header


class Trace:
    """The span of one request."""

    def __init__(self, span: Any, headers: Headers) -> None:
        self._span = span
        self.headers = headers
        """What the engine gets, so that its spans are this one's children."""

    def end(self, status: int, dialect: str) -> None:
        """The request is answered; `status` is 0 when the client left first."""
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("callwright.dialect", dialect)
        self._span.end()


class Tracing:
    """Spans go to the collector at `endpoint`, OTLP over HTTP. To be closed."""

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

    def begin(self, scope: Scope) -> Trace:
        """Open the span of a request, as a child of the client's where that names one."""
        given = {name: header(scope, name.encode()) for name in ("traceparent", "tracestate")}
        parent = self._context.extract({name: value for name, value in given.items() if value})
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        span = self._tracer.start_span(
            f"{scope['method']} {scope['path']}", parent, kind=self._kind, attributes=attributes
        )
        headers: dict[str, str] = {}
        self._context.inject(headers, self._within(span))
        return Trace(span, [(name.encode(), value.encode()) for name, value in headers.items()])

    def close(self) -> None:
        """Send what is left; blocks up to some seconds when the collector is down."""
        self._provider.shutdown()
