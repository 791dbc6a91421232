"""Each request has one line, which says whose it was and what came of it, and nothing of what was said."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import CALL, MALFORMED, USER, WEATHER, bench, events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callwright.server.versioned import Versioned
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from callwright.store import Store
from fakes import Engine, Raw, Served, Text
from sidecar_process import free_port
from versions import publish_version

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "m", "messages": USER, "tools": [WEATHER]}
KEYS = "team-a: sk-1\n"
HEADERS = {"authorization": "Bearer sk-1"}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[dict[str, Any]]]:
    """The audit lines, once there are so many. A stream's comes after its end, so perhaps after the next request's."""
    caplog.set_level(logging.INFO, logger="callwright.audit")

    def read(count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 30
        while len(found := [each.getMessage() for each in caplog.records if each.name == "callwright.audit"]) < count:
            assert time.monotonic() < end, found
            time.sleep(0.01)
        return [json.loads(each) for each in found]

    return read


def in_order(found: list[dict[str, Any]], answers: list[httpx.Response]) -> list[dict[str, Any]]:
    """The lines in the order of the requests."""
    by_request = {line["request"]: line for line in found}
    assert len(by_request) == len(found)
    return [by_request[answer.headers["x-request-id"]] for answer in answers]


def test_a_line_says_who_asked_which_model_and_what_came_of_it(
    lines: Callable[[int], list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(KEYS)
    manifest = publish_version(Store.open(f"file://{tmp_path}/store"), "v1", name="assistant", dialect="react_en")
    engine = Engine(lambda request: Text([CALL]))
    config: dict[str, Any] = {"api_keys_file": str(tmp_path / "keys"), "connect_seconds": 30}
    with (
        Served(Versioned(engine, manifest)) as upstream,
        Served(create_app(SidecarConfig(upstream=upstream.url, **config))) as served,
    ):
        given_id = "0af76519-16cd-43dd-8448-eb211c80319c"
        answers = [
            httpx.post(served.url + CHAT, json=ASKED, headers=HEADERS | {"x-request-id": given_id}),
            httpx.post(served.url + CHAT, json=ASKED | {"stream": True}, headers=HEADERS),
            httpx.post(served.url + CHAT, json=ASKED),
            httpx.post(served.url + CHAT, json=ASKED | {"tools": 5}, headers=HEADERS),
            httpx.get(served.url + "/v1/models", headers=HEADERS),
            httpx.get(served.url + "/sleep", headers=HEADERS),
        ]
        found = in_order(lines(6), answers)
        metrics = httpx.get(f"{served.url}/metrics").text
    assert found[0]["request"] == given_id
    shared = {"key": "team-a", "api": CHAT, "model": "assistant@v1", "dialect": "react_en", "status": 200}
    counted = {"outcome": "ok", "prompt_tokens": 7, "completion_tokens": 5, "calls": 1, "malformed_calls": 0}
    for line in found[:2]:
        assert line == {"time": line["time"], "request": line["request"], "seconds": line["seconds"]} | shared | counted
    told = [[line[key] for key in ("key", "api", "model", "status", "outcome")] for line in found[2:]]
    assert told == [
        [None, CHAT, None, 401, "refused"],
        ["team-a", CHAT, None, 400, "refused"],
        ["team-a", "/v1/models", "assistant@v1", 200, "ok"],
        ["team-a", "other", None, 404, "refused"],
    ]
    of_version = '{model="assistant",version="v1"}'
    assert f"callwright_first_token_seconds_count{of_version} 1.0" in metrics
    assert f"callwright_generation_seconds_count{of_version} 2.0" in metrics
    assert 'callwright_tool_calls_total{model="assistant",tool="e33637ee6376",version="v1"} 2.0' in metrics


@pytest.mark.parametrize("tools", [[WEATHER], None])
def test_a_stream_that_its_client_leaves_is_counted_as_far_as_it_went(
    tools: Any, lines: Callable[[int], list[dict[str, Any]]]
) -> None:
    """Each event is a token, and four bytes of the prompt."""
    said = Text(["Hello there, this is long."], hold=threading.Event())
    with bench(lambda request: said) as b:
        with httpx.stream("POST", b.url + CHAT, json=ASKED | {"tools": tools, "stream": True}) as stream:
            next(stream.iter_bytes())
        assert b.engine.left.wait(30)
        (line,) = lines(1)
        sent = len(b.engine.bodies[-1])
    assert (line["outcome"], line["status"], line["estimated"]) == ("left", 200, True)
    assert line["prompt_tokens"] == sent // 4
    assert 1 <= line["completion_tokens"] <= 2


def test_a_whole_answer_that_its_client_does_not_wait_for_counts_by_its_time(
    lines: Callable[[int], list[dict[str, Any]]],
) -> None:
    said = Text(["Hello."], hold=threading.Event())
    with bench(lambda request: said) as b:
        for most in (None, 3):
            b.engine.left.clear()
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(b.url + CHAT, json=ASKED | {"max_tokens": most}, timeout=httpx.Timeout(60, read=2))
            assert b.engine.left.wait(30)
        first, second = lines(2)
    assert [each["outcome"] for each in (first, second)] == ["left"] * 2
    assert first["completion_tokens"] >= 10  # 20 a second, as long as nothing is known
    assert second["completion_tokens"] == 3


@pytest.mark.parametrize("tools", [[WEATHER], None])
def test_an_answer_that_breaks_off_has_failed_and_an_error_before_it_costs_nothing(
    tools: Any, lines: Callable[[int], list[dict[str, Any]]]
) -> None:
    replies = iter((Text(["Hello there."], break_after=3), Raw('{"error": {"message": "x"}}', 500), Raw("<p>", 502)))
    with bench(lambda request: next(replies)) as b:
        answers = [httpx.post(b.url + CHAT, json=ASKED | {"tools": tools, "stream": True}) for _ in range(3)]
    found = in_order(lines(3), answers)
    assert [each["outcome"] for each in found] == ["failed"] * 3
    assert [each["completion_tokens"] for each in found] == [3, 0, 0]
    assert [each["prompt_tokens"] > 0 for each in found] == [True, False, False]


def test_both_tries_are_counted(lines: Callable[[int], list[dict[str, Any]]]) -> None:
    replies = iter((Text([MALFORMED]), Text([CALL]), Text([MALFORMED]), Text([CALL])))
    with bench(lambda request: next(replies), retry_malformed_calls=True) as b:
        b.ask()
        b.stream()
        told = [(each["prompt_tokens"], each["completion_tokens"], each["calls"]) for each in lines(2)]
        metrics = httpx.get(f"{b.url}/metrics").text
    assert told == [(14, 10, 1)] * 2
    assert 'callwright_tokens_total{kind="prompt",model="m",version=""} 28.0' in metrics
    assert 'callwright_first_token_seconds_count{model="m",version=""} 1.0' in metrics


def test_the_first_token_is_that_of_a_stream_and_of_nothing_else() -> None:
    """Not of what is refused, listed, whole, or said before it: comments, and events without a token."""
    begun = '{"type":"response.created","response":{"usage":null}}'
    said = '{"type":"response.output_text.delta","delta":"x"}'
    quiet = events(begun)
    with bench(CALL, api_keys=["k"]) as b:
        auth = {"authorization": "Bearer k"}
        httpx.post(b.url + CHAT, json=ASKED)
        httpx.get(b.url + "/v1/models", headers=auth)
        httpx.post(b.url + CHAT, json=ASKED, headers=auth)
        for answer in (quiet, Raw('{"error": {"message": "delta"}}', 400)):
            b.engine.others["/v1/responses"] = lambda body, answer=answer: answer
            httpx.post(b.url + "/v1/responses", json={"model": "m", "input": "x", "stream": True}, headers=auth)
        assert "callwright_first_token_seconds_count" not in httpx.get(f"{b.url}/metrics").text
        b.engine.others["/v1/responses"] = lambda body: events(begun, said, said)
        httpx.post(b.url + "/v1/responses", json={"model": "m", "input": "x", "stream": True}, headers=auth)
        text = httpx.get(f"{b.url}/metrics").text
        assert 'callwright_first_token_seconds_count{model="m",version=""} 1.0' in text


WORDS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=6, max_size=40).map(lambda text: f"zq{text}qz")


@given(words=st.lists(WORDS, min_size=6, max_size=6, unique=True), stream=st.booleans(), fails=st.booleans())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_line_and_no_metric_holds_anything_that_was_said(
    words: list[str], stream: bool, fails: bool, caplog: pytest.LogCaptureFixture, anything: httpx.Client
) -> None:
    """Prompts, arguments, keys, names of models and tools, headers and paths: whatever a client can make up."""
    prompt, argument, key, model, tool, path = words
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    asked = {
        "model": model, "stream": stream, "temperature": argument if fails else 1, "user": prompt,
        "messages": [{"role": "user", "content": prompt}],
        "tools": [{"type": "function", "function": {"name": tool, "description": argument, "parameters": {}}}],
    }  # fmt: skip
    headers = {name: key.encode() for name in ("x-api-key", "x-request-id", "x-other")}
    plain = {"model": model, "messages": asked["messages"], "stream": stream}
    for body in (asked, plain):
        anything.post(CHAT, json=body, headers=headers, params={"q": prompt})
    anything.post("/v1/completions", json={"model": model, "prompt": prompt, "stream": stream}, headers=headers)
    anything.post(f"/{path}", json=asked, headers=headers)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("callwright")]
    text = "\n".join([*told, anything.get("/metrics").text])
    assert len([each for each in told if each.startswith("{")]) >= 3
    for word in words:
        for spelled in {word, json.dumps(word)[1:-1], word.encode().decode("latin-1")}:
            assert spelled not in text


@pytest.fixture(scope="module")
def anything() -> Any:
    """A client of a sidecar whose engine says what it is asked, and takes any model."""

    def answer(request: dict[str, Any]) -> Text | Raw:
        if isinstance(request.get("temperature"), str):
            return Raw(json.dumps({"error": {"message": str(request)}}), 400)
        said = request["messages"][-1]["content"]
        return Text([said, f'Action: {said}\nAction Input: {{"city": "{said}"}}'])

    with bench(answer, dialects={"*": "react_en"}) as b, httpx.Client(base_url=b.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize("audited", [True, False])
def test_lines_go_to_standard_output_unless_switched_off(audited: bool) -> None:
    port = free_port()
    command = [sys.executable, "-m", "callwright.sidecar", "--port", str(port), "--upstream", "http://127.0.0.1:9"]
    command += ["--until-stdin-closes", *([] if audited else ["--audit=false"])]
    with subprocess.Popen(
        command, stdin=-1, stdout=-1, stderr=-1, env=os.environ | {"CALLWRIGHT_API_KEYS": "k"}
    ) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5)
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        out, error = process.communicate(timeout=60)
    assert error == b""
    said = [json.loads(line) for line in out.splitlines()]
    assert [line["status"] for line in said] == ([401] if audited else [])
