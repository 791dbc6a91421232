"""What all requests share, and a request's turn: a place at the gate and the engine's response.

Knows nothing of what is asked and answered.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from callsmith.errors import Unavailable
from callsmith.sidecar.catalog import Catalog
from callsmith.sidecar.config import SidecarConfig
from callsmith.sidecar.gate import Gate
from callsmith.sidecar.keys import Keys
from callsmith.sidecar.metrics import Metrics
from callsmith.sidecar.toolrole import ToolRole
from callsmith.sidecar.tracing import Tracing
from callsmith.sidecar.upstream import Upstream, failures

_LONGEST_ANSWER = 64 * 1024**2


@dataclass(frozen=True)
class Parts:
    """What the endpoints share."""

    config: SidecarConfig
    upstream: Upstream
    catalog: Catalog
    gate: Gate
    keys: Keys
    metrics: Metrics
    tool_role: ToolRole
    tracing: Tracing | None


class Turn:
    """A place at the gate and the engine's response, for as long as the block lasts."""

    def __init__(self, parts: Parts, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self._gate = parts.gate
        self._request = parts.upstream.request(method, target, headers, body or None)

    async def __aenter__(self) -> aiohttp.ClientResponse:
        await self._gate.__aenter__()
        try:
            return await self._request.__aenter__()
        except BaseException:
            await self._gate.__aexit__(None, None, None)
            raise

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._request.__aexit__(None, None, None)
        finally:
            await self._gate.__aexit__(None, None, None)


async def whole(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises `Unavailable`, also for one that is too large, or `TimedOut`."""
    return b"".join([piece async for piece in pieces(response, _LONGEST_ANSWER)])


async def pieces(response: aiohttp.ClientResponse, limit: int | None = None) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `Unavailable` or `TimedOut`."""
    total = 0
    with failures():
        while piece := await response.content.readany():
            total += len(piece)
            if limit is not None and total > limit:
                raise Unavailable("the engine's answer is too large")
            yield piece
