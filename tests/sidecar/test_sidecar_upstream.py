"""The engine's side of the sidecar: HTTP as servers write it, in any pieces, over connections that are kept or not."""

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwright.errors import TimedOut, Unavailable
from callwright.sidecar import upstream
from callwright.sidecar.errors import Refused
from callwright.sidecar.upstream import EngineResponse, Upstream, request_headers

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\n"
ONE = OK + b"content-length: 1\r\n\r\na"
CHUNKED = OK + b"Content-Type: text/Event-Stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def answering(*pieces: bytes, then_close: bool = False) -> Script:
    """Answers every request with `pieces`, each by itself."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if then_close:
                return

    return script


async def read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head + (await reader.readexactly(int(lengths[0])) if lengths else b"")


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


class Asked(Upstream):
    """An `Upstream` whose connections are counted."""

    connections = 0
    url = ""


@asynccontextmanager
async def engine(script: Script, *, silent_seconds: float = 5.0) -> AsyncIterator[Asked]:
    """A server that follows `script` on each connection, to be asked."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**24)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with asyncio.timeout(20), Asked(url, connect_seconds=5, silent_seconds=silent_seconds) as asked:
        asked.url = url
        yield asked
    server.close()


async def ask(asked: Upstream, method: str = "POST", body: bytes | None = b"{}") -> tuple[int, bytes, str]:
    """Status, body and media type of one answer."""
    async with asked.request(method, "/tokenize", [(b"x-a", b"b")], body) as response:
        return response.status, await response.read(), response.media_type


# --- answers ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.sampled_from(("chunked", "length", "close")),
    st.lists(st.integers(0, 400), max_size=6),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
async def test_an_answer_is_the_same_in_any_pieces(
    body: list[bytes], ends: str, cuts: list[int], announced: bool
) -> None:
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
    async with engine(answering(*pieces, then_close=ends == "close")) as asked:
        expected = (200, b"".join(body), "text/event-stream")
        assert [await ask(asked), await ask(asked)] == [expected, expected]
        assert asked.connections == (2 if ends == "close" else 1)


@pytest.mark.parametrize(
    ("method", "head"), [("HEAD", OK + b"content-length: 7\r\n\r\n"), ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
                         ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n")],
)  # fmt: skip
async def test_some_answers_have_no_body(method: str, head: bytes) -> None:
    """Whatever length they declare (RFC 9110, 9.3.2, 15.3.5 and 15.4.5)."""
    async with engine(answering(head)) as asked:
        for _ in range(2):
            assert await ask(asked, method, None) == (int(head[9:12]), b"", "")


async def test_headers_and_body_come_as_they_were_sent() -> None:
    """As often, in their order, in latin-1, without cookies, redirects or decompression."""
    sent = [(b"set-cookie", b"a=1"), (b"x-name", b"caf\xe9"), (b"set-cookie", b"b=2"), (b"content-encoding", b"gzip")]
    head = b"HTTP/1.1 307 Moved\r\n" + b"".join(b"%s: %s\r\n" % (name.title(), value) for name, value in sent)
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            heard.append(request)
            writer.write(head + b"location: /elsewhere\r\ncontent-length: 4\r\n\r\nnone")

    async with engine(script) as asked:
        for _ in range(2):
            async with asked.request("GET", "/", []) as response:
                assert (response.status, await response.read()) == (307, b"none")
                assert response.headers[:4] == sent
        assert not any(b"cookie" in request.lower() for request in heard)


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
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_an_answer_that_breaks_off_is_an_error(pieces: tuple[bytes, ...], resets: bool, method: str) -> None:
    """Never a shorter answer. It is asked for once more where nothing of it came; a reset takes a half head with it."""
    inner = answering(*pieces, then_close=True)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await inner(reader, writer)
        if resets:
            await asyncio.sleep(0.01)
            reset(writer)

    async with engine(script) as asked:
        with pytest.raises(Unavailable, match="ended the connection"):
            await ask(asked, method)
        assert asked.connections == (2 if not pieces or (resets and pieces == (OK,)) else 1)


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"transfer-encoding: identity\r\n\r\n", CHUNKED])
async def test_a_reset_is_no_end_and_what_came_before_it_is_read_first(head: bytes) -> None:
    """Of a body whose length nobody declares either."""
    go_on = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head + b"1\r\na\r\n")
        await go_on.wait()
        reset(writer)

    async with engine(script) as asked, asked.request("POST", "/", [], b"") as response:
        pieces = aiter(response)
        assert await anext(pieces)
        go_on.set()
        with pytest.raises(Unavailable, match="ended the connection"):
            await anext(pieces)


