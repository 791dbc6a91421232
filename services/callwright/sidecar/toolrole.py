"""`ToolRole`: whether a model's chat template has a place for results, asked of the engine, which has the template.

Dialects that write results as messages (toolbench) need it: results become user messages where the role is missing.
Knows the engine's `/tokenize`; nothing of dialects.
"""

import json
import time
from typing import Any

from callwright.errors import TimedOut, Unavailable
from callwright.sidecar.upstream import Upstream

_RESULT = " ".join(str(number) for number in range(100, 164))
_FEWER = 32
"""Tokens by which a conversation is shorter when its result of 64 numbers is left out."""


class ToolRole:
    """Asks once for each model, and again after `seconds`."""

    def __init__(self, upstream: Upstream, *, seconds: float) -> None:
        self._upstream, self._seconds = upstream, seconds
        self._known: dict[str, tuple[float, bool]] = {}

    async def exists(self, model: str) -> bool:
        """False when the template refuses or leaves out a tool's message; True also where the engine does not say."""
        expires, found = self._known.get(model, (0.0, True))
        if time.monotonic() < expires:
            return found
        as_user = await self._tokens(model, "user")
        as_tool = await self._tokens(model, "tool") if as_user else None
        found = as_user is None or (as_tool is not None and as_user - as_tool < _FEWER)
        if len(self._known) >= 1024:  # ids come from clients
            self._known.clear()
        self._known[model] = (time.monotonic() + self._seconds, found)
        return found

    async def _tokens(self, model: str, role: str) -> int | None:
        """Length of a conversation whose result has `role`; None when the engine has no answer."""
        messages = [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": "Looking."},
            {"role": role, "content": _RESULT},
        ]
        body = json.dumps({"model": model, "messages": messages}).encode()
        try:
            headers = [(b"content-type", b"application/json")]
            async with self._upstream.request("POST", "/tokenize", headers, body) as response:
                answer: Any = json.loads(await response.whole()) if response.status == 200 else {}
        except (Unavailable, TimedOut, ValueError):
            return None
        count = answer.get("count") if isinstance(answer, dict) else None
        return count if isinstance(count, int) else None
