"""`ModelList`: the engine's models that a key may ask for, each with its dialect and what of its calls is enforced."""

import contextlib
import json
from typing import Any

from callwright.errors import CallwrightError, Unavailable
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
        elif not self._client.has_all_models:
            raise Unavailable("the engine does not list its models; try again later")
        await self._writer.send(response.status, self._writer.engine_headers, body)

    async def _described(self, body: bytes) -> bytes:
        try:
            listed = json.loads(body)
            models = [model for model in listed["data"] if isinstance(model.get("id"), str)]
        except (ValueError, TypeError, KeyError, AttributeError):
            if self._client.has_all_models:
                return body
            raise Unavailable("the engine's list of models can't be read; try again later") from None
        if not self._client.has_all_models:
            models = [model for model in models if self._client.may_ask(model["id"])]
            listed["data"] = [model | self._unnamed(model) for model in models]
            models = listed["data"]
        for model in models:
            with contextlib.suppress(CallwrightError):
                model["callwright"] = await self._spoken(model["id"])
        return sse.dumps(listed)

    def _unnamed(self, model: dict[str, Any]) -> dict[str, Any]:
        """Return what hides the base of an adapter, where the key may not ask for that."""
        parent = model.get("parent")
        return {} if parent is None or self._client.may_ask(parent) else {"parent": None, "root": model["id"]}

    async def _spoken(self, model: str) -> dict[str, Any]:
        dialect = (await self._services.models.dialect_of(model)).dialect
        return {"dialect": dialect.name, "enforced": list(_ENFORCED) if self._services.config.enforce else []}
