"""An engine that fails: each API's clients get one error in their own shape, which says whether to try again."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from asking import CALL, MALFORMED, Bench, Typed, TypedEngine, bench, events
from bending import GOOD, MESSAGES, RESPONSES

from callwright.sidecar import asgi
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.translation import has_malformed_call
from fakes import Raw, Served, Text

APIS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": GOOD, "/v1/messages": MESSAGES, "/v1/responses": RESPONSES | {"tool_choice": "auto"},
}  # fmt: skip
CHUNK = json.dumps(
    {"id": "chatcmpl-1", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "x"}}]},
    separators=(",", ":"),
)
ERROR = '{"error": {"message": "out of memory"}}'
PLAIN: dict[str, Any] = {"tools": [], "messages": [{"role": "user", "content": "x"}]}
PROXY = Typed("Internal Server Error", 500)
"""What Ray's proxy answers for a replica that has gone."""


@pytest.fixture(scope="module")
def failing() -> Iterator[Bench]:
    """A bench whose engine is told what to answer."""
    with bench(CALL, dialects={"*": "react_en"}) as b:
        yield b


def post(b: Bench, path: str, **changes: Any) -> httpx.Response:
    return httpx.post(b.url + path, json=APIS[path] | changes)


def repairs(b: Bench) -> str:
    return next(
        line for line in httpx.get(f"{b.url}/metrics").text.splitlines() if line.startswith("callwright_repairs_t")
    )


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_replica_that_has_gone_is_503_with_retry_after(path: str, stream: bool, failing: Bench) -> None:
    failing.engine.answer = lambda request: PROXY
    failing.engine.others = dict.fromkeys(("/v1/messages", "/v1/responses"), lambda body: PROXY)
    for changes in ({}, PLAIN | {"input": "x"}):  # translated and relayed
        answer = post(failing, path, stream=stream, **changes)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        told = answer.json()
        kind = "overloaded_error" if path == "/v1/messages" else "engine_unavailable"
        assert (told["error"]["type"], "again" in told["error"]["message"]) == (kind, True)