@pytest.mark.parametrize("resets", [False, True])
async def test_what_arrived_before_an_error_is_read_first(resets: bool) -> None:
    """A stream's events are not lost to the error after them, even where nobody has read them yet."""
    body = b"x" * 200_000

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"%x\r\n%s\r\n" % (len(body), body))
        await writer.drain()
        await asyncio.sleep(0.1)
        if resets:
            reset(writer)

    async with engine(script) as asked:
        found = b""

        async def read(response: EngineResponse) -> None:
            nonlocal found
            async for piece in response:
                found += piece
                await asyncio.sleep(0.3 if not found[len(piece) :] else 0)

        async with asked.request("POST", "/", [], b"") as response:
            with pytest.raises(Unavailable, match="ended the connection"):
                await read(response)
        assert found == body


async def test_an_answer_that_is_too_large_to_be_read_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it fills the memory."""
    monkeypatch.setattr(upstream, "_LONGEST_BODY", 10)
    async with engine(answering(CHUNKED, b"8\r\nabcdefgh\r\n", b"3\r\nijk\r\n")) as asked:
        with pytest.raises(Unavailable, match="too large"):
            await ask(asked)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "not HTTP"),
        (OK + b"x: a\x01b\r\ncontent-length: 0\r\n\r\n", "not HTTP"),
        (OK + b"x: " + b"y" * 70_000 + b"\r\n", "too large"),
        (OK + b"x: yyyyyyyy\r\n" * 9_000, "too large"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_says_so(said: bytes, why: str) -> None:
    """Whoever listens there."""
    async with engine(answering(said)) as asked:
        with pytest.raises(Unavailable, match=why):
            await ask(asked)


@pytest.mark.parametrize("first", [b"", b"1\r\na\r\n"])
async def test_an_error_within_a_body_is_told_at_once(first: bytes) -> None:
    """Not once the engine has been silent for long."""
    async with engine(answering(CHUNKED + first + b"and no size\r\n")) as asked:
        with pytest.raises(Unavailable):
            await ask(asked)


# --- requests --------------------------------------------------------------------------------------------------------


async def test_a_request_is_written_whole() -> None:
    """Method, target, host, headers and body, whose length is declared; nothing of the client's own besides."""
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            heard.append(request)
            writer.write(OK + b"content-length: 0\r\n\r\n")

    async with engine(script) as asked:
        host = asked.url.removeprefix("http://").encode()
        headers = [(b"x-a", b"b"), (b"x-a", "é文".encode()), (b"content-encoding", b"gzip")]
        for method, body in (("POST", b"{1}"), ("POST", None), ("GET", None), ("DELETE", None)):
            async with asked.request(method, "/v1//x/../%2e?a=%20b&a=+", headers, body) as response:
                await response.read()
            head, _, sent = heard.pop().partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            length = [] if method == "GET" else [b"content-length: %d" % len(body or b""), b"connection: close"]
            assert first == method.encode() + b" /v1//x/../%2e?a=%20b&a=+ HTTP/1.1"
            assert [line.lower() for line in lines] == [
                b"host: " + host, b"x-a: b", "x-a: é文".encode(), b"content-encoding: gzip", *length,
            ]  # fmt: skip
            assert sent == (body or b"")


