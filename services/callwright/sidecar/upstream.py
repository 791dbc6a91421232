"""`Upstream`: the engine, asked through aiohttp's client. What goes wrong becomes `Unavailable` or `TimedOut`.

Owns connections, time limits and the one repetition of a request. Knows HTTP to one host; nothing of bodies.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from callwright.errors import TimedOut, Unavailable
from callwright.sidecar.breaker import Breaker
from callwright.sidecar.config import ENGINE_PATHS, GENERATING_PATHS
from callwright.sidecar.errors import Refused

Headers = list[tuple[bytes, bytes]]
"""Names in lower case."""
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host"
    b" content-length expect authorization x-api-key accept-encoding x-callwright-version".split()
)
_NOT_RETURNED = _HOP_BY_HOP - {b"content-length", b"x-callwright-version"}
DOWN_STATUSES = (500, 502, 503, 504)
"""What a proxy before the engine answers by itself."""
_KEPT_SECONDS = 1.0
"""How long an unused connection is kept: less than servers keep one (uvicorn: 5), and than a replica that leaves can be
reached (`RAY_SERVE_ENV`), for another HAProxy has taken over by then and this connection's knows no other replica.
"""
_LONGEST_HEADER = 64 * 1024
_MOST_HEADERS = 512
_PIECE_BYTES = 64 * 1024
"""The most that is taken from a body at once, and so held for a client that reads slowly."""
_LONGEST_BODY = 16 * 1024**2
"""Bytes of an answer that is read whole."""
_has_control_character = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_DATA = b"data:"
"""What the line of a stream begins with that is no comment, by which an engine says only that it lives."""
_NOT_HTTP = "the engine's answer is not HTTP, or its head is too large; look whether --upstream is the engine's URL"


def request_headers(headers: Headers, ours: Headers) -> Headers:
    """Return the headers to send on: none of the connection's or the sidecar's own, and `ours` instead of theirs."""
    named = (token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b","))
    dropped = _HOP_BY_HOP.union(named, (name for name, _ in ours))
    return [pair for pair in headers if pair[0] not in dropped] + ours


def response_headers(headers: Headers, *, cors: bool = True) -> Headers:
    """Return the engine's headers for the client: none of the connection's, its length excepted.

    Without `cors` none that say whose pages may read the answer either.
    """
    returned = [pair for pair in headers if pair[0] not in _NOT_RETURNED]
    return returned if cors else [pair for pair in returned if not pair[0].startswith(b"access-control-")]


class EngineResponse:
    """The engine's answer. Iterating over it gives the pieces of its body as they arrive."""

    def __init__(self, response: aiohttp.ClientResponse, breaker: Breaker, deadline: float | None) -> None:
        self._content, self._breaker, self._deadline = response.content, breaker, deadline
        self._length = response.content_length or 0
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.raw_headers]
        """Names in lower case; values, and their order and number, as the engine sent them."""
        self.media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        """The content type without parameters; empty when there is none."""
        self._closed = None
        declared = "content-length" in response.headers or "chunked" in response.headers.get("transfer-encoding", "")
        self.has_begun = self.media_type != "text/event-stream"
        """The engine has answered: with a head, or in a stream, whose head says nothing yet, with data."""
        self._line = b""
        """The beginning of a stream's line before that."""
        if not declared and response.connection is not None and response.connection.protocol is not None:
            self._closed = response.connection.protocol.closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            with _engine_errors():
                try:
                    piece = await self._early_piece()
                    while piece:
                        yield piece
                        piece = await (self._content.read(_PIECE_BYTES) if self.has_begun else self._early_piece())
                except (aiohttp.ClientError, TimeoutError):
                    # aiohttp raises at once, even where it has more to read: what came before the error is not lost.
                    if rest := self._content._read_nowait(-1):
                        self.has_begun = True
                        yield rest
                    raise
                # A body of undeclared length ends with its connection; aiohttp takes a reset for its end too.
                if self._closed is not None and self._closed.done():
                    self._closed.result()
        except (Unavailable, TimedOut) as error:
            if not self.has_begun:
                self._breaker.fail(was_silent=isinstance(error, TimedOut))
            raise

    async def _early_piece(self) -> bytes:
        """Return a piece that has to come in time. Raises `TimeoutError`."""
        limit = None
        if self._deadline is not None:
            late = TimeoutError()
            limit = asyncio.get_running_loop().call_at(self._deadline, self._content.set_exception, late)
        try:
            piece = await self._content.read(_PIECE_BYTES)
        finally:
            if limit is not None:
                limit.cancel()
        if not self.has_begun:
            lines = (self._line + piece).split(b"\n")
            self._line = lines[-1][: len(_DATA)]
            if any(line.startswith(_DATA) for line in lines):
                self.has_begun = True
                self._breaker.succeed(with_tokens=True)
        return piece

    async def read(self, hold: Callable[[int], None] = lambda size: None) -> bytes:
        """Return the whole body; `hold` gets its size, as far as that is declared, or each piece's, and may raise.

        Raises `Unavailable`, also for one that is too large, or `TimedOut`.
        """
        body = bytearray()
        hold(self._length)
        async for piece in self:
            body += piece
            if not self._length:
                hold(len(piece))
            if len(body) > _LONGEST_BODY:
                raise Unavailable("the engine's answer is too large")
        return bytes(body)


