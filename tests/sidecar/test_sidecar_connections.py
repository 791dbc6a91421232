"""What comes over a connection is one request or none: bounded, in time, and read in one way only."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from asking import Bench, bench

from fakes import Raw, Text

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
POST = b"POST /v1/echo HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
SIZED = b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n" % (9, BODY[:9], len(BODY) - 9, BODY[9:])


@pytest.fixture(scope="module")
def brief() -> Iterator[Bench]:
    """A sidecar whose time limits are short."""
    with bench("Hello.", head_seconds=0.3, body_silent_seconds=0.3, unread_seconds=0.3, max_connections=8) as b:
        yield b


def opened(b: Bench) -> socket.socket:
    """A connection to the sidecar."""
    return socket.create_connection(("127.0.0.1", int(b.url.rsplit(":", 1)[1])), timeout=20)


def read_to_end(client: socket.socket) -> bytes:
    """All that comes before the connection's end."""
    got = b""
    while piece := client.recv(65536):
        got += piece
    return got


def said(b: Bench, *pieces: bytes) -> bytes:
    """What is answered to the pieces, each a segment of its own, before the sidecar ends the connection."""
    with opened(b) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        return read_to_end(client)


def status(answer: bytes) -> int:
    """The status of the first answer."""
    return int(answer.split(b" ", 2)[1])


def closing(head: bytes) -> bytes:
    """The same request, after which the connection ends."""
    return head.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n", 1)


