"""The engine's side of the sidecar: HTTP as servers write it, in any pieces, over connections that are kept or not."""

import asyncio
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwright.errors import TimedOut, Unavailable
from callwright.sidecar import connection, upstream
from callwright.sidecar.connection import Response
from callwright.sidecar.upstream import Upstream

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Content-Type: text/Event-Stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def answering(*pieces: bytes, then_close: bool = False) -> Script:
    """Answers every request with `pieces`, each by itself."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await _request(reader):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if then_close:
                return

    return script


async def _request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(int(lengths[0])) if lengths else b"")


class Served:
    """What a server saw."""

    def __init__(self) -> None:
        self.connections = 0
        self.url = ""


def run(script: Script, use: Callable[[Upstream, Served], Awaitable[None]], *, silent_seconds: float = 5.0) -> None:
    """Let `use` speak to a server that follows `script` on each connection."""

    async def both() -> None:
        seen = Served()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.connections += 1
            try:
                await script(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**24)
        seen.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        engine = Upstream(seen.url, connect_seconds=0.5, silent_seconds=silent_seconds)
        try:
            async with asyncio.timeout(20):
                await use(engine, seen)
        finally:
            engine.close()
            server.close()

    asyncio.run(both())


async def ask(engine: Upstream, method: str = "POST", body: bytes | None = b"{}") -> tuple[int, bytes, str]:
    """Status, body and media type of one answer."""
    async with engine.request(method, "/v1/x", [(b"x-a", b"b")], body) as response:
        return response.status, await response.whole(), response.content_type


class Enough(Exception):  # noqa: N818 — it is no error
    """No more is to be read."""


async def piece_of(response: Response) -> bytes:
    """The next piece of a body."""

    async def take(piece: bytes) -> None:
        raise Enough(piece)

    try:
        await response.pump(take)
    except Enough as enough:
        return bytes(enough.args[0])
    return b""


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.sampled_from(("chunked", "length", "close")),
    st.lists(st.integers(0, 400), max_size=6),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_an_answer_is_the_same_in_any_pieces(body: list[bytes], ends: str, cuts: list[int], announced: bool) -> None:
    """However its end is declared, and with another head before it (RFC 9110, 15.2)."""
    head = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * announced
    if ends == "chunked":
        wire = CHUNKED + b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in body) + b"0\r\nx-last: 1\r\n\r\n"
    else:
        length = b"content-length: %d\r\n" % len(b"".join(body)) if ends == "length" else b""
        wire = OK + b"content-type: TEXT/event-stream\r\n" + length + b"\r\n" + b"".join(body)
    wire = head + wire
    places = sorted({0, len(wire), *(cut % len(wire) for cut in cuts)})
    pieces = [wire[a:b] for a, b in itertools.pairwise(places)]

    async def use(engine: Upstream, seen: Served) -> None:
        expected = (200, b"".join(body), "text/event-stream")
        assert [await ask(engine), await ask(engine)] == [expected, expected]
        assert seen.connections == (2 if ends == "close" else 1)

    run(answering(*pieces, then_close=ends == "close"), use)


def test_a_request_is_written_whole() -> None:
    """Method, target, host, headers and body, whose length is declared."""
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await _request(reader):
            heard.append(request)
            writer.write(OK + b"content-length: 0\r\n\r\n")

    async def use(engine: Upstream, seen: Served) -> None:
        host = seen.url.removeprefix("http://").encode()
        for method, body, ending in (
            ("POST", b"{1}", b"content-length: 3\r\n\r\n{1}"),
            ("POST", None, b"content-length: 0\r\n\r\n"),
            ("GET", None, b"\r\n"),
        ):
            await ask(engine, method, body)
            assert heard.pop() == b"%s /v1/x HTTP/1.1\r\nhost: %s\r\nx-a: b\r\n%s" % (method.encode(), host, ending)

    run(script, use)


def test_head_has_no_body_and_ends_its_connection() -> None:
    """Whatever length its answer declares (RFC 9110, 9.3.2)."""

    async def use(engine: Upstream, seen: Served) -> None:
        assert await ask(engine, "HEAD", None) == (200, b"", "")
        assert await ask(engine, "HEAD", None) == (200, b"", "")
        assert seen.connections == 2

    run(answering(OK + b"content-length: 7\r\n\r\n"), use)


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (OK,),
        (OK + b"content-length: 9\r\n\r\n", b"short"),
        (CHUNKED + b"5\r\nhel",),
        (CHUNKED + b"5\r\nhello\r\n",),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(pieces: tuple[bytes, ...]) -> None:
    """Never a shorter answer."""

    async def use(engine: Upstream, seen: Served) -> None:
        with pytest.raises(Unavailable, match="ended the connection"):
            await ask(engine)

    run(answering(*pieces, then_close=True), use)


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"transfer-encoding: identity\r\n\r\n", CHUNKED])
def test_a_reset_is_no_end(head: bytes) -> None:
    """Of a body whose length nobody declares either."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(head + b"1\r\na\r\n")
        await writer.drain()
        await reader.readexactly(1)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def use(engine: Upstream, seen: Served) -> None:
        async with engine.request("POST", "/", [], b"") as response:
            assert await piece_of(response)
            response._connection._transport.write(b"!")
            with pytest.raises(Unavailable, match="ended the connection"):
                await piece_of(response)

    run(script, use)


