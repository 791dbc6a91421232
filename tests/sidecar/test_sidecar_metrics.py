"""Labels that clients and models can make up stay few."""

import itertools
import logging
from typing import Any

import httpx
import pytest
from asking import CALL, WEATHER, bench

from callwright.dialects.types import MalformedCall
from callwright.sidecar.admission import Gate
from callwright.sidecar.budget import Budget
from callwright.sidecar.telemetry import Metrics
from fakes import Raw, Text


def test_labels_are_bounded_and_hold_nothing_that_was_quoted() -> None:
    metrics = Metrics(Gate(1, 1), Budget(1))
    for n in range(1_000):
        metrics.count_call(f"tool_{n}")
        metrics.count_malformed(MalformedCall("", f"no Action Input; expected field_{n}"))
        metrics.count_malformed(MalformedCall("", f"unknown tool 'secret_{n}'"))
        metrics.count_malformed(MalformedCall("", f"the arguments are no JSON object: got '{n}'"))
        metrics.count_malformed(MalformedCall("", f"reason {n}"))
    text = metrics.text().decode()
    assert 'callwright_malformed_tool_calls_total{model="",reason="no Action Input",version=""} 1000.0' in text
    assert 'callwright_malformed_tool_calls_total{model="",reason="unknown tool",version=""} 1000.0' in text
    assert "secret" not in text
    assert 'callwright_tool_calls_total{model="",tool="other",version=""} 800.0' in text
    assert len(text.splitlines()) < 1_000


def test_every_number_is_there_after_a_request_of_each_kind() -> None:
    with bench(CALL, tool_names="plain") as b:
        b.ask()
        b.stream()
        b.client.completions.create(model="m", prompt="p")
        text = httpx.get(f"{b.url}/metrics").text
    for sample in (
        'callwright_requests_total{dialect="react_en",model="m",path="/v1/chat/completions",status="200",version=""} '
        "2.0",
        'callwright_requests_total{dialect="no",model="m",path="/v1/completions",status="200",version=""} 1.0',
        'callwright_first_token_seconds_count{model="m",version=""} 1.0',
        'callwright_tokens_total{kind="prompt",model="m",version=""} 14.0',
        'callwright_tokens_total{kind="completion",model="m",version=""} 10.0',
        'callwright_tool_calls_total{model="m",tool="get_weather",version=""} 2.0',
        'callwright_breaker{state="closed"} 1.0',
        "callwright_active_requests 0.0",
        "callwright_waiting_requests 0.0",
        "callwright_client_disconnects_total 0.0",
    ):
        assert f"\n{sample}\n" in text


@pytest.mark.parametrize(("setting", "label"), [("hashed", "e33637ee6376"), ("off", "any"), (None, "e33637ee6376")])
def test_the_metrics_tell_no_tool_s_name_unless_they_may(setting: str | None, label: str) -> None:
    with bench(CALL, **({"tool_names": setting} if setting else {})) as b:
        b.ask()
        b.stream()
        text = httpx.get(f"{b.url}/metrics").text
    assert f'\ncallwright_tool_calls_total{{model="m",tool="{label}",version=""}} 2.0\n' in text
    assert "get_weather" not in text


SAID = {"messages": [{"role": "user", "content": "Hush"}]}
SCHEMA = {"type": "object", "description": "Hush"}
ASKED: dict[str, Any] = {
    "/v1/chat/completions": SAID | {"tools": [WEATHER]},
    "/v1/messages": SAID | {"max_tokens": 5, "tools": [{"name": "get_weather", "input_schema": SCHEMA}]},
    "/v1/responses": {"input": "Hush", "tools": [{"type": "function", "name": "get_weather", "parameters": SCHEMA}]},
    "/v1/Hush": SAID,
}


@pytest.mark.parametrize("path", ASKED)
def test_no_log_and_no_metric_holds_what_was_said(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a request that is served, nor of one that is refused or fails."""
    said = Text([CALL.replace("Paris", "Hush")])
    replies = itertools.cycle((said, Raw("Hush"), Raw("Hush", 500), Raw('{"error": {"message": "Hush"}}', 400)))
    with bench(lambda request: next(replies), dialects={"*": "react_en"}) as b:
        for name in ("callwright", "asyncio", "uvicorn.error"):
            caplog.set_level("DEBUG", logger=name)
        monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
        for stream in (False, True):
            for change in ({}, {}, {}, {}, {"tools": "Hush"}, {"tools": [{"name": "Hush"}]}, {"top_k": {"Hush": {}}}):
                httpx.post(b.url + path, json={"model": "Hush", "stream": stream} | ASKED[path] | change)
        httpx.post(b.url + path, content=b"Hush {")
        text = httpx.get(f"{b.url}/metrics").text
        logging.getLogger("uvicorn.error").error("this is seen")
    assert "Hush" not in text
    assert "Hush" not in caplog.text
    assert "this is seen" in caplog.text
