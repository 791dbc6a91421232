"""The client's side, in ASGI: reading a bounded body, writing the answer, and noticing a client that has gone.

Written against plain ASGI, since Starlette's `StreamingResponse` sends its head before the first event is known.
"""

import asyncio
import string
import time
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Send

from callwright.sidecar.budget import Held
from callwright.sidecar.errors import Refused
from callwright.sidecar.sse import KEEP_ALIVE
from callwright.sidecar.upstream import Headers

_PIECE_BYTES = 64 * 1024
"""What is written at once: more waits until the client has taken what was written before."""
_HEAD_SECONDS = 0.02
"""A stream's head waits so long for the first event: one write is less work than two, for the client too."""
_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def read_body(request: Request, limit: int, held: Held) -> bytes:
    """Read the body, which is `held` then, one whose length is declared from the beginning.

    Raises `Refused` when it is longer than `limit`, `Overloaded` when there is no room, Starlette's `ClientDisconnect`.
    """
    declared = request.headers.get("content-length", "")
    body = bytearray()
    if not declared.isdigit() or int(declared) <= limit:
        if declared.isdigit():
            held.keep(int(declared))
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                break
            if not declared.isdigit():
                held.keep(len(body))
        else:
            return bytes(body)
    raise too_large(limit)


def too_large(limit: int) -> Refused:
    """Return the refusal of a body of more than `limit` bytes."""
    return Refused(f"the body is larger than {limit} bytes", code="request_too_large", status=413)


def written_path(request: Request) -> bytes:
    """Return the path as the client wrote it."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return path


def target(request: Request) -> str:
    """Return path and query as the client wrote them, with what is not ASCII escaped."""
    path, query = written_path(request), request.scope["query_string"]
    written: bytes = path + b"?" + query if query else path
    return written.decode() if written.isascii() else quote(written, safe=string.printable)


async def until_disconnect(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do `work`, but cancel it as soon as the client closes its connection; the body must have been read.

    Raises `ClientDisconnect`.
    """
    working = asyncio.ensure_future(work)  # a task of its own, which can be cancelled without the caller's

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        await working
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


class ResponseWriter:
    """Writes the answer to one request: whole, as it comes, or as a stream of events that is kept alive."""

    def __init__(self, send: Send, held: Held) -> None:
        self._send, self._held = send, held
        self._started = self._last = time.monotonic()
        self._keeping_alive: asyncio.Task[None] | asyncio.TimerHandle | None = None
        self._is_within_piece = False
        self.is_stream = False
        """The answer is a stream of events, in which an error is one more event."""
        self.is_held = False
        """It has begun before the engine answered, so that what the engine says now is one more event too."""
        self.status = 0
        """The status that was sent; 0 before that."""
        self.ended = False
        """The end of the answer was sent, or is being sent."""
        self.engine_headers: Headers = []
        """The engine's, as far as they are for the client; none before it has answered."""
        self.own_headers: Headers = []
        """What every answer says that does not say it already."""

    def with_engine_headers(self, headers: Headers) -> Headers:
        """Return the headers of an answer that is not the engine's own: with all of its that tell nothing of a body.

        Whose page may read the answer, the request's id, when to try again: of that the engine knows more.
        """
        ours = {name for name, _ in headers if name != b"retry-after"}
        kept = [pair for pair in self.engine_headers if pair[0] not in ours and not pair[0].startswith(b"content-")]
        known = {name for name, _ in kept}
        return [*kept, *(pair for pair in headers if pair[0] not in known)]

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer, as fast as the client takes it."""
        self.close()
        self.ended = True
        kept = [(name, value) for name, value in headers if name != b"content-length"]
        await self.start(status, [*kept, (b"content-length", str(len(body)).encode())])
        for start in range(0, len(body) - _PIECE_BYTES, _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": body[-(len(body) % _PIECE_BYTES or _PIECE_BYTES) :]})

    def start_stream(self, comment: bytes, seconds: float) -> None:
        """Begin a stream, whose head goes out with its first event or soon; `comment` ends a silence of `seconds`."""
        self.close()
        self.is_stream = True
        self._keeping_alive = asyncio.get_running_loop().create_task(self._keep_alive(_HEAD_SECONDS, comment, seconds))

    def hold(self, seconds: float) -> None:
        """Have a stream begin without an answer of the engine where that takes `seconds`; comments keep it alive then.

        Until `start_stream`, `send` or `close`.
        """
        if not self.status and self._keeping_alive is None:
            self._keeping_alive = asyncio.get_running_loop().call_later(seconds, self._begin_held, seconds)

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        self.status = status
        known = {name for name, _ in headers}
        headers = [*headers, *(pair for pair in self.own_headers if pair[0] not in known)]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, piece: bytes) -> None:
        """Send more of the body, with a stream's head before its first piece."""
        now = time.monotonic()
        if self._last == self._started:
            await self._start_once()
        self._last = now
        if len(piece) > _PIECE_BYTES:
            await self._write_large(piece)
        else:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        """Send the end."""
        self.close()
        self.ended = True
        await self._send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Stop keeping a stream alive."""
        if self._keeping_alive is not None:
            self._keeping_alive.cancel()
            self._keeping_alive = None

    async def _write_large(self, piece: bytes) -> None:
        """Send a large piece as fast as the client takes it; it is held meanwhile. Raises `Overloaded`."""
        self._held.add(len(piece))
        self._is_within_piece = True
        for start in range(0, len(piece), _PIECE_BYTES):
            part = piece[start : start + _PIECE_BYTES]
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
        self._is_within_piece = False
        self._held.add(-len(piece))

    async def _start_once(self) -> None:
        if not self.status:
            await self.start(200, self.with_engine_headers(_STREAM_HEADERS))

    def _begin_held(self, seconds: float) -> None:
        self.is_stream = self.is_held = True
        self._keeping_alive = asyncio.get_running_loop().create_task(self._keep_alive(0, KEEP_ALIVE, seconds))

    async def _keep_alive(self, head_seconds: float, comment: bytes, seconds: float) -> None:
        await asyncio.sleep(head_seconds)
        await self._start_once()
        while True:
            idle = time.monotonic() - self._last
            if idle >= seconds and not self._is_within_piece:
                await self.write(comment)
            if idle >= seconds:
                idle = 0.0
            await asyncio.sleep(seconds - idle)