class EngineRequest:
    """A request to the engine, which is sent once: by `send`, whose response `close` ends, or by `async with`."""

    def __init__(
        self,
        sending: Coroutine[Any, Any, aiohttp.ClientResponse],
        breaker: Breaker,
        seconds: float,
        *,
        whole: bool,
        generates: bool,
    ) -> None:
        self._sending, self._breaker, self._seconds = sending, breaker, seconds
        self._is_whole, self._generates = whole, generates
        self._response: aiohttp.ClientResponse | None = None

    async def send(self) -> EngineResponse:
        """Return the response, once its head has arrived. Raises as `Upstream.request` says."""
        try:
            with _engine_errors():
                async with asyncio.timeout(self._seconds) as limit:
                    response = self._response = await self._sending
        except (Unavailable, TimedOut) as error:
            self._breaker.fail(was_silent=isinstance(error, TimedOut))
            raise
        # Below 200 it has switched protocols, which nobody has asked for.
        if response.status < 200 or _has_control_character(b"".join(chain.from_iterable(response.raw_headers))):
            raise Unavailable(_NOT_HTTP)
        answer = EngineResponse(response, self._breaker, None if self._is_whole else limit.when())
        if answer.has_begun:
            self._breaker.succeed(with_tokens=self._generates and answer.status == 200)
        return answer

    def close(self) -> None:
        """End the request: what has not come of its response by now is not to come."""
        self._sending.close()
        if self._response is not None:
            self._response.close()

    async def __aenter__(self) -> EngineResponse:
        try:
            return await self.send()
        except BaseException:
            self.close()
            raise

    async def __aexit__(self, *error: object) -> None:
        self.close()


