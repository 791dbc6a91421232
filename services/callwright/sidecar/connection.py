"""`Connection` and `Response`: one connection to the engine and the answer that arrives on it.

Knows HTTP/1.1 as httptools (llhttp) reads it; nothing of the engine, of bodies or of who asks. Not through aiohttp:
it costs 11 MB of memory and a fifth of the time for each event, and no other client is cheaper.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, cast

import httptools

from callwright.errors import TimedOut, Unavailable
from callwright.sidecar.http import Headers, find

READ_BYTES = 64 * 1024
"""No more is read for a stream once this waits for a slow client; what the loop reads at once comes on top."""
Take = Callable[[bytes], Coroutine[Any, Any, None]]
"""Takes a piece of a body, which is not empty."""
_LONGEST_HEAD = 64 * 1024
_LONGEST_WHOLE = 64 * 1024**2


class Response:
    """An answer: its head, then its body as it arrives. `bodiless`: HEAD's, which declares a body and has none."""

    def __init__(self, connection: "Connection", *, bodiless: bool) -> None:
        self.status = 0
        self.headers: Headers = []
        """Names in lower case."""
        self.waiting = 0
        """Bytes off the wire that nobody has taken yet."""
        self.ended = False
        """The whole body has arrived."""
        self._connection, self._bodiless = connection, bodiless
        self._has_head = self._kept = False
        self._head_size = 0
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """httptools calls this with each piece of the body."""
        self._error: Unavailable | TimedOut | None = None
        self._waiter: asyncio.Future[Awaitable[None] | None] | None = None
        self._take: Take | None = None
        self._begun: Coroutine[Any, Any, None] | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case; empty when there is none."""
        return self._header(b"content-type").partition(";")[0].strip().lower()

    @property
    def reusable(self) -> bool:
        """Whether the connection may bear another exchange: the body has been read, and its end was declared."""
        return self._kept and self.ended and not self._pieces and self._error is None

    async def head(self) -> None:
        """Wait for status and headers. Raises `Unavailable` or `TimedOut`."""
        while not self._has_head:
            await self._arrival()

    async def pump(self, take: Take) -> None:
        """Hand the body to `take`, piece by piece as it arrives, to its end; only once it is done with one, the next.

        `take` begins outside of any task and of the caller's context, in the loop's call that reads the wire, since
        waking the caller would cost more than most that it does; it goes on in the caller's task once it waits.
        Raises `Unavailable` or `TimedOut`, and what `take` raises.
        """
        self._take = take
        while True:
            while self._pieces:
                await take(self._piece())
            if self.ended:
                return
            rest = await self._arrival()
            if rest is not None:
                await rest

    async def whole(self) -> bytes:
        """The body. Raises `Unavailable`, also for one that is too large, or `TimedOut`."""
        body = bytearray()

        async def take(piece: bytes) -> None:
            body.extend(piece)
            if len(body) > _LONGEST_WHOLE:
                raise Unavailable("the engine's answer is too large")

        await self.pump(take)
        return bytes(body)

    def feed(self, data: bytes) -> None:
        """Take bytes off the wire."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(Unavailable("the engine's answer is not HTTP; look whether --upstream is the engine's URL"))
        if not self._has_head:
            self._head_size += len(data)
            if self._head_size > _LONGEST_HEAD:
                self.fail(Unavailable("the head of the engine's answer is too large"))
        self._go_on()
        if self._pieces:
            self.waiting += len(data)

    def end(self, *, clean: bool) -> None:
        """The connection has ended, which ends a body of undeclared length too where the engine has closed it."""
        chunked = self._header(b"transfer-encoding").lower().endswith("chunked")
        if clean and self._has_head and not chunked and not self._header(b"content-length") and self._error is None:
            self.ended = True
        elif not self.ended:
            self.fail(Unavailable("the engine ended the connection; try again later"))
        self._go_on()

    def drop(self) -> None:
        """Nobody reads on: let go of the parser, which knows this response, of what it has read and of who took it."""
        if self._begun is not None:
            self._begun.close()
        del self._parser, self._pieces, self.on_body, self._take

    def fail(self, error: Unavailable | TimedOut) -> None:
        """Nothing more will come; what has arrived is read first."""
        self._error = self._error or error
        self._go_on()

    def _piece(self) -> bytes:
        """What has arrived."""
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.waiting = 0
        if self._connection.paused:
            self._connection.resume()
        return piece

    def _arrival(self) -> asyncio.Future[Awaitable[None] | None]:
        """Done once something has changed; the result is what `take` has begun and waits in."""
        if self._error is not None:
            raise self._error
        self._waiter = self._connection.loop.create_future()
        return self._waiter

    def _go_on(self) -> None:
        """Something has changed: do what waits for it, at once or by waking its task."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        rest = None
        if self._take is not None and self._pieces:
            work = self._take(self._piece())
            try:
                rest = _rest(work, work.send(None))
                self._begun = work
            except StopIteration:
                if not self.ended:
                    return
            except Exception as error:  # noqa: BLE001 — it is raised where `pump` waits
                waiter.set_exception(error)
                return
        waiter.set_result(rest)

    def _header(self, name: bytes) -> str:
        return (find(self.headers, name) or b"").decode("latin-1")

    # --- httptools calls these ---

    def on_message_begin(self) -> None:
        """Another head: after 1xx that of the answer, after the answer what nobody has asked for."""
        if self.ended:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is dropped."""
        if not self._has_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there, unless it announces another (1xx)."""
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._has_head, self.ended = True, self._bodiless
            self._kept = self._parser.should_keep_alive() and not self._bodiless
        else:
            self.headers = []

    def on_message_complete(self) -> None:
        """The body has ended."""
        self.ended = self._has_head


@types.coroutine
def _rest(work: Coroutine[Any, Any, None], waits: object) -> Generator[Any, Any, None]:
    """The rest of `work`, which was begun outside of a task and waits in `waits`."""
    try:
        yield waits
    except BaseException as error:  # noqa: BLE001 — it is for `work`
        try:
            waits = work.throw(error)
        except StopIteration:
            return
        yield from _rest(work, waits)
    else:
        yield from work


class Connection(asyncio.Protocol):
    """A connection to the engine, for one exchange at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.open = False
        self.idle_since = 0.0
        """By the loop's clock."""
        self._response: Response | None = None
        self._silent_seconds = self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.paused = False
        """Enough waits to be read."""

    async def ask(self, request: bytes, *, silent_seconds: float, bodiless: bool) -> Response:
        """Send a request; returns the response once its head is there. Raises `Unavailable` or `TimedOut`."""
        self._response = response = Response(self, bodiless=bodiless)
        self._silent_seconds, self._heard = silent_seconds, self.loop.time()
        self._watch = self.loop.call_later(silent_seconds, self._look)
        self._transport.write(request)
        await response.head()
        return response

    def finish(self) -> bool:
        """End the exchange; returns whether the connection can bear another. Otherwise it is closed, at once."""
        response, self._response = self._response, None
        if self._watch is not None:
            self._watch.cancel()
        reusable = response is not None and response.reusable and self.usable
        if response is not None:
            response.drop()
        if reusable:
            self.idle_since = self.loop.time()
            return True
        self.close()
        return False

    @property
    def usable(self) -> bool:
        """Whether a request could be sent now: nothing of an earlier one is still on its way."""
        return self.open and not self._transport.is_closing() and not self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close at once."""
        self.open = False
        self._transport.abort()

    def resume(self) -> None:
        """There is room again for what the engine sends."""
        self.paused, self._heard = False, self.loop.time()
        self._transport.resume_reading()

    # --- asyncio calls these ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport, self.open = cast("asyncio.Transport", transport), True

    def data_received(self, data: bytes) -> None:
        """Bytes off the wire."""
        response = self._response
        if response is None or response.ended:
            self.close()  # nobody has asked
            return
        self._heard = self.loop.time()
        response.feed(data)
        if response.waiting > READ_BYTES and not self.paused:
            self.paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The other side is about to be gone."""
        self.open = False

    def connection_lost(self, error: Exception | None) -> None:
        """The other side is gone."""
        self.open = False
        if self._response is not None:
            self._response.end(clean=error is None)

    def _look(self) -> None:
        """One timer for the whole exchange: one for each event would cost more than the event."""
        if self._response is None:
            return
        silent = 0.0 if self.paused else self.loop.time() - self._heard
        if silent >= self._silent_seconds:
            self._response.fail(TimedOut("the engine was silent for too long; try again later"))
        else:
            self._watch = self.loop.call_later(self._silent_seconds - silent, self._look)
