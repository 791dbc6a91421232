"""The engine drops connections, hangs, goes and comes back: clients are told soon, and served again soon."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx
import pytest

from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Served, completion

Figure = Callable[[str, object, object], None]
CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PLAIN: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
ANSWER = json.dumps(completion("Hello.")).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "Hello."}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class ScriptedEngine:
    """Answers each request as `script` does, which gets the connection and the request's number among its kind.

    `GET /v1/models` is always answered, and not counted, as by a vLLM whose engine hangs behind a server that lives.
    """

    def __init__(self) -> None:
        self.script: Callable[[socket.socket, int], None] = answer
        self.asked = 0
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                length = 0
                while (header := reader.readline()).strip():
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                reader.read(length)
                if line.startswith(b"GET"):
                    connection.sendall(WHOLE)
                    continue
                self.asked += 1
                try:
                    self.script(connection, self.asked)
                except OSError:
                    return
                if self.script is not answer:
                    return


def answer(connection: socket.socket, number: int) -> None:
    connection.sendall(WHOLE)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def sidecar(engine: ScriptedEngine, **settings: Any) -> Iterator[str]:
    config = SidecarConfig(upstream=engine.url, dialects={"m": "hermes"}, **settings)
    with Served(create_app(config)) as served:
        yield served.url


def state(url: str) -> str:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return next(
        line.split('"')[1] for line in lines if line.startswith("callwright_breaker{") and line.endswith(" 1.0")
    )


def timed(url: str, body: dict[str, Any], path: str = CHAT) -> tuple[int, float, str]:
    begun = time.monotonic()
    got = httpx.post(url + path, json=body, timeout=60)
    return got.status_code, time.monotonic() - begun, got.text


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("body", [PLAIN, PLAIN | {"tools": [TOOL]}], ids=["relayed", "translated"])
def test_a_connection_that_dies_before_the_first_byte_is_asked_once_more(
    body: Any, resets: bool, figure: Figure
) -> None:
    def script(connection: socket.socket, number: int) -> None:
        if number % 2:
            reset(connection) if resets else connection.close()
        else:
            connection.sendall(WHOLE)

    with ScriptedEngine() as engine, sidecar(engine) as url:
        engine.script = script
        answered = [timed(url, body)[0] for _ in range(20)]
        assert answered == [200] * 20
        assert state(url) == "closed"
    figure("each connection dies once before the first byte: answers of 20", answered.count(200), 20)


def test_a_request_is_asked_twice_at_most_and_only_where_the_engine_keeps_nothing() -> None:
    def script(connection: socket.socket, number: int) -> None:
        connection.close()

    with ScriptedEngine() as engine, sidecar(engine, engine_paths="POST /v1/audio/speech") as url:
        engine.script = script
        assert (timed(url, PLAIN)[0], engine.asked) == (503, 2)
        assert (timed(url, PLAIN, "/v1/audio/speech")[0], engine.asked) == (503, 3)
        engine.script = answer  # which keeps its connection open
        assert [timed(url, PLAIN, path)[0] for path in (CHAT, "/v1/audio/speech")] == [200, 200]
        engine.script = script
        assert (timed(url, PLAIN, "/v1/audio/speech")[0], engine.asked) == (503, 6)

        def begun(connection: socket.socket, number: int) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")

        engine.script = begun
        assert (timed(url, PLAIN)[0], engine.asked) == (503, 7)


@pytest.mark.parametrize("head", [b"", STREAM_HEAD], ids=["without a head", "after the head"])
@pytest.mark.parametrize("body", [PLAIN, PLAIN | {"tools": [TOOL]}], ids=["relayed", "translated"])
def test_a_stream_that_hangs_is_ended_in_the_time_of_the_first_token(body: Any, head: bytes, figure: Figure) -> None:
    with ScriptedEngine() as engine, sidecar(engine, first_token_seconds=0.5) as url:

        def script(connection: socket.socket, number: int) -> None:
            connection.sendall(head)
            engine.closing.wait(60)

        engine.script = script
        status, seconds, text = timed(url, body | {"stream": True})
        assert "silent" in text
        assert status == (200 if head else 504)
        assert seconds < 10
        figure(f"a stream hangs {'after' if head else 'before'} its head: seconds to its end", f"{seconds:.1f}", "0.5")


@pytest.mark.parametrize("body", [PLAIN, PLAIN | {"tools": [TOOL]}], ids=["relayed", "translated"])
def test_a_stream_of_comments_has_not_begun(body: Any) -> None:
    """By which an engine's server says only that it lives, in whatever pieces; data afterwards may take its time."""
    with ScriptedEngine() as engine, sidecar(engine, first_token_seconds=0.5, breaker_failures=2) as url:

        def comments(connection: socket.socket, number: int) -> None:
            connection.sendall(STREAM_HEAD)
            while not engine.closing.wait(0.02):
                connection.sendall(b": da")
                connection.sendall(b"ta: x\n\n")

        engine.script = comments
        assert "silent" in timed(url, body | {"stream": True})[2]
        assert state(url) == "closed"
        assert "silent" in timed(url, body | {"stream": True})[2]
        assert state(url) == "open"

    with ScriptedEngine() as engine, sidecar(engine, first_token_seconds=0.5) as url:

        def data(connection: socket.socket, number: int) -> None:
            connection.sendall(STREAM_HEAD + b": x\n\nda")
            engine.closing.wait(0.1)
            connection.sendall(EVENT[2:])
            engine.closing.wait(0.8)
            connection.sendall(EVENT + DONE)

        engine.script = data
        assert timed(url, body | {"stream": True})[2].endswith("[DONE]\n\n")


