"""What all requests share, and a request's turn: a place at the gate and the engine's response.

Knows nothing of what is asked and answered.
"""

from dataclasses import dataclass

from callwright.sidecar.catalog import Catalog
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.connection import Response
from callwright.sidecar.gate import Gate
from callwright.sidecar.http import Headers
from callwright.sidecar.keys import Keys
from callwright.sidecar.metrics import Metrics
from callwright.sidecar.toolrole import ToolRole
from callwright.sidecar.tracing import Tracing
from callwright.sidecar.upstream import Upstream


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
