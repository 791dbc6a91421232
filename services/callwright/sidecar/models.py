"""`Models`: what has to be known of a model, by its id: its dialect, and whether its chat template has a tool role.

The dialect comes from the request, from overrides, or from the manifest of the version that the engine serves. A
replica of ours tells that manifest to whoever means another version (`callwright.server.versioned`); of any other
engine's model the store says it. Whether the template has a tool role is asked of the engine, which has the template.
Knows nothing of what a request asks for besides.
"""

import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, replace
from typing import Any

from callwright import dialects
from callwright.dialects.types import Dialect
from callwright.errors import CallwrightError, InvalidInput, NotFound, TimedOut, Unavailable
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Overloaded, Refused
from callwright.sidecar.remembered import MOST_REMEMBERED, Remembered
from callwright.sidecar.sse import dumps
from callwright.sidecar.upstream import DOWN_STATUSES, EngineResponse, Upstream
from callwright.store import Manifest, Registry, Template
from callwright.store.manifest import VERSION_HEADER

_FOLLOWED = 0.5
"""How often a replica's version is taken for the one that the next request comes to."""
_RESULT = " ".join(str(number) for number in range(100, 164))
_FEWER = 32
"""Tokens by which a conversation is shorter when a message of 64 numbers is left out."""
_ASK_SECONDS = 5.0
"""Time for an engine to tell its version, or how long a conversation is, or for a store where none is needed."""


@dataclass(frozen=True)
class ModelDialect:
    """How a model writes calls."""

    dialect: Dialect
    stop: tuple[str, ...]
    """Strings at which the engine is to stop."""
    special_tokens: tuple[str, ...] | None = None
    """Of its tokenizer; None where its manifest does not list them."""
    template: Template | None = None
    """How its chat template was called in training, as its manifest says."""
    version: bytes | None = None
    """The version that this is true of, as `name@version`, where a manifest says it: a replica of another one refuses
    what is written so."""


class OtherVersion(Exception):  # noqa: N818
    """A replica that serves another version than a request is meant for has got it; `Models` knows that version now."""


class Silent(Unavailable):
    """An engine has not said in time which version it serves: it may have no replica yet."""