def test_headers_that_go_on() -> None:
    """As they came, and as often; not the connection's, not the keys, and ours instead of the client's."""
    given = [(b"x-a", b"1"), (b"x-a", b"2"), (b"traceparent", b"theirs"), (b"x-b", b"3")]
    kept_back = (b"authorization", b"x-api-key", b"host", b"content-length", b"accept-encoding", b"connection")
    headers = [*given, *((name, b"x") for name in kept_back)]
    assert request_headers(headers, []) == given
    ours = [(b"traceparent", b"ours")]
    assert request_headers(headers, ours) == [given[0], given[1], given[3], *ours]


async def test_what_can_t_be_written_is_the_client_s_to_mend() -> None:
    async with engine(answering(ONE)) as asked:
        with pytest.raises(Refused):
            async with asked.request("GET", "/", [(b"x", b"a\nb: c")]):
                pass


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("closes", "connections"), [(False, 1), (True, 3)])
async def test_a_connection_is_used_again_unless_it_was_closed(closes: bool, connections: int) -> None:
    async with engine(answering(ONE, then_close=closes)) as asked:
        for _ in range(3):
            assert (await ask(asked))[0] == 200
            await asyncio.sleep(0.02)
        assert asked.connections == connections


@pytest.mark.parametrize(("whole", "connections"), [(True, 1), (False, 3)])
async def test_a_stream_has_a_connection_of_its_own(whole: bool, connections: int) -> None:
    """The replicas that a connection's HAProxy knows may have gone when a stream ends: `test_faults_roll_dialects`."""
    async with engine(answering(ONE)) as asked:
        for _ in range(3):
            async with asked.request("POST", "/v1/chat/completions", [], b"{}", whole=whole) as response:
                await response.read()
            await asyncio.sleep(0.02)
        assert asked.connections == connections


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_request_that_meets_a_closed_connection_is_sent_once_more(resets: bool, method: str) -> None:
    """The engine closes the kept connection when the request is on its way: it has read it, and answers nothing."""
    requests: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(ONE)
        requests.append(await read_request(reader))
        if resets:
            reset(writer)

    async with engine(script) as asked:
        for _ in range(2):
            assert (await ask(asked, method, b"{}"))[:2] == (200, b"a")
        first, dropped, again = requests[:3]
        assert first == dropped
        assert again.lower().replace(b"connection: close\r\n", b"") == first.lower()


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_request_is_sent_twice_at_most(method: str) -> None:
    requests: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        if len(requests) == 1:
            writer.write(ONE)
            requests.append(await read_request(reader))

    async with engine(script) as asked:
        await ask(asked, method)
        with pytest.raises(Unavailable, match="ended the connection"):
            await ask(asked, method)
        assert len(requests) == 3


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\n", OK + b"content-length: 9\r\n\r\n", CHUNKED + b"1\r\na\r\n"])
async def test_an_answer_that_has_begun_is_not_asked_for_again(begun: bytes) -> None:
    """The engine has taken the request, and may have generated for long."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ONE)
        await read_request(reader)
        writer.write(begun)

    async with engine(script) as asked:
        await ask(asked)
        with pytest.raises(Unavailable, match="ended the connection"):
            await ask(asked)
        assert asked.connections == 1


async def test_connections_are_kept_for_a_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one may be closed by the engine just as the request is on its way."""
    monkeypatch.setattr(upstream, "_KEPT_SECONDS", 0.05)
    async with engine(answering(ONE)) as asked:
        await ask(asked)
        await asyncio.sleep(0.2)
        await ask(asked)
        assert asked.connections == 2


async def test_requests_at_once_each_have_a_connection() -> None:
    """And each its own answer."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            body = request.partition(b"\r\n\r\n")[2]
            writer.write(OK + b"content-length: %d\r\n\r\n%s" % (len(body), body))

    async with engine(script) as asked:
        bodies = [b"%d" % n for n in range(40)]
        answers = await asyncio.gather(*(ask(asked, body=body) for body in bodies))
        assert [answer[1] for answer in answers] == bodies
        assert asked.connections == 40


async def test_a_connection_with_a_request_on_its_way_is_not_used_again() -> None:
    """The engine may answer before it has read all of one, and never read the rest."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        while not writer.transport.is_closing():
            await asyncio.sleep(0.01)  # and reads no more

    async with engine(script) as asked:
        for _ in range(2):
            assert (await ask(asked, body=b"x" * 60_000_000))[0] == 413
        assert asked.connections == 2


