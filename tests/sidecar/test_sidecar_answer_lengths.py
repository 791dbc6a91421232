"""How long an answer may be: a default where a client says nothing, and the context where it asks for more."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from asking import ANSWER, USER, WEATHER, Bench, bench

from fakes import Raw, Text

CHAT: dict[str, Any] = {"model": "m", "messages": USER}
TOOLS = {"tools": [WEATHER]}
FUNCTION = {"tools": [{"type": "function", "name": "get_weather"}]}
TOOL = {"tools": [{"name": "get_weather", "input_schema": {"type": "object"}}]}
CONTEXT = 4096


def limited(request: dict[str, Any]) -> Text | Raw:
    """An engine whose context has `CONTEXT` tokens, and that refuses whoever asks for more, in vLLM's words."""
    asked = request.get("max_tokens") or request.get("max_completion_tokens") or 0
    told = f"max_tokens={asked} cannot be greater than max_model_len={CONTEXT}. Please request fewer output tokens."
    wrong = json.dumps({"error": {"message": told, "type": "BadRequestError", "param": "max_tokens", "code": 400}})
    return Raw(wrong, 400) if asked > CONTEXT else Text([ANSWER])


@contextmanager
def context(*, listed: bool, **settings: Any) -> Iterator[Bench]:
    with bench(limited, **settings) as b:
        model = {"id": "m", "object": "model"} | ({"max_model_len": CONTEXT} if listed else {})
        b.engine.others["/v1/models"] = lambda _: Raw(json.dumps({"object": "list", "data": [model]}))
        yield b


def length(request: dict[str, Any]) -> Any:
    """What a chat request, or one of another API that was passed on, says of it."""
    return [request[key] for key in ("max_tokens", "max_completion_tokens", "max_output_tokens") if key in request]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/messages", {"messages": USER, "max_tokens": 32_000} | TOOL),
        ("/v1/responses", {"input": "x", "max_output_tokens": 128_000} | FUNCTION),
    ],
)
def test_who_asks_for_more_than_the_context_holds_gets_what_is_left(
    path: str, asked: dict[str, Any], listed: bool, stream: bool
) -> None:
    with context(listed=listed) as b:
        for _ in range(2):
            answer = httpx.post(f"{b.url}{path}", json={"model": "m", "stream": stream} | asked)
            assert answer.status_code == 200
            assert stream or "It is sunny." in answer.text
        told = [length(request) for request in b.engine.requests]
        assert told == ([[CONTEXT]] * 2 if listed else [[asked.get("max_tokens", 128_000)], []] * 2)
        assert b.engine.paths.count("/v1/models") == 1


def test_without_tools_too() -> None:
    with context(listed=True) as b:
        b.engine.others["/v1/messages"] = lambda body: Raw(body)
        asked = {"model": "m", "messages": USER}
        for given, told in ((32_000, CONTEXT), (CONTEXT, CONTEXT), (10, 10)):
            body = json.dumps(asked | {"max_tokens": given}, indent=1).encode()
            sent = httpx.post(f"{b.url}/v1/messages", content=body).content
            assert json.loads(sent) == asked | {"max_tokens": told}
            assert (sent == body) == (given <= CONTEXT)


def test_a_short_answer_and_chat_completions_are_not_looked_at() -> None:
    with context(listed=True) as b:
        messages = {"model": "m", "messages": USER, "max_tokens": 1024} | TOOL
        assert httpx.post(f"{b.url}/v1/messages", json=messages).status_code == 200
        assert httpx.post(f"{b.url}/v1/chat/completions", json=CHAT | TOOLS | {"max_tokens": 5000}).status_code == 400
        assert "/v1/models" not in b.engine.paths


def test_what_is_wrong_otherwise_stays_the_engine_s_refusal() -> None:
    with bench(lambda request: Raw('{"error": {"message": "the prompt is too long"}}', 400)) as b:
        answer = httpx.post(f"{b.url}/v1/messages", json={"model": "m", "messages": USER, "max_tokens": 9000} | TOOL)
    assert (answer.status_code, "the prompt is too long" in answer.text) == (400, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "asked", "given"),
    [
        ("/v1/chat/completions", CHAT | TOOLS, {}),
        ("/v1/chat/completions", CHAT | TOOLS, {"max_tokens": 7}),
        ("/v1/chat/completions", CHAT | TOOLS, {"max_completion_tokens": 7}),
        ("/v1/chat/completions", CHAT, {"max_tokens": None}),
        ("/v1/chat/completions", CHAT, {"max_completion_tokens": 7}),
        ("/v1/responses", {"model": "m", "input": "x"} | FUNCTION, {}),
        ("/v1/responses", {"model": "m", "input": "x"}, {}),
        ("/v1/responses", {"model": "m", "input": "x"}, {"max_output_tokens": 7}),
    ],
)
def test_an_answer_whose_client_says_nothing_has_the_default(
    path: str, asked: dict[str, Any], given: dict[str, Any], stream: bool
) -> None:
    expected = [7] if any(given.values()) else [300]
    with bench(ANSWER, default_max_tokens=300) as b:
        assert httpx.post(f"{b.url}{path}", json=asked | given | {"stream": stream}).status_code == 200
        assert [length(json.loads(body)) for body in b.engine.bodies] == [expected]
    with bench(ANSWER) as b:
        assert httpx.post(f"{b.url}{path}", json=asked | given | {"stream": stream}).status_code == 200
        assert [length(json.loads(body)) for body in b.engine.bodies] == [list(given.values())]


def test_what_has_no_answer_has_no_default() -> None:
    with bench(ANSWER, default_max_tokens=300) as b:
        asked = {"model": "m", "messages": USER} | TOOL
        httpx.post(f"{b.url}/v1/messages/count_tokens", json=asked)
        httpx.post(f"{b.url}/tokenize", json={"model": "m", "prompt": "x"})
        assert all("max_tokens" not in json.loads(body) for body in b.engine.bodies)


def test_an_adapters_context_is_that_of_its_base() -> None:
    with bench(limited) as b:
        base = {"id": "base", "object": "model", "max_model_len": CONTEXT}
        adapter = {"id": "m", "object": "model", "parent": "base", "max_model_len": None}
        b.engine.others["/v1/models"] = lambda _: Raw(json.dumps({"object": "list", "data": [base, adapter]}))
        asked = {"model": "m", "messages": USER, "max_tokens": 32_000} | TOOL
        assert httpx.post(f"{b.url}/v1/messages", json=asked).status_code == 200
        assert [length(request) for request in b.engine.requests] == [[CONTEXT]]
