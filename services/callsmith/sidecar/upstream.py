"""`Upstream`: connections to the engine. What goes wrong there becomes `Unavailable` or `TimedOut`.

Knows HTTP to one host; nothing of bodies. aiohttp rather than httpx: a fifth of the time for each chunk.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from multidict import CIMultiDict

from callsmith.errors import TimedOut, Unavailable

READ_BYTES = 64 * 1024
"""Most that is read ahead of a slow client, for each stream."""


class Upstream:
    """The engine at `url`. To be closed."""

    def __init__(self, url: str, *, connect_seconds: float, silent_seconds: float) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=connect_seconds, sock_read=silent_seconds
        )
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool; within the event loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
            timeout=self._timeout,
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; yield the response once its head is there. Leaving early closes the connection at once.

        Raises `Unavailable` or `TimedOut`.
        """
        assert self._session is not None
        with failures():
            response = await self._session.request(
                method, self._url + path, headers=CIMultiDict(headers), data=body, allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )  # fmt: skip
        try:
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def ready(self) -> bool:
        """Whether the engine answers and has models."""
        try:
            async with asyncio.timeout(2), self.request("GET", "/v1/models", {}, None) as response:
                return response.status == 200
        except (Unavailable, TimedOut, TimeoutError):
            return False


@contextmanager
def failures() -> Iterator[None]:
    """Turn what aiohttp raises into what the sidecar answers."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise Unavailable("the engine does not answer; try again later") from None
    except (aiohttp.ServerTimeoutError, TimeoutError):
        raise TimedOut("the engine was silent for too long; try again later") from None
    except aiohttp.ClientConnectorError:
        raise Unavailable("the engine does not answer; try again later") from None
    except (aiohttp.ClientError, ConnectionError):
        raise Unavailable("the engine ended the connection; try again later") from None