AMBIGUOUS = {
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "a Host with a space": b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a Host with a user": b"GET /healthz HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a Host with a path": b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n",
    "HTTP/0.9 with a head": b"GET /healthz\r\nHost: a\r\n\r\n",
    "HTTP/0.9 by name": b"GET /healthz HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "a proxy's request": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /v1/echo HTTP/1.0\r\nHost: a\r\n" + CHUNKED + CHUNKS + b"\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "the same length twice": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": POST + b"Content-Length: 1, 1\r\n\r\na",
    "a signed length": POST + b"Content-Length: +1\r\n\r\na",
    "a negative length": POST + b"Content-Length: -1\r\n\r\na",
    "a length in hex": POST + b"Content-Length: 0x1\r\n\r\na",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "an endless length": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 1\r\n\r\na",
    "length and chunks": POST + b"Content-Length: 1\r\n" + CHUNKED + CHUNKS + b"\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n" + CHUNKS + b"\r\n",
    "gzip in chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS + b"\r\n",
    "chunks in gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS + b"\r\n",
    "twice chunked": POST + b"Transfer-Encoding: chunked\r\n" + CHUNKED + CHUNKS + b"\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\nabc",
    "a coding that ends like chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS + b"\r\n",
    "a coding behind a control": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS + b"\r\n",
    "an offer and two Hosts": POST + b"Host: b\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n" + SIZED,
    "an offer and two lengths": POST + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3\r\n" + SIZED,
    "a folded line": POST + b"X: a\r\n b\r\n" + SIZED,
    "a folded first line": b"POST /v1/echo HTTP/1.1\r\n X: b\r\nHost: a\r\n" + SIZED,
    "bare LFs": b"GET /healthz HTTP/1.1\nHost: a\n\n",
    "a bare LF": b"GET /healthz HTTP/1.1\r\nHost: a\n\r\n",
    "a bare CR": b"GET /healthz HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "NUL in a value": POST + b"X: a\x00b\r\n" + SIZED,
    "NUL in a name": POST + b"X\x00: b\r\n" + SIZED,
    "NUL in the URL": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no name": POST + b": b\r\n" + SIZED,
    "no colon": POST + b"abc\r\n" + SIZED,
    "a relative URL": b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method in lower case": b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a chunk's size that is none": POST + CHUNKED + b"zz\r\nab\r\n0\r\n\r\n",
    "a chunk's size in C": POST + CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n",
    "an endless chunk": POST + CHUNKED + b"fffffffffffffffff1\r\na\r\n0\r\n\r\n",
    "a chunk that goes on": POST + CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "chunks with bare LFs": POST + CHUNKED + b"1\na\n0\n\n",
    "a length behind chunks": POST + CHUNKED + CHUNKS + b"Content-Length: 5\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_400_and_the_connection_s_end(sent: bytes, refusing: Bench) -> None:
    for pieces in ([sent], [bytes([byte]) for byte in sent]):
        before = len(refusing.engine.paths)
        answer = said(refusing, *pieces[:1200])
        head, _, body = answer.partition(b"\r\n\r\n")
        assert status(answer) == 400
        assert answer.count(b"HTTP/1.1 4") == 1
        assert b"connection: close" in head
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert len(refusing.engine.paths) == before, "nothing of it reaches the engine"


@pytest.mark.parametrize("offer", ["h2c", "websocket", "TLS/1.2", "IRC/6.9, h2c"])
@pytest.mark.parametrize("framed", [SIZED, CHUNKED + CHUNKS + b"\r\n"], ids=["sized", "chunked"])
@pytest.mark.parametrize("cut", ["whole", "head and body", "bytes"])
def test_an_offer_to_upgrade_is_ignored_and_the_body_read(offer: str, framed: bytes, cut: str, refusing: Bench) -> None:
    offered = b"Upgrade: %b\r\nConnection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMA\r\n" % offer.encode()
    sent, head = POST + offered + framed, len(POST + offered) + framed.index(b"\r\n\r\n") + 4
    pieces = {"whole": [sent], "head and body": [sent[:head], sent[head:]], "bytes": [bytes([b]) for b in sent]}[cut]
    before = len(refusing.engine.bodies)
    with opened(refusing) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
            if cut == "head and body":
                time.sleep(0.05)  # so that the body is a segment of its own
        answer = read_to_end(client)
    assert status(answer) == 200
    assert refusing.engine.bodies[before:] == [BODY]
    (got,) = refusing.engine.headers[before:]
    assert not {"upgrade", "http2-settings"} & set(got)


def test_a_trailer_is_no_header(refusing: Bench) -> None:
    before = len(refusing.engine.headers)
    trailer = b"X-Evil: 1\r\nAuthorization: Bearer none\r\nX-Callwright-Dialect: hermes\r\n\r\n"
    assert status(said(refusing, closing(POST), CHUNKED + CHUNKS + trailer)) == 200
    assert refusing.engine.bodies[-1] == BODY
    assert "x-evil" not in refusing.engine.headers[before]


def test_a_trailer_is_no_key() -> None:
    with bench("Hello.", api_keys=["s3cret"]) as b:
        for offer in (b"", b"Upgrade: h2c\r\nConnection: Upgrade\r\n"):
            sent = (
                closing(POST) + offer + CHUNKED + CHUNKS + b"Authorization: Bearer s3cret\r\nX-API-Key: s3cret\r\n\r\n"
            )
            assert status(said(b, sent)) == 401
        assert not b.engine.bodies


def test_headers_that_the_connection_names_end_with_it(refusing: Bench) -> None:
    said(refusing, POST + b"X-Hop: 1\r\nX-Stays: 1\r\nConnection: close, X-Hop\r\n" + SIZED)
    assert "x-stays" in refusing.engine.headers[-1]
    assert "x-hop" not in refusing.engine.headers[-1]


TOO_LARGE = {
    "lines": b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X-Y: abcdefgh\r\n" * 100_000,
    "one line": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000,
    "a name": b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"a" * 1_000_000,
    "the URL": b"GET /" + b"a" * 1_000_000,
    "the query": b"GET /?" + b"a" * 1_000_000,
    "empty lines": b"\r\n" * 500_000,
    "empty lines after a request": GET + b"\r\n" * 500_000,
    "the head after a request": GET + b"GET /" + b"a" * 1_000_000,
    "trailers": POST + CHUNKED + CHUNKS + b"X-Y: abcdefgh\r\n" * 100_000,
    "one trailer": POST + CHUNKED + CHUNKS + b"X-Y: " + b"a" * 1_000_000,
    "a chunk's extension": POST + CHUNKED + b"1;x=" + b"a" * 1_000_000,
}  # fmt: skip


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_has_a_bound(sent: bytes, refusing: Bench) -> None:
    answer = said(refusing, sent)
    *before, last = answer.split(b"HTTP/1.1 ")[1:]
    assert last.startswith(b"431 ")
    assert [each[:3] for each in before] == [b"200"] * sent.startswith(GET)
    assert json.loads(last.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_head_up_to_the_bound_is_served(refusing: Bench) -> None:
    lines = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 240) for n in range(250))
    assert status(said(refusing, closing(POST) + lines + SIZED)) == 200
    assert refusing.engine.headers[-1]["x-249"] == "a" * 240
    large = b"x" * 1_000_000
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(large) + large
    assert said(refusing, whole + closing(GET)).count(b"HTTP/1.1 200") == 2, "bodies have a bound of their own"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", None),
        (b"\r\n", None),
        (GET + b"\r\n", 200),
        (b"GET /heal", 408),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX", 408),
        (GET + b"GET /heal", 200),
        (POST + b"Content-Length: 10\r\n\r\nabc", 408),
        (POST + b"Content-Length: 10\r\n\r\n", 408),
        (POST + CHUNKED + b"5\r\nab", 408),
        (POST + CHUNKED + b"1\r\na\r\n0\r\nX: y", 408),
        (POST + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 10\r\n\r\nabc", 408),
    ],
)
def test_what_stops_halfway_is_ended(sent: bytes, expected: int | None, brief: Bench) -> None:
    answer = said(brief, sent)
    assert (status(answer) if answer else None) == expected
    if expected == 200 and sent.endswith(b"/heal"):
        assert answer.count(b"HTTP/1.1 408") == 1, "for the second head"


