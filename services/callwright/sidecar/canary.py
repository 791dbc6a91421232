"""`Canaries`: the version that is tried beside the one that stands, and which requests go to it.

A Serve application with the route prefix `/canary` serves it, and tells its version, its dialect and its share to
whoever means another version (`callwright.server.versioned`). Where it is not, the version that stands answers in its
place and tells no share. So a canary comes and goes without a word to the sidecars.
"""

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from callwright.errors import CallwrightError
from callwright.sidecar.breaker import Breaker
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.models import ModelDialect, spoken
from callwright.sidecar.remembered import Remembered
from callwright.sidecar.upstream import EngineResponse, Upstream
from callwright.store import Manifest
from callwright.store.manifest import CANARY_PREFIX, VERSION_HEADER

_ASK_SECONDS = 2.0
"""Time for a canary to tell of itself."""
_USERS = ("user", "safety_identifier", "session_id", "conversation")
"""Fields of a request that stay the same for a user or a conversation, the first that is there."""


@dataclass(frozen=True)
class Canary:
    """A version that is tried."""

    model: str
    """Its name in the store."""
    spoken: ModelDialect
    """How it writes calls, and its version."""
    weight: int
    """Share of the requests that it takes, in percent."""

    @property
    def version(self) -> bytes:
        """The version as `name@version`."""
        return self.spoken.version or b""

    def takes(self, request: Mapping[str, Any]) -> bool:
        """Return whether a request belongs to the share: by its user or conversation, else by chance."""
        key = _key(request)
        if key is None:
            return random.random() * 100 < self.weight
        digest = hashlib.sha256(self.version + b" " + key.encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:8]) % 100 < self.weight


class Canaries:
    """Knows whether there is a canary, by a look that is made again beside the requests."""

    def __init__(self, config: SidecarConfig) -> None:
        self._models, self._seconds = config.models, config.canary_seconds
        self.upstream = Upstream(
            config.upstream + CANARY_PREFIX,
            connect_seconds=config.connect_seconds,
            silent_seconds=config.silent_seconds,
            first_token_seconds=config.first_token_seconds,
            breaker=Breaker(config.breaker_failures, config.breaker_seconds),
        )
        """The canary, whose failures are not those of the engine that stands."""
        self._known: Remembered[Canary | None] = Remembered(self._seconds or 1.0)

    async def choose(self, request: Mapping[str, Any]) -> Canary | None:
        """Return the canary that is to answer a request; None for the version that stands."""
        asked = request.get("model")
        if self._seconds is None or not isinstance(asked, str):
            return None
        canary = await self._known.get("", self._find)
        model, _, version = self._models.get(asked, asked).partition("@")
        if canary is None or canary.model != model:
            return None
        if version:
            return canary if canary.version == f"{model}@{version}".encode() else None
        is_left_alone = self.upstream.breaker.state == "open"
        return canary if not is_left_alone and canary.takes(request) else None

    def has_answered(self, canary: Canary, response: EngineResponse) -> bool:
        """Return whether the response to what is meant for the canary is its own: a replica of it names its version."""
        return dict(response.headers).get(VERSION_HEADER) == canary.version

    def forget(self) -> None:
        """Take the canary to be gone, until the next look."""
        self._known.put("", None)

    async def _find(self) -> Canary | None:
        request = self.upstream.request("GET", "/v1/models", [(VERSION_HEADER, b"?")])
        with contextlib.suppress(CallwrightError, TimeoutError, ValueError, TypeError, LookupError):
            async with asyncio.timeout(_ASK_SECONDS), request as response:
                if response.status == 409:
                    return _read(json.loads(await response.read()))
        return None


def _read(told: Mapping[str, Any]) -> Canary | None:
    """Return the canary of a refusal. Raises `Refused` for a dialect that is not known here, `ValueError` and such."""
    if "canary_weight" not in told:
        return None
    manifest = Manifest.model_validate(told["manifest"])
    return Canary(manifest.name, spoken(manifest), int(told["canary_weight"]))


def _key(request: Mapping[str, Any]) -> str | None:
    metadata = request.get("metadata")
    told = [request.get(name) for name in _USERS] + ([metadata.get("user_id")] if isinstance(metadata, dict) else [])
    told = [each.get("id") if isinstance(each, dict) else each for each in told]
    return next((each for each in told if isinstance(each, str) and each), None)
