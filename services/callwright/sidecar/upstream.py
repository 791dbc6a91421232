"""`Upstream`: the engine, asked over connections that are kept. What goes wrong becomes `Unavailable` or `TimedOut`.

Knows HTTP to one host; nothing of bodies.
"""

import asyncio
from urllib.parse import urlsplit

from callwright.errors import TimedOut, Unavailable
from callwright.sidecar.connection import Connection, Response
from callwright.sidecar.http import Headers

_KEPT_SECONDS = 4.0
"""How long a connection may idle before it is used again: less than servers keep one (uvicorn: 5), so that none
closes it just as a request is on its way."""
_KEPT = 256
"""Connections that may idle at once."""


class Upstream:
    """The engine at `url`. To be closed."""

    def __init__(self, url: str, *, connect_seconds: float, silent_seconds: float) -> None:
        parts = urlsplit(url)
        self._host, self._name, self._tls = parts.netloc, parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._connect_seconds, self.silent_seconds = connect_seconds, silent_seconds
        self._idle: list[Connection] = []

    def close(self) -> None:
        """Close every connection that idles."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def request(self, method: str, path: str, headers: Headers, body: bytes | None) -> "Asking":
        """A request; the response, once its head is there, is what `async with` gives.

        Leaving early closes the connection at once. Entering raises `Unavailable` or `TimedOut`, and so does reading.
        """
        return Asking(self, self._head(method, path, headers, body) + (body or b""), bodiless=method == "HEAD")

    async def ready(self) -> bool:
        """Whether the engine answers and has models."""
        try:
            async with asyncio.timeout(2), self.request("GET", "/v1/models", [], None) as response:
                return response.status == 200
        except (Unavailable, TimedOut, TimeoutError):
            return False

    def _head(self, method: str, path: str, headers: Headers, body: bytes | None) -> bytes:
        lines = [f"{method} {path} HTTP/1.1\r\nhost: {self._host}".encode("latin-1")]
        lines += [b"%b: %b" % header for header in headers]
        if body is not None or method not in ("GET", "HEAD"):
            lines.append(b"content-length: %d" % len(body or b""))
        return b"\r\n".join([*lines, b"", b""])

    async def connection(self) -> Connection:
        """One that is kept, or a new one. Raises `Unavailable`."""
        return self._kept() or await self._connect()

    def keep(self, connection: Connection) -> None:
        """Let a connection idle until it is used again."""
        self._idle.append(connection)
        if len(self._idle) > _KEPT:
            self._idle.pop(0).close()

    def _kept(self) -> Connection | None:
        """The connection that idles for the shortest time, if one is open and young enough."""
        oldest = asyncio.get_running_loop().time() - _KEPT_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, self._name, self._port, ssl=self._tls or None
                )
        except (OSError, TimeoutError, UnicodeError):
            raise Unavailable("the engine does not answer; try again later") from None
        return connection


class Asking:
    """One request, for as long as the block lasts. A class, since a generator costs several times as much."""

    def __init__(self, upstream: Upstream, request: bytes, *, bodiless: bool) -> None:
        self._upstream, self._request, self._bodiless = upstream, request, bodiless

    async def __aenter__(self) -> Response:
        self._connection = await self._upstream.connection()
        try:
            return await self._connection.ask(
                self._request, silent_seconds=self._upstream.silent_seconds, bodiless=self._bodiless
            )
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *error: object) -> None:
        if self._connection.finish():
            self._upstream.keep(self._connection)
