"""`Catalog`: which dialect a model speaks, from overrides and from the manifests in the store.

Knows ids, manifests and dialects; nothing of requests. Store access is blocking and runs in a thread.
"""

import asyncio
import time
from dataclasses import dataclass

from callwright import dialects
from callwright.dialects.types import Dialect
from callwright.errors import InvalidInput, NotFound
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.problems import Refused
from callwright.store import Registry


@dataclass(frozen=True)
class Speech:
    """How a model speaks."""

    dialect: Dialect
    stop: tuple[str, ...]
    """Strings at which the engine is to stop."""


class Catalog:
    """Resolves model ids. Raises `InvalidInput` at once for an override that is no dialect."""

    def __init__(self, config: SidecarConfig, registry: Registry | None) -> None:
        self._overrides = {model: speech(name) for model, name in config.dialects.items()}
        self._models, self._registry = config.models, registry
        self._seconds = config.manifest_seconds
        self._known: dict[str, tuple[float, Speech | None]] = {}

    async def find(self, model: str) -> Speech:
        """The speech of `model`. Raises `Refused` when nothing says what it is, `Unavailable` without the store."""
        if found := self._overrides.get(model):
            return found
        found = await self._from_manifest(model) or self._overrides.get("*")
        if found is None:
            raise Refused(
                f"no dialect is known for model {model[:80]!r}, which tools need; name one in the field tools_prompt "
                f"or the header x-callwright-dialect ({', '.join(dialects.NAMES)}), or serve the model from the store",
                param="model",
                code="model_not_found",
                status=404,
            )
        return found

    async def _from_manifest(self, model: str) -> Speech | None:
        if self._registry is None:
            return None
        expires, found = self._known.get(model, (0.0, None))
        if time.monotonic() < expires:
            return found
        found = await asyncio.to_thread(self._read, self._registry, self._models.get(model, model))
        if len(self._known) >= 1024:  # ids come from clients
            self._known.clear()
        self._known[model] = (time.monotonic() + self._seconds, found)
        return found

    @staticmethod
    def _read(registry: Registry, name: str) -> Speech | None:
        name, _, version = name.partition("@")
        try:
            manifest = registry.manifest(name, version or "promoted")
        except (NotFound, InvalidInput):
            return None
        return speech(manifest.dialect, manifest.stop)


def speech(name: str, stop: tuple[str, ...] = ()) -> Speech:
    """The speech of a dialect by name. Raises `Refused`, listing the valid names."""
    if name not in dialects.NAMES:
        raise Refused(
            f"no dialect is named {name[:80]!r}; expected one of {', '.join(dialects.NAMES)}", param="tools_prompt"
        )
    dialect = dialects.load(name)
    return Speech(dialect, tuple(dict.fromkeys((*dialect.stop, *stop))))