def test_drops_do_not_prolong_a_head(brief: Bench) -> None:
    with opened(brief) as client:
        client.settimeout(0.02)
        for byte in b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 400:
            client.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                assert status(client.recv(100)) == 408
                return
    pytest.fail("the head went on for 8 s")


def test_a_body_may_come_slowly(brief: Bench) -> None:
    with opened(brief) as client:
        client.sendall(closing(POST) + b"Content-Length: 20\r\n\r\n")
        for _ in range(20):
            time.sleep(0.05)  # 1 s in all
            client.sendall(b"x")
        assert status(read_to_end(client)) == 200


def test_the_rest_of_a_refused_body_is_not_read_for_ever() -> None:
    with bench("Hello.", api_keys=["s3cret"], head_seconds=0.3) as b, opened(b) as client:
        client.sendall(POST + b"Content-Length: 1000000000\r\n\r\n")
        assert status(client.recv(1000)) == 401
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                time.sleep(0.05)
                client.sendall(b"x" * 1000)
            pytest.fail("it was read for 10 s")


def test_pipelined_requests_are_answered_in_order(refusing: Bench) -> None:
    sent = GET + POST + SIZED + GET.replace(b"healthz", b"version") + closing(GET)
    answers = said(refusing, sent).split(b"HTTP/1.1 ")[1:]
    assert [each[:3] for each in answers] == [b"200"] * 4
    assert [word in each for word, each in zip((b"ok", b"echo", b"dialects", b"ok"), answers, strict=True)] == [
        True
    ] * 4


@pytest.mark.parametrize(
    "wrong", [b"NONSENSE\r\n\r\n", POST + b"Content-Length: x\r\n\r\n", POST + CHUNKED + b"zz\r\n"]
)
def test_what_is_wrong_is_refused_behind_the_answers_before_it(wrong: bytes, refusing: Bench) -> None:
    before = len(refusing.engine.bodies)
    for cut in (1, len(POST)):
        answers = said(refusing, POST + SIZED + GET + wrong[:cut], wrong[cut:]).split(b"HTTP/1.1 ")[1:]
        assert [each[:3] for each in answers[:3]] == [b"200", b"200", b"400"]
    assert refusing.engine.bodies[before:] == [BODY] * 2


def test_requests_do_not_pile_up_behind_an_answer() -> None:
    hold = threading.Event()
    with bench(lambda request: Text(["Hello."], hold=hold), max_body_bytes=4 * 2**20) as b, opened(b) as client:
        body = b'{"model": "m", "messages": []}'
        asked = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.sendall(asked + body)
        while not b.engine.requests:
            time.sleep(0.01)
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(64):
                client.sendall(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
            pytest.fail("64 MB were read ahead")
        hold.set()
        assert status(client.recv(1000)) == 200


def test_many_pipelined_requests_are_refused(refusing: Bench) -> None:
    answers = said(refusing, GET * 1000).split(b"HTTP/1.1 ")[1:]
    assert [each[:3] for each in answers[:-1]] == [b"200"] * (len(answers) - 1)
    assert answers[-1][:3] == b"400"


def test_a_full_house_ends_the_connection_that_has_been_idle_longest(brief: Bench) -> None:
    with contextlib.ExitStack() as kept:
        waiting = [kept.enter_context(opened(brief)) for _ in range(12)]
        assert status(said(brief, closing(GET))) == 200
        assert [client.recv(1) for client in waiting[:4]] == [b""] * 4


def test_a_house_full_of_requests_is_503() -> None:
    hold = threading.Event()
    with (
        bench(lambda request: Text(["Hello."], hold=hold), max_connections=2) as b,
        opened(b) as one,
        opened(b) as other,
    ):
        body = b'{"model": "m", "messages": []}'
        for client in (one, other):
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n" + body)
        while len(b.engine.requests) < 2:
            time.sleep(0.01)
        answer = said(b)
        assert status(answer) == 503
        assert b"retry-after" in answer
        hold.set()
        assert status(one.recv(1000)) == 200
        assert status(said(b, closing(GET))) == 200, "an idle connection makes room"


def test_a_client_that_takes_nothing_is_left() -> None:
    with bench("Hello.", unread_seconds=0.3) as b:
        b.engine.others["/v1/large"] = lambda body: Raw(b"x" * 100_000_000)
        with opened(b) as client:
            client.sendall(GET.replace(b"/healthz", b"/v1/large"))
            while "callwright_client_disconnects_total 1.0" not in httpx.get(f"{b.url}/metrics").text:
                time.sleep(0.05)
            assert len(read_to_end(client)) < 100_000_000
