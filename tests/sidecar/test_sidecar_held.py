"""A request that waits for a replica, or for its turn: its stream has comments meanwhile, and an end that is told."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx
import openai
import pytest
from asking import CALL, USER, WEATHER, Typed, TypedEngine, events
from bending import GOOD, MESSAGES, RESPONSES

from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Raw, Served, Text

COMMENT = ": keep-alive\n\n"
APIS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": GOOD, "/v1/messages": MESSAGES, "/v1/responses": RESPONSES | {"tool_choice": "auto"},
}  # fmt: skip
PLAIN: dict[str, Any] = {"tools": [], "messages": [{"role": "user", "content": "x"}], "input": "x"}


class Sleeping(TypedEngine):
    """An engine that answers nothing but its list until it is `awake`."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__(answer)
        self.awake = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] != "/v1/models":
            while not self.awake.is_set():
                await asyncio.sleep(0.01)
        await super().__call__(scope, receive, send)


@contextmanager
def held(answer: Any = CALL, **settings: Any) -> Iterator[tuple[Sleeping, str]]:
    engine = Sleeping((lambda request: Text([answer])) if isinstance(answer, str) else lambda request: answer)
    for path in ("/v1/messages", "/v1/responses"):
        engine.others[path] = lambda body: events('{"delta": "x"}') if isinstance(answer, str) else answer
    defaults: dict[str, Any] = {"dialects": {"*": "react_en"}, "keep_alive_seconds": 0.1}
    with (
        Served(engine) as upstream,
        Served(create_app(SidecarConfig(upstream=upstream.url, **defaults | settings))) as s,
    ):
        try:
            yield engine, s.url
        finally:
            engine.awake.set()


def woken(engine: Sleeping, url: str, body: dict[str, Any]) -> str:
    """A stream, whose engine wakes after two comments."""
    with httpx.stream("POST", url, json=body | {"stream": True}, timeout=60) as stream:
        assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        text = ""
        for piece in stream.iter_text():
            text += piece
            if text == COMMENT * 2:
                engine.awake.set()
    return text


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("changes", [{}, PLAIN], ids=["translated", "relayed"])
def test_a_stream_has_comments_until_its_engine_answers(path: str, changes: dict[str, Any]) -> None:
    with held() as (engine, url):
        text = woken(engine, url + path, APIS[path] | changes)
        quick = httpx.post(url + path, json=APIS[path] | changes | {"stream": True}, timeout=60).text
    assert text.startswith(COMMENT * 2)
    told, as_ever = (
        [json.loads(line[6:]).get("type") for line in each.splitlines() if line.startswith("data: {")]
        for each in (text, quick)
    )
    assert told == as_ever != []


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("changes", [{}, PLAIN], ids=["translated", "relayed"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Raw('{"error": {"message": "no room", "type": "x", "param": null, "code": 400}}', 400), "no room"),
        (Typed("<p>Bad gateway</p>", 503), "try again later"),
        (Raw('{"detail": 5}', 500), "the engine answered 500"),
    ],
)
def test_what_the_engine_refuses_then_is_the_stream_s_only_event(
    path: str, changes: dict[str, Any], answer: Raw, said: str
) -> None:
    with held(answer) as (engine, url):
        text = woken(engine, url + path, APIS[path] | changes)
    (event,) = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert said in json.dumps(event)
    assert "error" in (event if path == "/v1/chat/completions" else event["type"])


def test_real_clients_read_past_the_comments() -> None:
    with held() as (engine, url):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
        others = anthropic.Anthropic(base_url=url, api_key="x", max_retries=0)
        tool = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
        responses_tool = {"type": "function", **WEATHER["function"]}

        def chat() -> Any:
            with client.chat.completions.stream(model="m", messages=USER, tools=[WEATHER]) as stream:  # type: ignore[list-item]
                return stream.get_final_completion().choices[0].message.tool_calls

        def messages() -> Any:
            with others.messages.stream(model="m", messages=USER, tools=[tool], max_tokens=9) as stream:  # type: ignore[arg-type, list-item]
                return [block for block in stream.get_final_message().content if block.type == "tool_use"]

        def responses() -> Any:
            with client.responses.stream(model="m", input="x", tools=[responses_tool]) as stream:  # type: ignore[list-item]
                return [item for item in stream.get_final_response().output if item.type == "function_call"]

        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(each) for each in (chat, messages, responses)]
            threading.Timer(0.5, engine.awake.set).start()
            assert [len(each.result(60)) for each in asked] == [1, 1, 1]


@pytest.mark.parametrize("path", APIS)
def test_who_waits_too_long_is_told_when_to_try_again(path: str) -> None:
    """In a stream that has begun by its error, else by the status and `Retry-After`."""
    with held(first_token_seconds=0.5, silent_seconds=0.5) as (_, url):
        whole = httpx.post(url + path, json=APIS[path], timeout=60)
        streamed = httpx.post(url + path, json=APIS[path] | {"stream": True}, timeout=60)
    assert (whole.status_code, whole.headers["retry-after"]) == (504, "1")
    assert streamed.status_code == 200
    (event,) = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert "silent for too long; try again later" in json.dumps(event)
    with held(first_token_seconds=0.5, silent_seconds=0.5, keep_alive_seconds=5) as (_, url):
        streamed = httpx.post(url + path, json=APIS[path] | {"stream": True}, timeout=60)
    assert (streamed.status_code, streamed.headers["retry-after"]) == (504, "1")


def test_who_waits_for_a_place_has_comments_too_and_a_client_that_leaves_gives_it_up() -> None:
    with held(max_concurrent=1) as (engine, url):
        with (
            httpx.stream("POST", url + "/v1/chat/completions", json=GOOD | {"stream": True}, timeout=60) as first,
            httpx.stream("POST", url + "/v1/chat/completions", json=GOOD | {"stream": True}, timeout=60) as second,
        ):
            assert next(first.iter_text()) == next(second.iter_text()) == COMMENT
        engine.awake.set()
        assert "[DONE]" in httpx.post(url + "/v1/chat/completions", json=GOOD | {"stream": True}, timeout=60).text