class Upstream:
    """The engine at `url`, whose connections last as long as the `async with` block.

    `connect_seconds` limits how long a connection may take, `first_token_seconds` how long the answer's first byte,
    where it does not come whole after its last token, and `silent_seconds` how long the engine may send nothing.
    `breaker` is told of each request whether it was answered; who asks for a client asks it first.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_seconds: float,
        silent_seconds: float,
        first_token_seconds: float = 120.0,
        breaker: Breaker | None = None,
    ) -> None:
        self._url, self._host = url, url.partition("://")[2].partition("/")[0]
        self._silent_seconds, self._first_token_seconds = silent_seconds, first_token_seconds
        self.breaker = breaker or Breaker()
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_seconds, sock_read=silent_seconds)

    async def __aenter__(self) -> Self:
        self._kept = self._session(_Connector(limit=0, keepalive_timeout=_KEPT_SECONDS))
        self._fresh = self._session(_Connector(limit=0, force_close=True))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._kept.close()
        await self._fresh.close()

    def request(
        self, method: str, target: str, headers: Headers, body: bytes | None = None, *, whole: bool = False
    ) -> "EngineRequest":
        """Return a request for `target`, a path with its query; the block gets the response once its head has arrived.

        A `whole` answer may take its time, for it comes when all of it has been generated.

            async with upstream.request("POST", "/tokenize", headers, body) as response:
                tokens = json.loads(await response.read())

        Leaving the block before the body has ended closes the connection, at which the engine stops generating.
        Raises `Unavailable` or `TimedOut`, and `Refused` for what can't be written as HTTP.
        """
        generates = method == "POST" and target.partition("?")[0] in GENERATING_PATHS
        seconds = self._silent_seconds if whole else min(self._silent_seconds, self._first_token_seconds)
        return EngineRequest(
            self._send(method, target, headers, body, is_stream=generates and not whole),
            self.breaker,
            seconds,
            whole=whole,
            generates=generates,
        )

    async def models(self) -> list[str] | None:
        """Return the ids that the engine lists, as far as they can be read; None where it does not answer, or nothing
        is let through to it.
        """
        if self.breaker.state == "open":
            return None
        try:
            async with asyncio.timeout(2), self.request("GET", "/v1/models", []) as response:
                listed = await response.read() if response.status == 200 else None
        except (Unavailable, TimedOut, TimeoutError):
            return None
        if listed is None:
            return None
        try:
            return [str(each["id"]) for each in json.loads(listed)["data"]]
        except (ValueError, TypeError, LookupError):
            return []

    async def _send(
        self, method: str, target: str, headers: Headers, body: bytes | None, *, is_stream: bool
    ) -> aiohttp.ClientResponse:
        """Send a request; a stream over a connection of its own.

        A stream may outlast the replicas that its connection's HAProxy knows, and the next request over it would fail.
        """
        try:
            url = URL(self._url + target, encoded=True)
            sent = [("host", self._host), *((name.decode("latin-1"), _text(value)) for name, value in headers)]
            options: dict[str, Any] = {"headers": sent, "data": body, "allow_redirects": False}
            if _is_repeatable(method, target):
                try:
                    return await (self._fresh if is_stream else self._kept).request(method, url, **options)
                except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                    unsent = isinstance(error, aiohttp.ClientConnectorError)  # no connection: so the engine is down
                    if unsent or _has_begun(error):
                        raise
            # By a connection of its own: the engine may have closed a kept one when the request was on its way.
            return await self._fresh.request(method, url, **options)
        except aiohttp.ClientConnectorError:
            raise  # a certificate that is not trusted is a `ValueError` too
        except ValueError as error:
            raise Refused(f"the request can't be sent on: {error}") from None

    def _session(self, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            auto_decompress=False,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
        )
        session._retry_connection = False  # else each GET, PUT and DELETE is tried again by aiohttp too
        return session


class _Connector(aiohttp.TCPConnector):
    """Closes a connection at once, where aiohttp would first send what the engine has not read of the request."""

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close:
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)


def _is_repeatable(method: str, target: str) -> bool:
    """Return whether a request may reach the engine twice: it keeps nothing of what it was asked."""
    return method in _SAFE_METHODS or target.partition("?")[0] in ENGINE_PATHS.get(method, ())


def _has_begun(error: aiohttp.ClientError) -> bool:
    """Return whether a part of the answer's head had arrived, so that the engine has taken the request."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


def _text(value: bytes) -> str:
    """Return a header's value such that aiohttp, which writes UTF-8, writes the same bytes where they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Raise aiohttp's errors as this project's."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise Unavailable("the engine does not answer; try again later") from None
    except TimeoutError:
        raise TimedOut("the engine was silent for too long; try again later") from None
    except aiohttp.ClientResponseError:
        raise Unavailable(_NOT_HTTP) from None
    except (aiohttp.ClientError, OSError):
        raise Unavailable("the engine ended the connection; try again later") from None