def test_other_errors_of_the_engine_pass_as_they_are(failing: Bench) -> None:
    for sent in (Raw(ERROR, 500), Typed("no such page", 404), Typed("not made", 501), Raw(ERROR, 503)):
        failing.engine.answer = lambda request, sent=sent: sent
        for changes in ({}, PLAIN):
            answer = post(failing, "/v1/chat/completions", **changes)
            assert (answer.status_code, answer.content) == (sent.status, bytes(sent))


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize(
    "answer",
    [
        "[]", "7", '"x"', "not JSON", "[" * 5_000, '{"choices": 7}', '{"choices": [7]}',
        '{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}',
        '{"choices": [{"message": {"content": ["x"]}, "finish_reason": "stop"}]}',
        '{"choices": [{"message": 7, "finish_reason": "stop"}]}',
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_503(path: str, answer: str, failing: Bench) -> None:
    failing.engine.answer = lambda request: Raw(answer)
    for retry in (False, True):
        got = post(failing, path, retry_malformed_calls=retry)
        lenient = path == "/v1/chat/completions" and not retry and '"message": 7' in answer  # nothing to translate
        assert got.status_code == (200 if lenient else 503)


def test_a_message_of_null_holds_no_malformed_call() -> None:
    assert not has_malformed_call({"choices": [{"message": None}, {}]})


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("end", [["[DONE]"], [], [CHUNK, "[DONE]"], [CHUNK, ERROR, CHUNK, "[DONE]"]])
def test_the_engine_s_error_is_the_only_end_of_a_stream(path: str, end: list[str], failing: Bench) -> None:
    for breaks in (False, True):
        failing.engine.answer = lambda request, breaks=breaks: events(*[CHUNK] * 3, ERROR, *end, breaks=breaks)
        text = post(failing, path, stream=True).text
        told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        failed = [each for each in told if "out of memory" in json.dumps(each)]
        if path == "/v1/chat/completions":
            assert "error" in told[-1]
            assert "[DONE]" not in text  # to many clients that is a whole answer
        else:
            assert told[-1]["type"] == ("error" if path == "/v1/messages" else "response.failed")
        assert len(failed) == 1
        assert "engine_unavailable" not in text
        assert "ended" not in text


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("breaks", [False, True])
def test_a_stream_that_ends_before_its_first_event_is_503(
    path: str, breaks: bool, failing: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was said yet, so a client that tries again by itself may."""
    monkeypatch.setattr(asgi, "_HEAD_SECONDS", 30)  # a busy machine may take longer than it to bring the stream's end
    failing.engine.answer = lambda request: events(breaks=breaks)
    answer = post(failing, path, stream=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", APIS)
def test_a_stream_s_head_does_not_wait_for_a_late_first_event(path: str) -> None:
    go_on = threading.Event()

    async def engine(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await asyncio.to_thread(go_on.wait, 30)
            await send({"type": "http.response.body", "body": events(CHUNK, "[DONE]")})

    with (
        Served(engine) as upstream,
        Served(create_app(SidecarConfig(upstream=upstream.url, dialects={"*": "react_en"}))) as served,
        httpx.stream("POST", served.url + path, json=APIS[path] | {"stream": True}, timeout=30) as stream,
    ):
        assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        go_on.set()
        assert b'"x"' in stream.read()


@pytest.mark.parametrize("path", APIS)
def test_a_stream_that_has_ended_is_not_ended_again_at_shutdown(path: str) -> None:
    """The client has read all but the end of its answer when the time to drain is over."""
    sent: list[Any] = []

    async def main(url: str) -> None:
        ending = asyncio.Event()
        body = json.dumps(APIS[path] | {"stream": True}).encode()
        asked = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            if (message := next(asked, None)) is None:
                await asyncio.sleep(60)
            return message

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                ending.set()
                await asyncio.sleep(60)
            sent.append(message)

        app = create_app(SidecarConfig(upstream=url, dialects={"*": "react_en"}))
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
        async with app.lifespan_context(app):
            answering = asyncio.ensure_future(app(scope, receive, send))
            await asyncio.wait_for(ending.wait(), 20)
            answering.cancel()
            await answering

    with Served(TypedEngine(lambda request: events(CHUNK, "[DONE]"))) as engine:
        asyncio.run(main(engine.url))
    text = b"".join(message.get("body", b"") for message in sent).decode()
    assert '"x"' in text
    assert "shutting down" not in text


@pytest.mark.parametrize("path", APIS)
def test_an_event_that_is_no_chunk_ends_the_stream_with_an_error(path: str, failing: Bench) -> None:
    for wrong in ('{"choices": [{}]}', '{"choices": 7}', '{"choices": [7]}', '{"choices": [{"index": 0, "delta": 7}]}'):
        failing.engine.answer = lambda request, wrong=wrong: events(CHUNK, wrong, "[DONE]")
        text = post(failing, path, stream=True).text
        assert text.count("not a chat completion") == 1, wrong


def test_a_second_stream_that_is_an_error_is_no_repair() -> None:
    left = [Text([MALFORMED]), events(ERROR, "[DONE]")]
    with bench(lambda request: left.pop(0), retry_malformed_calls=True) as b:
        text = post(
            b, "/v1/chat/completions", stream=True, tools=[{"type": "function", "function": {"name": "f"}}]
        ).text
        assert "out of memory" in text
        assert repairs(b) == 'callwright_repairs_total{result="failed"} 1.0'


def test_there_is_no_second_try_after_an_error(failing: Bench) -> None:
    wrong = {"index": 0, "delta": {"content": MALFORMED}, "finish_reason": "stop"}
    for end in ([], ["[DONE]"]):
        sent = events(json.dumps({"choices": [wrong]}), ERROR, *end)
        failing.engine.answer = lambda request, sent=sent: sent
        before = len(failing.engine.requests)
        text = post(failing, "/v1/chat/completions", stream=True, retry_malformed_calls=True).text
        assert (len(failing.engine.requests) - before, text.count("out of memory"), text.count("[DONE]")) == (1, 1, 0)


def test_a_relayed_stream_that_breaks_within_an_event_ends_with_an_event_of_its_own(failing: Bench) -> None:
    broken = Typed(f'data: {CHUNK}\n\ndata: {{"id": "cha', 200, "text/event-stream", breaks=True)
    failing.engine.answer = lambda request: broken
    text = post(failing, "/v1/chat/completions", stream=True, **PLAIN).text
    *_, half, error, end = text.split("\n\n")
    assert (half, end) == ('data: {"id": "cha', "")
    assert "engine_unavailable" in json.loads(error.removeprefix("data: "))["error"]["type"]


@pytest.mark.parametrize(("path", "changes"), [*((path, {}) for path in APIS), ("/v1/chat/completions", PLAIN)])
def test_the_stop_string_is_kept_where_the_header_asks(path: str, changes: dict[str, Any], failing: Bench) -> None:
    failing.engine.answer = lambda request: Text([CALL])
    httpx.post(failing.url + path, json=APIS[path] | changes, headers={"x-callwright-keep-stop": "1"})
    post(failing, path, **changes)
    assert [request.get("include_stop_str_in_output") for request in failing.engine.requests[-2:]] == [True, None]


def test_a_list_of_models_that_a_proxy_answers_for_a_replica_that_has_gone_is_503() -> None:
    with bench("Hello.") as b:
        for sent, status in (
            (PROXY, 503),
            (Typed("<p>Bad gateway</p>", 502, "text/html"), 503),
            (Raw(ERROR, 500), 500),
        ):
            b.engine.others["/v1/models"] = lambda _, sent=sent: sent
            answer = httpx.get(f"{b.url}/v1/models")
            assert (answer.status_code, "message" in answer.json()["error"]) == (status, True)
