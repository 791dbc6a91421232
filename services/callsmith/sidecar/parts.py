"""What all requests share, and a request's turn: a place at the gate and the engine's response.

Knows nothing of what is asked and answered.
"""

from dataclasses import dataclass

from callsmith.sidecar.catalog import Catalog
from callsmith.sidecar.config import SidecarConfig
from callsmith.sidecar.connection import Response
from callsmith.sidecar.gate import Gate
from callsmith.sidecar.http import Headers
from callsmith.sidecar.keys import Keys
from callsmith.sidecar.metrics import Metrics
from callsmith.sidecar.toolrole import ToolRole
from callsmith.sidecar.tracing import Tracing
from callsmith.sidecar.upstream import Upstream


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

    def __init__(self, parts: Parts, method: str, target: str, headers: Headers, body: bytes) -> None:
        self._gate = parts.gate
        self._request = parts.upstream.request(method, target, headers, body or None)

    async def __aenter__(self) -> Response:
        await self._gate.__aenter__()
        try:
            return await self._request.__aenter__()
        except BaseException:
            await self._gate.__aexit__(None, None, None)
            raise

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._request.__aexit__()
        finally:
            await self._gate.__aexit__(None, None, None)
