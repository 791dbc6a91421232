"""`Connection`: HTTP/1.1 from clients, by uvicorn and its parser, within bounds and read in one way only.

What is no request, or comes too slowly, is refused here, before an application sees it. Knows nothing of what is asked.
"""

import asyncio
import re
from collections.abc import Sized
from typing import cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused, error_response

_SLICE_BYTES = 16 * 1024
"""The parser gets so much at once, as it stops at nothing within."""
_MOST_HEADERS = 256
_MOST_PIPELINED = 16
_LINGER_SECONDS = 2.0
"""A client that is refused may go on sending for so long, and so reads why."""
_is_host = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]*").fullmatch


class _Flow(FlowControl):
    """Reads nothing more while a request waits behind another's answer, whose handler would go on reading."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Go on reading, unless a request waits."""
        if not self._waiting:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """One client's connection. To be made through `connection_class`."""

    settings: SidecarConfig
    idle: dict["Connection", None]
    """All connections without a request under way, the one that has been so longest first."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, in the place of one that asks nothing where there are too many."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._in_head = self._in_body = False
        self._unanswered = 0
        """Requests that have begun and whose answer has not ended."""
        self._unread = 0
        """Bytes since the last that were part of a body, or ended a head or a message."""
        self._refusal: bytes | None = None
        """What ends the connection: nothing is read any more."""
        self._wrong: Refused | None = None
        if len(self.connections) > self.settings.max_connections:
            if self.idle:
                next(iter(self.idle))._hang_up()
            else:
                self._refuse(Refused("too many connections are open; try again later", status=503))
                return
        self.idle[self] = None
        self._limit(self.settings.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.idle.pop(self, None)
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what is no HTTP, or too long, is refused."""
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        while rest and self._refusal is None:
            size = min(_SLICE_BYTES, self.settings.max_head_bytes - self._unread + 1)
            self._feed(bytes(rest[:size]))
            rest = rest[size:]
        if self._refusal is None and not self.transport.is_closing():
            self._set_deadline()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a head."""
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._wrong = Refused("too many requests came before the answer to the first")
            raise self._wrong
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head can be read in two ways; one that offers an upgrade is read once more."""
        self._unread = 0
        if self.parser.should_upgrade():
            return
        self._in_head = False
        if len(self.headers) > _MOST_HEADERS:
            self._wrong = Refused(f"the head has more than {_MOST_HEADERS} headers", status=431)
            raise self._wrong
        if wrong := self._ambiguity():
            self._wrong = Refused(wrong, code="invalid_http")
            raise self._wrong
        self._in_body = True
        self._unanswered += 1
        self.idle.pop(self, None)
        super().on_headers_complete()
        self.headers = []  # those that follow the body say nothing

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if not self.parser.should_upgrade():
            self._unread, self._in_body = 0, False
            super().on_message_complete()

    # What the answer's side calls.

    def on_response_complete(self) -> None:
        """Wait for the next request, or close where there can be none."""
        self._unanswered -= 1
        super().on_response_complete()
        if self.transport.is_closing():
            self._limit(self.settings.unread_seconds)
        elif self._unanswered:
            return
        elif self._refusal is not None:
            self._say_refusal()
        else:
            self.idle[self] = None
            self._limit(self.settings.head_seconds if self._in_head or self._in_body else None)

    def pause_writing(self) -> None:
        """Note that the client takes nothing."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """Note that the client has taken most of what was written."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that asks nothing more."""
        self._hang_up()

    def _feed(self, piece: bytes) -> None:
        self._unread += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as found:
            self._without_upgrade(piece[found.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._wrong or Refused("what came is no HTTP/1.1 request", code="invalid_http"))
        else:
            if self._unread > self.settings.max_head_bytes:
                limit = self.settings.max_head_bytes
                self._refuse(Refused(f"the head is larger than {limit} bytes", code="head_too_large", status=431))
            elif self._in_head and self.parser.get_http_version() in ("0.9", "0.0" if piece.endswith(b"\n") else None):
                self._refuse(Refused("HTTP/0.9 is not served", code="invalid_http"))

    def _without_upgrade(self, rest: bytes) -> None:
        """Read the head that has ended once more, without what it offers: so the parser goes on with the body."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(Refused("this is no proxy", code="invalid_http"))
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join((*lines, b"", rest)))

    def _ambiguity(self) -> str | None:
        """Return what of a head others could read differently; the parser itself has refused most of that."""
        version = self.parser.get_http_version()
        given = dict(self.headers)
        host, coding = given.get(b"host"), given.get(b"transfer-encoding")
        hosts = 0 if host is None else 1
        if len(given) != len(self.headers):
            hosts = sum(name == b"host" for name, _ in self.headers)
        if version not in ("1.0", "1.1"):
            return f"HTTP/{version} is not served"
        if hosts != 1 and (hosts or version == "1.1"):
            return f"the head has {hosts} headers Host; expected one"
        if host is not None and not _is_host(host):
            return "the header Host names no host"
        if coding is not None and version == "1.0":
            return "HTTP/1.0 has no Transfer-Encoding"
        if coding is not None and coding.lower() != b"chunked":
            return "the only Transfer-Encoding served is chunked"
        return None

    def _set_deadline(self) -> None:
        """Say until when more must come: each piece of a body by itself, a head as a whole, and what nobody reads."""
        if self._in_body and self._unanswered:
            self._limit(self.settings.body_silent_seconds)
        elif not self._in_head and not self._in_body and self._unanswered:
            self._limit(None)
        elif self._deadline is None:
            self._limit(self.settings.head_seconds)

    def _limit(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._deadline = None
        if self._refusal is not None or self.transport.is_closing():
            self.transport.abort()
        elif self._unanswered and (self.flow.read_paused or not self._in_body):
            self._set_deadline()  # the client waits for us
        elif self._in_head or self._unanswered:
            what = "the head took too long" if self._in_head else "the body did not go on"
            self._refuse(Refused(f"{what}; send it again", code="request_timeout", status=408))
        else:
            self._hang_up()

    def _refuse(self, error: Refused) -> None:
        """Answer with `error`, after the requests before, and read nothing any more."""
        status, headers, body = error_response(error)
        head = [STATUS_LINE[status], *(b"%b: %b\r\n" % pair for pair in headers), b"connection: close\r\n\r\n"]
        self._refusal = b"".join((*head, body))
        self._limit(None)
        if self._in_body and self.pipeline:
            self.pipeline.popleft()  # what is wrong is this one's body
            self._unanswered -= 1
        elif self._in_body:
            answered = not self._unanswered or self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if answered:
                self._hang_up()
            else:
                self._say_refusal()
        elif not self._unanswered:
            self._say_refusal()

    def _say_refusal(self) -> None:
        self.idle.pop(self, None)
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write(self._refusal or b"")
        self.transport.write_eof()
        self._limit(_LINGER_SECONDS)

    def _hang_up(self) -> None:
        """Close, once the client has taken what was written; not for ever."""
        self.idle.pop(self, None)
        self.transport.close()
        self._limit(self.settings.unread_seconds)

    def _watch_writing(self, before: int | None = None) -> None:
        """End the connection of a client that took nothing since there were `before` bytes to take."""
        left = self.transport.get_write_buffer_size()
        if left == before:
            self.transport.abort()
        else:
            self._stalled = self.loop.call_later(self.settings.unread_seconds, self._watch_writing, left)


def connection_class(settings: SidecarConfig) -> type[Connection]:
    """Return the class of one server's connections."""
    return cast("type[Connection]", type("BoundConnection", (Connection,), {"settings": settings, "idle": {}}))
