"""Labels that clients and models can make up stay few."""

from callsmith.dialects.types import MalformedCall
from callsmith.sidecar.gate import Gate
from callsmith.sidecar.metrics import Metrics


def test_labels_are_bounded_and_hold_nothing_that_was_quoted() -> None:
    metrics = Metrics(Gate(1, 1))
    for n in range(1_000):
        metrics.call(f"tool_{n}")
        metrics.malformed(MalformedCall("", f"no Action Input; expected field_{n}"))
        metrics.malformed(MalformedCall("", f"unknown tool 'secret_{n}'"))
        metrics.malformed(MalformedCall("", f"the arguments are no JSON object: got '{n}'"))
        metrics.malformed(MalformedCall("", f"reason {n}"))
    text = metrics.text().decode()
    assert 'callsmith_malformed_tool_calls_total{reason="no Action Input"} 1000.0' in text
    assert 'callsmith_malformed_tool_calls_total{reason="unknown tool"} 1000.0' in text
    assert "secret" not in text
    assert 'callsmith_tool_calls_total{tool="other"} 800.0' in text
    assert len(text.splitlines()) < 1_000
