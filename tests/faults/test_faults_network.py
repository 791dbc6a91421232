"""Clients without a key flood, drip and say nothing; those with one send all at once and read slowly."""

import contextlib
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import Served, read_body
from sidecar_process import answers, resident_bytes, started

Figure = Callable[[str, object, object], None]
MIB = 2**20
CHART_LIMIT = 512
"""MiB: the sidecar's limit of memory in the chart."""
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


class LargeEngine:
    """Answers with 10 MiB of text, in a stream or whole; a request that says `wait` only when the test lets go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        text = "word, " * (2000 // 6)
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunk["choices"] = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
        self._event = b"data: %b\n\n" % json.dumps(chunk).encode()
        message = {"role": "assistant", "content": text * (10 * MIB // len(text))}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "usage": {}}
        whole["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self._whole = json.dumps(whole).encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await read_body(receive)
        if b'"wait"' in body:
            await receive()  # until the sidecar leaves
            return
        stream = b'"stream": true' in body or b'"stream":true' in body
        kind = b"text/event-stream" if stream else b"application/json"
        headers = [(b"content-type", kind)]
        headers += [] if stream else [(b"content-length", str(len(self._whole)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if stream:
            for _ in range(10 * MIB // 2000):
                await send({"type": "http.response.body", "body": self._event, "more_body": True})
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        else:
            await send({"type": "http.response.body", "body": self._whole})


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """Address of the engine."""
    with Served(LargeEngine()) as served:
        yield served.url


class Sidecar:
    """A sidecar as a process, whose peak of memory is watched from its first answer on."""

    def __init__(self, process: Any, url: str) -> None:
        self.pid, self.url = process.pid, url
        self._port = int(url.rsplit(":", 1)[1])
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak begins anew

    def opened(self, sent: bytes = b"", receive_bytes: int = 0) -> socket.socket:
        """A connection on which `sent` was sent."""
        client = socket.socket()
        client.settimeout(60)
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", self._port))
        client.sendall(sent)
        return client

    def peak(self) -> int:
        """Most memory that it took, in MiB."""
        return int(Path(f"/proc/{self.pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024

    def cpu_seconds(self) -> float:
        """Time on a processor."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def sidecar(engine: str, *flags: str) -> Iterator[Sidecar]:
    """A sidecar before the engine."""
    with started(engine, "--dialect", "*=react_en", *flags) as (process, url):
        yield Sidecar(process, url)


def request(body: dict[str, Any], path: str = "/v1/chat/completions") -> bytes:
    """A request."""
    raw = json.dumps(body).encode()
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(raw), raw)


def flood(client: socket.socket, first: bytes, piece: bytes, size: int) -> bytes:
    """Send `first`, then `size` bytes in such pieces, as far as they are taken; returns the answer's status line."""
    with contextlib.suppress(ConnectionError):
        client.sendall(first)
        for _ in range(size // len(piece)):
            client.sendall(piece)
    with contextlib.suppress(ConnectionError):
        return client.recv(20)
    return b""


@pytest.mark.parametrize(
    ("name", "first", "piece", "size"),
    [
        ("300 MB of header lines", POST, b"X-Y: abcdefghij\r\n" * 4096, 300_000_000),
        ("a header of 100 MB", POST + b"X-Y: ", b"a" * 65536, 100_000_000),
        ("a URL of 50 MB", b"GET /", b"a" * 65536, 50_000_000),
        ("100 MB of trailers", POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 9999, 100_000_000),
    ],
)
def test_a_flood_of_head_is_cut_off(
    engine: str, tmp_path: Path, figure: Figure, name: str, first: bytes, piece: bytes, size: int
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("s3cret\n")
    with sidecar(engine, "--api-keys-file", str(keys)) as sut, contextlib.ExitStack() as clients:
        before, cpu = resident_bytes(sut.pid) // MIB, sut.cpu_seconds()
        said = flood(clients.enter_context(sut.opened()), first, piece, size)
        grown, cpu = sut.peak() - before, sut.cpu_seconds() - cpu
        assert answers(f"{sut.url}/healthz")
    figure(f"{name}: memory of the sidecar, MiB more", grown, "at most 16")
    figure(f"{name}: processor seconds", f"{cpu:.2f}", "at most 2")
    assert said[9:12] in (b"431", b"401", b"")  # the last where the answer was overtaken by the connection's end
    assert grown <= 16
    assert cpu <= 2


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("silent connections", b""),
        ("half-sent heads", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX"),
        ("half-sent bodies", POST + b"Content-Length: 100\r\n\r\n{"),
    ],
)
def test_who_stops_halfway_is_let_go(engine: str, figure: Figure, name: str, sent: bytes) -> None:
    with (
        sidecar(engine, "--head-seconds", "2", "--body-silent-seconds", "2") as sut,
        contextlib.ExitStack() as clients,
        selectors.DefaultSelector() as ends,
    ):
        begun = time.monotonic()
        for _ in range(300):
            ends.register(clients.enter_context(sut.opened(sent)), selectors.EVENT_READ)
        assert answers(f"{sut.url}/healthz")
        still_open = set(ends.get_map())
        while still_open and time.monotonic() - begun < 30:
            for ready, _ in ends.select(1):
                if not ready.fileobj.recv(4096):  # type: ignore[union-attr]
                    ends.unregister(ready.fileobj)
                    still_open.discard(ready.fd)
        took = time.monotonic() - begun
    figure(f"300 {name}: open at the end", len(still_open), "0")
    figure(f"300 {name}: seconds until the last is ended, by a limit of 2", f"{took:.1f}", "30")
    assert not still_open


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60_000])
def test_a_crowd_that_asks_nothing_locks_nobody_out(engine: str, figure: Figure, sent: bytes) -> None:
    crowd = 400
    with sidecar(engine, "--max-connections", "100") as sut, contextlib.ExitStack() as clients:
        for _ in range(crowd):
            clients.enter_context(sut.opened(sent))
        served = [answers(f"{sut.url}/healthz") for _ in range(20)]
        files = len(list(Path(f"/proc/{sut.pid}/fd").iterdir()))
        peak = sut.peak()
    figure(f"{crowd} connections with {len(sent)} bytes of head: probes answered of 20", served.count(True), "20")
    figure(f"{crowd} connections with {len(sent)} bytes of head: files open in the sidecar", files, "at most 150")
    assert all(served)
    assert files <= 150
    assert peak <= 128


