"""`Versioned`: an ASGI application that says which version of a model it serves, and refuses what is meant for another.

During a roll two versions share one address. The sidecar writes a prompt in the dialect of the version that it knows,
and names that version in its request: a replica of another one answers 409 and its own name, and the sidecar writes the
prompt anew. A canary's replica says there which share of the requests is to come to it, too.
"""

import json
from typing import Any

from callwright.server.dispatch import ASGIApp, Message, Receive, Scope, Send
from callwright.store import Manifest
from callwright.store.manifest import VERSION_HEADER


class Versioned:
    """Serves `app` as the version of `manifest`, which a refusal brings along: its reader needs no store."""

    def __init__(self, app: ASGIApp, manifest: Manifest, *, canary_weight: int | None = None) -> None:
        self._app, self._version = app, f"{manifest.name}@{manifest.version}".encode()
        self._told: dict[str, Any] = {"manifest": manifest.model_dump(mode="json", exclude={"metrics", "verification"})}
        if canary_weight is not None:
            self._told["canary_weight"] = canary_weight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        meant = dict(scope["headers"]).get(VERSION_HEADER, self._version)
        if meant != self._version:
            await self._refuse(meant, send)
            return

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (VERSION_HEADER, self._version)]
            await send(message)

        await self._app(scope, receive, named)

    async def _refuse(self, meant: bytes, send: Send) -> None:
        said = f"this replica serves {self._version.decode()}; got a request for {meant.decode('latin-1')}"
        error = {"message": said, "type": "other_version", "param": None, "code": 409}
        body = json.dumps({"error": error, **self._told}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (VERSION_HEADER, self._version),
        ]
        await send({"type": "http.response.start", "status": 409, "headers": headers})
        await send({"type": "http.response.body", "body": body})