def test_a_connection_with_a_request_on_its_way_is_not_used_again() -> None:
    """The engine may answer before it has read all of one, and never read the rest."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        while not writer.transport.is_closing():
            await asyncio.sleep(0.01)  # and reads no more

    async def use(engine: Upstream, seen: Served) -> None:
        for _ in range(2):
            assert (await ask(engine, body=b"x" * 60_000_000))[0] == 413
        assert seen.connections == 2

    run(script, use)


def test_what_arrived_before_the_end_is_read_first() -> None:
    """A stream's events are not lost to the error after them."""

    async def use(engine: Upstream, seen: Served) -> None:
        async with engine.request("POST", "/", [], b"") as response:
            assert await piece_of(response) == b"hello"
            with pytest.raises(Unavailable):
                await piece_of(response)

    run(answering(CHUNKED + b"5\r\nhello\r\n", then_close=True), use)


def test_an_error_in_the_bytes_after_a_piece_is_told_at_once() -> None:
    """Not once the engine has been silent for long: the piece was taken off the wire, where nobody waits."""

    async def use(engine: Upstream, seen: Served) -> None:
        taken = []

        async def take(piece: bytes) -> None:
            taken.append(piece)

        async with engine.request("POST", "/", [], b"") as response:
            with pytest.raises(Unavailable, match="not HTTP"):
                await response.pump(take)
        assert taken == [b"a", b"b"]

    run(answering(CHUNKED, b"1\r\na\r\n", b"1\r\nb\r\nand no size\r\n"), use)


