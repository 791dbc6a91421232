"""Spans, as a collector gets them, and what the engine is told of them."""

import httpx
from asking import CALL, USER, WEATHER, bench
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fakes import Engine, Raw, Served, Text

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_is_a_span_between_the_client_s_and_the_engine_s() -> None:
    collector = Engine(lambda request: Text([""]))
    collector.others["/v1/traces"] = lambda body: Raw(b"")
    with Served(collector) as at:
        with bench(CALL, otlp_endpoint=at.url) as b:
            body = {"model": "m", "messages": USER, "tools": [WEATHER]}
            httpx.post(f"{b.url}/v1/chat/completions", json=body, headers={"traceparent": PARENT})
        # The sidecar has stopped, so everything is sent.
        (sent,) = collector.bodies
    (resource,) = ExportTraceServiceRequest.FromString(sent).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert span.name == "POST /v1/chat/completions"
    assert f"00-{span.trace_id.hex()}-{span.parent_span_id.hex()}-01" == PARENT
    assert b.engine.headers[-1]["traceparent"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
    told = {attribute.key: attribute.value for attribute in span.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert told["callwright.dialect"].string_value == "react_en"
    assert b"Paris" not in sent
    assert b"weather" not in sent