BODIES: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": "x" * (8 * MIB - 2000)}]},
    "text with tools": {"messages": [{"role": "user", "content": "x" * (8 * MIB - 2000)}], "tools": [TOOL]},
    "small objects": {"messages": [{"role": "user", "content": "x"}], "metadata": [{}] * 2_000_000},
}


@pytest.mark.parametrize("kind", ["text", "text with tools", pytest.param("small objects", marks=pytest.mark.slow)])
def test_bodies_wait_within_the_budget(engine: str, figure: Figure, kind: str) -> None:
    """40 of 8 MB before an engine that takes one at a time."""
    sent = request({"model": "m", "user": "wait"} | BODIES[kind])
    statuses: list[bytes] = []
    with sidecar(engine, "--max-concurrent", "1") as sut, contextlib.ExitStack() as clients:
        opened = [clients.enter_context(sut.opened()) for _ in range(40)]

        def ask(client: socket.socket) -> None:
            with contextlib.suppress(ConnectionError):
                client.sendall(sent)

        asking = [threading.Thread(target=ask, args=(client,)) for client in opened]
        for thread in asking:
            thread.start()
        refused = 0
        held, end = -1.0, time.monotonic() + 60
        while time.monotonic() < end and any(thread.is_alive() for thread in asking):
            time.sleep(0.2)
        assert answers(f"{sut.url}/healthz")
        for client in opened:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                statuses.append(client.recv(4096))
        refused = sum(answer.startswith(b"HTTP/1.1 429") and b"retry-after" in answer for answer in statuses)
        held, peak = held_bytes(sut) / MIB, sut.peak()
        clients.close()
        wait_until(lambda: held_bytes(sut) == 0, "what was held is given back")
    figure(f"40 bodies of 8 MB, {kind}: peak of memory, MiB", peak, f"at most {CHART_LIMIT}")
    figure(f"40 bodies of 8 MB, {kind}: held of 128 MiB, and refused with 429", f"{held:.0f}, {refused}", "40 in all")
    assert peak <= CHART_LIMIT
    assert held <= 128
    assert 20 <= refused < 40


def held_bytes(sut: Sidecar) -> int:
    """What the sidecar says that it holds."""
    with sut.opened(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as client:
        text = b""
        while piece := client.recv(65536):
            text += piece
    return int(float(text.split(b"\ncallwright_held_bytes ")[1].split()[0]))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it, not for ever."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


USER = [{"role": "user", "content": "Hi"}]
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": USER, "tools": [TOOL]}),
    "chat without tools": ("/v1/chat/completions", {"messages": USER}),
    "Messages": ("/v1/messages", {"messages": USER, "max_tokens": 9, "tools": [{"name": "f", "input_schema": {}}]}),
    "Responses": ("/v1/responses", {"input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": {}}]}),
}


@pytest.mark.parametrize(
    ("api", "stream"),
    [
        ("chat", False),
        ("Responses", True),
        pytest.param("chat", True, marks=pytest.mark.slow),
        pytest.param("chat without tools", True, marks=pytest.mark.slow),
        pytest.param("Messages", True, marks=pytest.mark.slow),
        pytest.param("Messages", False, marks=pytest.mark.slow),
        pytest.param("Responses", False, marks=pytest.mark.slow),
    ],
)
def test_slow_readers_cost_the_budget_at_most(engine: str, figure: Figure, api: str, stream: bool) -> None:
    """50 that read answers of 10 MiB at 1 KiB/s."""
    path, asked = ASKED[api]
    sent = request({"model": "m", "stream": stream} | asked, path)
    with sidecar(engine, "--connect-seconds", "60") as sut, contextlib.ExitStack() as clients:
        readers = [clients.enter_context(sut.opened(sent, receive_bytes=65536)) for _ in range(50)]
        for reader in readers:
            reader.setblocking(False)
        first = [b""] * len(readers)
        peak, since = 0, time.monotonic()
        while time.monotonic() - since < 2:  # until it has stood still for so long
            for n, reader in enumerate(readers):
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    first[n] = first[n] or reader.recv(205)
            time.sleep(0.2)
            if sut.peak() > peak:
                peak, since = sut.peak(), time.monotonic()
        held = held_bytes(sut) / MIB
        clients.close()
        wait_until(lambda: held_bytes(sut) == 0, "what was held is given back")
    statuses = sorted({answer[9:12] for answer in first if answer})
    served = sum(answer.startswith(b"HTTP/1.1 200") for answer in first)
    name = f"50 slow readers, {api}, {'stream' if stream else 'whole'}"
    figure(f"{name}: peak of memory, MiB", peak, f"at most {CHART_LIMIT}")
    figure(f"{name}: held of 128 MiB, and served", f"{held:.0f}, {served}", "50, or as many as fit")
    assert peak <= CHART_LIMIT
    assert held <= 128
    assert served
    assert statuses == [b"200"] if stream else set(statuses) <= {b"200", b"429"}
