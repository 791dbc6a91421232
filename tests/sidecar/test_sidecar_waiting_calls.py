"""An engine that answers, but none of whose forced calls: the sidecar is not ready until one is answered again."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from asking import CALL, USER, WEATHER

from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Engine, Served, Text

FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
PLAIN: dict[str, Any] = {"model": "m", "messages": USER}
FORCED: dict[str, tuple[str, dict[str, Any]]] = {
    "a demanded call": ("/v1/chat/completions", PLAIN | {"tools": [WEATHER], "tool_choice": "required"}),
    "a demanded call, streamed": (
        "/v1/chat/completions", PLAIN | {"tools": [WEATHER], "tool_choice": "required", "stream": True},
    ),
    "a strict tool": (
        "/v1/chat/completions", PLAIN | {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
    ),
    "a form, relayed": ("/v1/chat/completions", PLAIN | {"response_format": FORM}),
    "a form beside tools": ("/v1/chat/completions", PLAIN | {"tools": [WEATHER], "response_format": FORM}),
    "a choice of the client's own": ("/v1/chat/completions", PLAIN | {"structured_outputs": {"choice": ["a"]}}),
    "Anthropic's any": (
        "/v1/messages",
        {"model": "m", "max_tokens": 9, "messages": USER, "tool_choice": {"type": "any"},
         "tools": [{"name": "f", "input_schema": {"type": "object"}}]},
    ),
    "Responses' format": ("/v1/responses", {"model": "m", "input": "x", "text": {"format": FORM}}),
    "a completion": ("/v1/completions", {"prompt": "a", "response_format": FORM}),
}  # fmt: skip


def is_forced(body: bytes) -> bool:
    return b'"structured_outputs"' in body or b"format" in body


class HangingEngine(Engine):
    """Answers at once, but for those bodies that `hangs` holds back: these wait until it no longer does."""

    def __init__(self) -> None:
        super().__init__(lambda request: Text([CALL]))
        self.hangs: Callable[[bytes], bool] = lambda body: False
        self.held_back = threading.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] == "GET":
            await super().__call__(scope, receive, send)
            return
        message = await receive()
        body = message["body"]
        begins = self.hangs(body) and b'"stream":true' in body.replace(b" ", b"")
        if begins:  # vLLM sends a stream's head at once, which says nothing
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self.hangs(body):
            self.held_back.release()
        while self.hangs(body):
            await asyncio.sleep(0.01)
        if begins:
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
            return
        again = iter([message])

        async def once_more() -> Any:
            return next(again, None) or await receive()

        await super().__call__(scope, once_more, send)


class Bench:
    def __init__(self, engine: HangingEngine, url: str) -> None:
        self.engine, self.url = engine, url

    def ready(self) -> tuple[int, str]:
        answer = httpx.get(f"{self.url}/readyz", timeout=30)
        return answer.status_code, answer.json()["status"]

    def until(self, status: int) -> str:
        """What readiness says once it has `status`."""
        ends = time.monotonic() + 30
        while (seen := self.ready())[0] != status:
            assert time.monotonic() < ends, seen
        return seen[1]

    @contextmanager
    def waiting(self, path: str, body: dict[str, Any], hangs: Callable[[bytes], bool]) -> Iterator[None]:
        """A request that waits in the engine, within the block."""
        self.engine.hangs, self.engine.held_back = hangs, threading.Semaphore(0)
        caller = threading.Thread(target=lambda: httpx.post(self.url + path, json=body, timeout=60))
        caller.start()
        assert self.engine.held_back.acquire(timeout=30)
        try:
            yield
        finally:
            self.engine.hangs = lambda body: False
            caller.join(60)


@contextmanager
def bench(**settings: Any) -> Iterator[Bench]:
    engine = HangingEngine()
    with Served(engine) as upstream:
        config = SidecarConfig(upstream=upstream.url, dialects={"*": "react_en"}, **settings)
        with Served(create_app(config)) as served:
            yield Bench(engine, served.url)


@pytest.fixture(scope="module")
def quick() -> Iterator[Bench]:
    with bench(forced_call_seconds=0.1) as made:
        yield made


@pytest.mark.parametrize("kind", FORCED)
def test_a_forced_call_without_an_answer_is_noticed_and_so_is_the_first_answer(kind: str, quick: Bench) -> None:
    assert quick.ready() == (200, "ready")
    with quick.waiting(*FORCED[kind], hangs=is_forced):
        assert "no forced call" in quick.until(503)
        assert httpx.post(f"{quick.url}/v1/chat/completions", json=PLAIN).status_code == 200
    assert quick.ready() == (200, "ready")


def test_an_engine_that_hangs_is_not_ready_because_those_who_waited_have_left(quick: Bench) -> None:
    path, body = FORCED["a form, relayed"]

    async def leave() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            asked = asyncio.create_task(client.post(quick.url + path, json=body))
            await asyncio.to_thread(quick.until, 503)
            asked.cancel()

    quick.engine.hangs = is_forced
    asyncio.run(leave())
    for _ in range(2):
        assert quick.ready()[0] == 503
    quick.engine.hangs = lambda body: False
    assert quick.ready() == (200, "ready")


def test_an_engine_that_has_much_to_do_is_ready(quick: Bench) -> None:
    """Neither kind is answered in time, so that nothing is known of grammars."""
    with quick.waiting(*FORCED["a demanded call"], hangs=lambda body: True):
        time.sleep(0.1)  # `forced_call_seconds`
        for _ in range(2):
            assert quick.ready() == (200, "ready")


def test_a_forced_call_whose_answer_is_long_is_no_hang(quick: Bench) -> None:
    """Others are answered, of which readiness asks for one and not again at once."""
    path, body = FORCED["a demanded call"]
    with bench(forced_call_seconds=1) as b, b.waiting(path, body, hangs=lambda body: b"Paris" in body):
        time.sleep(1)
        asked = len(b.engine.requests)
        for _ in range(3):
            assert b.ready() == (200, "ready")
        assert [request["max_tokens"] for request in b.engine.requests[asked:]] == [1, 1]


def test_a_forced_stream_that_has_begun_is_answered(quick: Bench) -> None:
    """However long it goes on, and though others hang."""
    path, body = FORCED["a demanded call, streamed"]
    go_on = threading.Event()
    engine = quick.engine
    engine.answer = lambda request: Text([CALL], hold=go_on) if request.get("stream") else Text([CALL])
    with httpx.stream("POST", quick.url + path, json=body, timeout=60) as stream:
        next(stream.iter_raw())
        asked = len(engine.requests)
        time.sleep(0.2)
        assert quick.ready() == (200, "ready")
        assert len(engine.requests) == asked
        go_on.set()