async def test_more_than_was_asked_for_ends_the_connection() -> None:
    """It is the beginning of no later answer."""
    async with engine(answering(ONE + ONE.replace(b"a", b"b"))) as asked:
        for _ in range(2):
            assert await ask(asked) == (200, b"a", "")
        assert asked.connections == 2


@pytest.mark.parametrize("begun", [b"", CHUNKED + b"1\r\na\r\n"])
async def test_who_leaves_early_leaves_no_connection(begun: bytes) -> None:
    """Before the head or within the body: the engine notices at once, so it stops generating."""
    asked_for, left = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(begun)
        asked_for.set()
        assert await reader.read() == b""
        left.set()

    async with engine(script) as asked:
        asking = asyncio.ensure_future(ask(asked))
        await asked_for.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await left.wait()


async def test_who_leaves_early_sends_no_more() -> None:
    """An engine that does not read keeps neither the connection nor the rest of the request."""
    begun, left = asyncio.Event(), asyncio.Event()
    received = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        begun.set()
        await left.wait()
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(2**20):
                received += len(piece)
        begun.clear()

    async with engine(script) as asked:
        asking = asyncio.ensure_future(ask(asked, body=b"x" * 100_000_000))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        left.set()
        while begun.is_set():
            await asyncio.sleep(0.01)
        assert received < 100_000_000


# --- silence ---------------------------------------------------------------------------------------------------------


async def test_silence_is_a_time_out_and_a_slow_reader_is_not() -> None:
    """Only the engine's silence counts: one that is not read from is silent by force, and does not fill the memory."""
    size = 4_000_000

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"content-length: %d\r\n\r\n" % (size + 1) + b"x" * size)
        await writer.drain()
        await reader.read()

    async with engine(script, silent_seconds=0.2) as asked:
        pieces: list[int] = []

        async def read_slowly(response: EngineResponse) -> None:
            async for piece in response:
                if not pieces:
                    await asyncio.sleep(0.6)  # three times what the engine may be silent
                pieces.append(len(piece))

        async with asked.request("POST", "/", [], b"") as response:
            with pytest.raises(TimedOut, match="silent"):
                await read_slowly(response)
        assert sum(pieces) == size
        assert max(pieces[:2]) < 1_000_000


async def test_an_engine_that_reads_no_request_is_silent() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            await asyncio.sleep(0.01)

    async with engine(script, silent_seconds=0.2) as asked:
        for body in (b"x", b"x" * 60_000_000):
            with pytest.raises(TimedOut, match="silent"):
                await ask(asked, body=body)


async def test_an_engine_whose_certificate_is_not_trusted_is_an_error(tmp_path: Path) -> None:
    """Not the client's."""
    pair = tmp_path / "pair.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-batch"]
    subprocess.run([*make, "-keyout", pair, "-out", tmp_path / "own.pem"], check=True, capture_output=True)
    pair.write_bytes(pair.read_bytes() + (tmp_path / "own.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Upstream(url, connect_seconds=5, silent_seconds=5) as asked:
        with pytest.raises(Unavailable, match="does not answer"):
            await ask(asked)
        assert await asked.models() is None
    server.close()


@pytest.mark.parametrize(
    ("listed", "ids"),
    [(b'{"data": [{"id": "m"}, {"id": "m@v1"}]}', ["m", "m@v1"]), (b"[]", []), (b"{}", []), (b"ok", [])],
)
async def test_an_engine_is_ready_whatever_its_list_of_models_looks_like(listed: bytes, ids: list[str]) -> None:
    async with engine(answering(OK + b"content-length: %d\r\n\r\n%s" % (len(listed), listed))) as asked:
        assert await asked.models() == ids


async def test_an_engine_that_is_not_there_is_an_error() -> None:
    """At once."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with Upstream(url, connect_seconds=0.5, silent_seconds=5) as asked:
            with pytest.raises(Unavailable, match="does not answer"):
                await ask(asked)
            assert await asked.models() is None