def test_an_answer_that_is_too_large_to_be_read_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it fills the memory."""
    monkeypatch.setattr(connection, "_LONGEST_WHOLE", 10)

    async def use(engine: Upstream, seen: Served) -> None:
        with pytest.raises(Unavailable, match="too large"):
            await ask(engine)

    run(answering(CHUNKED, b"8\r\nabcdefgh\r\n", b"3\r\nijk\r\n"), use)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.integers(0, 2)), max_size=8), st.booleans())
@settings(max_examples=60, deadline=None)
def test_pieces_are_taken_in_order_one_at_a_time(pieces: list[tuple[bytes, int]], cut: bool) -> None:
    """Whether taking one waits or not, and whether the answer ends well: what had arrived was taken."""
    body = b"".join(piece for piece, _ in pieces)
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece, _ in pieces]

    async def use(engine: Upstream, seen: Served) -> None:
        taken, busy, waits = b"", False, iter([count for _, count in pieces])

        async def take(piece: bytes) -> None:
            nonlocal taken, busy
            assert not busy
            busy = True
            for _ in range(next(waits)):
                await asyncio.sleep(0)
            busy = False
            taken += piece

        async with engine.request("POST", "/", [], b"") as response:
            try:
                await response.pump(take)
                assert not cut
            except Unavailable:
                assert cut
        assert taken == body

    run(answering(CHUNKED, *chunks, *([] if cut else [b"0\r\n\r\n"]), then_close=cut), use)


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("error", [ValueError("a"), RecursionError("a"), Unavailable("a")])
def test_what_is_raised_in_taking_a_piece_is_raised(arrived: bool, error: Exception) -> None:
    """Once, wherever the piece was taken, and no other piece is taken after it."""
    go_on = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(CHUNKED + b"1\r\na\r\n" * arrived)
        await go_on.wait()
        writer.write(b"1\r\na\r\n")
        await writer.drain()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")
        await reader.read()

    async def use(engine: Upstream, seen: Served) -> None:
        taken = []

        async def take(piece: bytes) -> None:
            taken.append(piece)
            raise error

        async with engine.request("POST", "/", [], b"") as response:
            asyncio.get_running_loop().call_later(0.01, go_on.set)
            with pytest.raises(type(error), match="a"):
                await response.pump(take)
        assert len(taken) == 1

    run(script, use)


@pytest.mark.parametrize("woken", [True, False])
def test_who_is_cancelled_while_a_piece_is_taken_ends_that_too(woken: bool) -> None:
    """The piece was taken off the wire, outside the task that is cancelled, which may not even know of it yet."""

    async def use(engine: Upstream, seen: Served) -> None:
        waiting, ended = asyncio.Event(), asyncio.Event()

        async def take(piece: bytes) -> None:
            try:
                assert asyncio.current_task() is None, "off the wire"
                waiting.set()
                await asyncio.sleep(60)
            finally:
                ended.set()

        async def read() -> None:
            async with engine.request("POST", "/", [], b"") as response:
                await response.pump(take)

        reading = asyncio.ensure_future(read())
        await waiting.wait()
        if woken:
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert ended.is_set()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(CHUNKED)
        await asyncio.sleep(0.05)
        writer.write(b"1\r\na\r\n")
        await reader.read()

    run(script, use)


@pytest.mark.parametrize("fails", [1, 2])
def test_what_fails_while_a_piece_is_taken_is_told_there(fails: int) -> None:
    """At the first place where taking it waits, and at those after that."""

    async def use(engine: Upstream, seen: Served) -> None:
        told = []

        async def take(piece: bytes) -> None:
            for number in (1, 2):
                waits = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(
                    0.01, *((waits.set_exception, ConnectionError()) if number == fails else (waits.set_result, None))
                )
                try:
                    await waits
                except ConnectionError:
                    told.append((piece, number))

        async with engine.request("POST", "/", [], b"") as response:
            await response.pump(take)
        assert told == [(b"a", fails), (b"b", fails)]

    run(answering(CHUNKED, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"), use)


def test_who_is_cancelled_before_the_head_leaves_no_connection() -> None:
    """The engine notices at once, so it does not even begin."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        asked.set()
        assert await reader.read() == b""
        left.set()

    async def use(engine: Upstream, seen: Served) -> None:
        asking = asyncio.ensure_future(ask(engine))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await left.wait()

    run(script, use)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        (CHUNKED + b"zz\r\n", "not HTTP"),
        (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "not HTTP"),
        (OK + b"x: " + b"y" * 70_000 + b"\r\n", "too large"),
        (OK + b"x: yyyyyyyy\r\n" * 9_000, "too large"),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_so(said: bytes, why: str) -> None:
    """Whoever listens there."""

    async def use(engine: Upstream, seen: Served) -> None:
        with pytest.raises(Unavailable, match=why):
            await ask(engine)

    run(answering(said), use)


