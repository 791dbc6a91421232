"""`ModelList`: the engine's models, each with the dialect that it speaks and what of its calls can be enforced."""

import contextlib
import json
from typing import Any

from callwright.errors import CallwrightError
from callwright.sidecar import sse
from callwright.sidecar.asgi import target
from callwright.sidecar.handlers import Relay, check_up

_ENFORCED = ("required", "named", "strict")


class ModelList(Relay):
    """Answers with the engine's list; a model whose dialect is not known is told as the engine tells it."""

    async def answer(self) -> None:
        """Ask the engine, and add to each model what is known of it."""
        if self._request.method != "GET":
            await self._relay()
            return
        with self._exchange:
            response = await self._exchange.ask(target(self._request), [b""])
            check_up(response)
            body = await response.read(self._held.add)
        if response.status == 200:
            body = await self._described(body)
        await self._writer.send(response.status, self._writer.engine_headers, body)

    async def _described(self, body: bytes) -> bytes:
        try:
            listed = json.loads(body)
            models = [model for model in listed["data"] if isinstance(model.get("id"), str)]
        except (ValueError, TypeError, KeyError, AttributeError):
            return body
        for model in models:
            with contextlib.suppress(CallwrightError):
                model["callwright"] = await self._spoken(model["id"])
        return sse.dumps(listed)

    async def _spoken(self, model: str) -> dict[str, Any]:
        dialect = (await self._services.models.dialect_of(model)).dialect
        held = self._services.config.enforce and dialect.call_grammar is not None
        return {"dialect": dialect.name, "enforced": list(_ENFORCED) if held else []}