class Models:
    """What is known of models. Raises `InvalidInput` at once for an override that is no dialect."""

    def __init__(self, config: SidecarConfig, registry: Registry | None, upstream: Upstream) -> None:
        self._overrides = {model: named_dialect(name) for model, name in config.dialects.items()}
        self._aliases, self._registry, self._upstream = config.models, registry, upstream
        self._served: dict[str, ModelDialect] = {}
        """What the engine has told; kept, as a version does not change, until it tells of another."""
        self._manifest_seconds = config.manifest_seconds
        self._wait_seconds = min(config.first_token_seconds, config.silent_seconds)
        self._waiting, self._most_waiting = 0, config.max_concurrent + config.max_queued
        self._failed: dict[str, float] = {}
        """Until when requests without tools do not ask for a model of which nothing could be found out."""
        self._unversioned: Remembered[ModelDialect | None] = Remembered(config.manifest_seconds)
        self._tool_roles: Remembered[bool] = Remembered(config.manifest_seconds)
        self._systems: Remembered[bool] = Remembered(config.manifest_seconds)
        self._contexts: Remembered[int | None] = Remembered(config.manifest_seconds)

    async def dialect_for(
        self, request: dict[str, Any], header: str | None = None, canary: ModelDialect | None = None
    ) -> ModelDialect:
        """Return the dialect of a chat request: that which the `header` or the request names, or its model's, which is
        the canary's where that is to answer.
        """
        asked = header or request.get("tools_prompt")
        if asked is not None:
            if not isinstance(asked, str):
                raise Refused("tools_prompt: expected the name of a dialect", param="tools_prompt")
            return named_dialect(asked)
        model = request.get("model")
        if not isinstance(model, str):
            raise Refused("model: expected the id of a model", param="model")
        return await self.dialect_of(model, canary)

    async def dialect_when_told(
        self, request: dict[str, Any], header: str | None = None, canary: ModelDialect | None = None
    ) -> ModelDialect:
        """Return the same; an engine that may have no replica yet has as long as for other answers without tokens.

        It is asked for a few seconds at a time, so that nobody asks on for who has left. Raises `Overloaded` where as
        many wait as there is room for at all.
        """
        if self._waiting >= self._most_waiting:
            raise Overloaded(f"{self._waiting} requests wait for the engine to say its version; try again later")
        until = time.monotonic() + self._wait_seconds
        self._waiting += 1
        try:
            while True:
                try:
                    return await self.dialect_for(request, header, canary)
                except Silent:
                    if time.monotonic() >= until:
                        raise
        finally:
            self._waiting -= 1

    async def dialect_of(self, model: str, canary: ModelDialect | None = None) -> ModelDialect:
        """Return the dialect of `model`. Raises `Refused` when nothing says it, `Unavailable` where who could does not
        answer.
        """
        if found := self._overrides.get(model) or canary:
            return found
        if model not in self._served:
            with contextlib.suppress(OtherVersion):  # what the engine serves, which it has told now
                found = await self._unversioned.get(model, lambda: self._find_out(model))
        found = self._served.get(model) or found or self._overrides.get("*")
        if found is None:
            raise Refused(
                f"no dialect is known for model {model[:80]!r}, which tools need; name one in the field tools_prompt "
                f"or the header x-callwright-dialect ({', '.join(dialects.NAMES)}), or serve the model from the store",
                param="model",
                code="model_not_found",
                status=404,
            )
        return found

    async def dialect_for_text(
        self, request: dict[str, Any], header: str | None = None, canary: ModelDialect | None = None
    ) -> ModelDialect:
        """Return the same for a request that only needs to know which tokens its model has; most models', if none.

        Such a request fails by no store, and waits for one a few seconds at most, once in `manifest_seconds`.
        """
        model = str(request.get("model"))
        is_told = bool(header or request.get("tools_prompt") or canary) or model in self._served
        if is_told or time.monotonic() >= self._failed.get(model, 0.0):
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    return await self.dialect_for(request, header, canary)
            except (CallwrightError, TimeoutError):
                if not is_told:
                    if len(self._failed) >= MOST_REMEMBERED:
                        self._failed.clear()
                    self._failed[model] = time.monotonic() + self._manifest_seconds
        return named_dialect("hermes")  # whose markers are broken in every dialect

    async def has_tool_role(self, model: str, version: bytes | None = None, upstream: Upstream | None = None) -> bool:
        """Return whether the chat template shows messages of the role tool; True also where the engine says nothing.

        Raises `OtherVersion` where it serves another than `version`. It is asked at `upstream`, where that is another.
        """
        return await self._tool_roles.get(
            f"{model} {version!r}", lambda: self._find_tool_role(model, version, upstream)
        )

    async def _find_tool_role(self, model: str, version: bytes | None, upstream: Upstream | None) -> bool:
        said = [_said("user", "Look."), _said("assistant", "Looking.")]
        as_user = await self._tokens(model, [*said, _said("user", _RESULT)], version, upstream)
        as_tool = await self._tokens(model, [*said, _said("tool", _RESULT)], version, upstream) if as_user else None
        return as_user is None or (as_tool is not None and as_user - as_tool < _FEWER)

    async def takes_systems(self, model: str, version: bytes | None = None, upstream: Upstream | None = None) -> bool:
        """Return whether the chat template shows a second system message; True also where the engine says nothing.

        Raises `OtherVersion` where it serves another than `version`. It is asked at `upstream`, where that is another.
        """
        return await self._systems.get(f"{model} {version!r}", lambda: self._find_systems(model, version, upstream))

    async def _find_systems(self, model: str, version: bytes | None, upstream: Upstream | None) -> bool:
        first, second, last = _said("system", "Look."), _said("system", _RESULT), _said("user", "Look.")
        one = await self._tokens(model, [first, last], version, upstream)
        two = await self._tokens(model, [first, second, last], version, upstream) if one else None
        return one is None or (two is not None and two - one > _FEWER)

    async def context_length(self, model: str) -> int | None:
        """Return how many tokens a prompt and its answer may have together; None where the engine does not list it."""
        return await self._contexts.get(model, lambda: self._find_context(model))

    async def _find_context(self, model: str) -> int | None:
        try:
            request = self._upstream.request("GET", "/v1/models", [], None)
            async with asyncio.timeout(_ASK_SECONDS), request as response:
                answer: Any = json.loads(await response.read()) if response.status == 200 else {}
            cards = {each.get("id"): each for each in answer["data"]}
            card = cards.get(model) or {}
            if card.get("max_model_len") is None:  # an adapter's card leaves it to its base's
                card = cards.get(card.get("parent")) or {}
            length = card.get("max_model_len")
        except (Unavailable, TimedOut, TimeoutError, ValueError, LookupError, TypeError, AttributeError):
            length = None
        return length if isinstance(length, int) else None

    async def check_version(self, model: str, version: bytes | None, response: EngineResponse) -> None:
        """Raise `OtherVersion` where the engine has refused a request that is meant for `version`.

        Whether the next try is meant for the version that it serves, or for the same again, is chance.
        """
        if version is None or response.status != 409 or VERSION_HEADER not in dict(response.headers):
            return
        try:
            manifest = Manifest.model_validate(json.loads(await response.read())["manifest"])
            told = spoken(manifest)
        except (ValueError, TypeError, KeyError, Refused):
            raise Unavailable("the engine serves a version whose manifest can't be read; upgrade the sidecar") from None
        if len(self._served) >= MOST_REMEMBERED:
            self._served.clear()
        # Whoever always followed would meet the other version again where replicas of two take turns.
        if model not in self._served or random.random() < _FOLLOWED:
            self._served[model] = told
        raise OtherVersion

    async def _find_out(self, model: str) -> ModelDialect | None:
        """Ask the engine for its version, by a request that is meant for none; else the store.

        Raises `OtherVersion` where the engine has told it, `Unavailable` without the store and where no engine answers,
        and `Silent` where it has not in time.
        """
        silence: CallwrightError | None = None
        try:
            await self._count(model, [_said("user", "Look.")], b"?")
        except (TimedOut, TimeoutError):
            silence = Silent("the engine does not say which version it serves; try again later")
        except Unavailable as error:
            silence = error
        found = None
        if self._registry is not None:
            found = await asyncio.to_thread(_read_manifest, self._registry, self._aliases.get(model, model))
        if found is None and silence is not None and "*" not in self._overrides:
            raise silence
        return found

    async def _tokens(
        self, model: str, messages: list[dict[str, str]], version: bytes | None, upstream: Upstream | None = None
    ) -> int | None:
        """Return the length of a conversation; None when the engine has no answer."""
        try:
            return await self._count(model, messages, version, upstream)
        except (Unavailable, TimedOut, TimeoutError):
            return None

    async def _count(
        self, model: str, messages: list[dict[str, str]], version: bytes | None, upstream: Upstream | None = None
    ) -> int | None:
        """Return the length of a conversation; None where the engine does not say it.

        Raises `OtherVersion`; `Unavailable`, `TimedOut` and `TimeoutError` where it has no answer.
        """
        body = dumps({"model": model, "messages": messages})
        headers = [(b"content-type", b"application/json"), *([(VERSION_HEADER, version)] if version else [])]
        request = (upstream or self._upstream).request("POST", "/tokenize", headers, body)
        async with asyncio.timeout(_ASK_SECONDS), request as response:
            await self.check_version(model, version, response)
            if response.status in DOWN_STATUSES:
                raise Unavailable(f"the engine answered {response.status} when it was asked for its version")
            try:
                answer: Any = json.loads(await response.read()) if response.status == 200 else {}
            except ValueError:
                return None
        count = answer.get("count") if isinstance(answer, dict) else None
        return count if isinstance(count, int) else None


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def named_dialect(name: str, stop: tuple[str, ...] = (), *, native: bool = False) -> ModelDialect:
    """Return a dialect by its name; `native` where the model's chat template writes it.

    Raises `Refused`, listing the valid names.
    """
    if name not in dialects.NAMES:
        raise Refused(
            f"no dialect is named {name[:80]!r}; expected one of {', '.join(dialects.NAMES)}", param="tools_prompt"
        )
    dialect = dialects.load(name, native=native)
    return ModelDialect(dialect, tuple(dict.fromkeys((*dialect.stop, *stop))))


def _read_manifest(registry: Registry, name: str) -> ModelDialect | None:
    name, _, version = name.partition("@")
    try:
        manifest = registry.manifest(name, version or "promoted")
    except (NotFound, InvalidInput):
        return None
    return spoken(manifest)


def spoken(manifest: Manifest) -> ModelDialect:
    """Return how the version of `manifest` writes calls. Raises `Refused` for a dialect that is not known here."""
    native = manifest.template is not None and manifest.template.tools
    read = named_dialect(manifest.dialect, manifest.stop, native=native)
    version = f"{manifest.name}@{manifest.version}".encode()
    return replace(read, special_tokens=manifest.special_tokens, template=manifest.template, version=version)