def test_more_than_was_asked_for_ends_the_connection() -> None:
    """It is the beginning of no later answer."""

    async def use(engine: Upstream, seen: Served) -> None:
        for _ in range(2):
            assert await ask(engine) == (200, b"a", "")
        assert seen.connections == 2

    run(answering(OK + b"content-length: 1\r\n\r\na" + OK + b"content-length: 1\r\n\r\nb"), use)


def test_leaving_early_closes_the_connection() -> None:
    """The engine notices at once, so it stops generating."""
    left = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(CHUNKED + b"1\r\na\r\n")
        assert await reader.read() == b""
        left.set()

    async def use(engine: Upstream, seen: Served) -> None:
        async with engine.request("POST", "/", [], b"") as response:
            assert await piece_of(response) == b"a"
        await left.wait()

    run(script, use)


def test_connections_are_used_again_while_they_are_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one may be closed by the engine just as the request is on its way."""

    async def use(engine: Upstream, seen: Served) -> None:
        for _ in range(3):
            await ask(engine)
        assert seen.connections == 1
        monkeypatch.setattr(upstream, "_KEPT_SECONDS", 0.0)
        await ask(engine)
        assert seen.connections == 2

    run(answering(OK + b"content-length: 1\r\n\r\na"), use)


def test_a_connection_that_the_engine_closed_is_not_used_again() -> None:
    """Its end is seen between requests."""

    async def use(engine: Upstream, seen: Served) -> None:
        for _ in range(3):
            assert (await ask(engine))[0] == 200
            while any(kept.open for kept in engine._idle):
                await asyncio.sleep(0)
        assert seen.connections == 3

    run(answering(OK + b"content-length: 1\r\n\r\na", then_close=True), use)


def test_requests_at_once_each_have_a_connection() -> None:
    """And each its own answer."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await _request(reader):
            body = request.partition(b"\r\n\r\n")[2]
            writer.write(OK + b"content-length: %d\r\n\r\n%s" % (len(body), body))

    async def use(engine: Upstream, seen: Served) -> None:
        bodies = [b"%d" % n for n in range(40)]
        answers = await asyncio.gather(*(ask(engine, body=body) for body in bodies))
        assert [answer[1] for answer in answers] == bodies
        assert seen.connections == 40

    run(script, use)


def test_no_more_connections_are_kept_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is closed."""
    monkeypatch.setattr(upstream, "_KEPT", 2)
    ended = asyncio.Semaphore(0)
    answer = answering(OK + b"content-length: 0\r\n\r\n")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        ended.release()

    async def use(engine: Upstream, seen: Served) -> None:
        await asyncio.gather(*(ask(engine) for _ in range(5)))
        for _ in range(3):
            await ended.acquire()
        assert sum(kept.open for kept in engine._idle) == 2

    run(script, use)


def test_silence_is_a_time_out_and_a_slow_reader_is_not() -> None:
    """Only the engine's silence counts: one that is not read from is silent by force."""
    size = 40 * connection.READ_BYTES

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(OK + b"content-length: %d\r\n\r\n" % (size + 1) + b"x" * size)
        await writer.drain()
        await reader.read()

    async def use(engine: Upstream, seen: Served) -> None:
        got = 0

        async def take(piece: bytes) -> None:
            nonlocal got
            if not got:
                await asyncio.sleep(0.6)  # three times what the engine may be silent
                assert response.waiting <= 8 * connection.READ_BYTES
            got += len(piece)

        async with engine.request("POST", "/", [], b"") as response:
            with pytest.raises(TimedOut, match="silent"):
                await response.pump(take)
        assert got == size

    run(script, use, silent_seconds=0.2)


@contextmanager
def nobody() -> Iterator[str]:
    """A port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_an_engine_that_is_not_there_is_an_error() -> None:
    """At once."""

    async def use(url: str) -> None:
        engine = Upstream(url, connect_seconds=0.5, silent_seconds=5)
        with pytest.raises(Unavailable, match="does not answer"):
            await ask(engine)
        assert not await engine.ready()

    with nobody() as url:
        asyncio.run(use(url))