def test_a_whole_answer_may_take_longer_than_its_first_token_and_a_stream_than_its_last() -> None:
    with ScriptedEngine() as engine, sidecar(engine, first_token_seconds=0.3, silent_seconds=20) as url:

        def slow(connection: socket.socket, number: int) -> None:
            engine.closing.wait(0.8)
            connection.sendall(WHOLE)

        engine.script = slow
        assert timed(url, PLAIN)[0] == 200
        assert timed(url, PLAIN | {"tools": [TOOL]})[0] == 200
        assert timed(url, {"prompt": "x"}, "/tokenize")[0] == 504  # which needs no tokens

        def streamed(connection: socket.socket, number: int) -> None:
            connection.sendall(STREAM_HEAD + EVENT)
            engine.closing.wait(0.8)
            connection.sendall(EVENT + DONE)

        engine.script = streamed
        assert timed(url, PLAIN | {"stream": True})[2].endswith("[DONE]\n\n")


def test_the_breaker_refuses_at_once_agrees_with_readiness_and_closes_when_the_engine_is_back(figure: Figure) -> None:
    """A hang too: `/v1/models`, which lives, does not close it, one answered request does."""
    settings = {"first_token_seconds": 0.3, "breaker_failures": 3, "breaker_seconds": 4.0}
    body = PLAIN | {"stream": True}
    with ScriptedEngine() as engine, sidecar(engine, **settings) as url:

        def hang(connection: socket.socket, number: int) -> None:
            connection.sendall(STREAM_HEAD)
            engine.closing.wait(60)

        engine.script = hang
        assert (state(url), httpx.get(f"{url}/readyz").status_code) == ("closed", 200)
        for _ in range(3):
            assert "silent" in timed(url, body)[2]
        assert (state(url), httpx.get(f"{url}/readyz").status_code) == ("open", 503)
        refused = [timed(url, body) for _ in range(10)]
        assert {status for status, _, _ in refused} == {503}
        assert (httpx.post(url + CHAT, json=body).headers["retry-after"], engine.asked) == ("1", 3)
        figure(
            "an engine that hangs, found: slowest of 10 refusals, s", f"{max(s for _, s, _ in refused):.2f}", "< 0.3"
        )
        while state(url) == "open":
            assert httpx.get(f"{url}/readyz").status_code == 503 or state(url) != "open"
            time.sleep(0.05)
        assert (state(url), httpx.get(f"{url}/readyz").status_code) == ("half-open", 200)
        assert state(url) == "half-open"  # for /v1/models needs no token
        assert "silent" in timed(url, body)[2]  # the probe
        assert (state(url), engine.asked) == ("open", 4)

        def back(connection: socket.socket, number: int) -> None:
            connection.sendall(STREAM_HEAD + EVENT + DONE)

        engine.script = back
        begun = time.monotonic()
        while timed(url, body)[0] != 200:
            time.sleep(0.02)
        figure("the engine is back: seconds until it is asked again", f"{time.monotonic() - begun:.1f}", "4.0")
        assert state(url) == "closed"
        assert [timed(url, body)[0] for _ in range(5)] == [200] * 5


def test_an_engine_that_was_down_is_asked_again_as_soon_as_it_is_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = SidecarConfig(upstream=f"http://127.0.0.1:{port}", breaker_failures=2, breaker_seconds=0.5)
    with Served(create_app(config)) as served:
        assert [timed(served.url, PLAIN)[0] for _ in range(4)] == [503] * 4
        assert state(served.url) == "open"
        time.sleep(0.6)
        assert httpx.get(f"{served.url}/readyz").status_code == 503
        assert state(served.url) == "open"  # what asks for readiness is a probe that failed
    with ScriptedEngine() as engine, sidecar(engine, breaker_failures=2, breaker_seconds=0.5) as url:
        engine.script = lambda connection, number: connection.close()
        for _ in range(2):
            timed(url, PLAIN)
        assert state(url) == "open"
        time.sleep(0.6)
        engine.script = answer
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert state(url) == "closed"
        assert timed(url, PLAIN)[0] == 200
