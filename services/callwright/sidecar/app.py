"""`create_app`: the sidecar's routes.

Owns paths and the parts' life; what a request means is in `callwright.sidecar.endpoints`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import Route

from callwright import __version__, dialects
from callwright.sidecar.catalog import Catalog
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.endpoints import Chat, Count, Relay
from callwright.sidecar.gate import Gate
from callwright.sidecar.http import Receive, Scope, Send
from callwright.sidecar.keys import Keys
from callwright.sidecar.messages import Messages
from callwright.sidecar.metrics import Metrics
from callwright.sidecar.parts import Parts
from callwright.sidecar.responses import Responses
from callwright.sidecar.toolrole import ToolRole
from callwright.sidecar.tracing import Tracing
from callwright.sidecar.upstream import Upstream
from callwright.store import Registry


class Sidecar(FastAPI):
    """FastAPI for life and the sidecar's own answers, past whose middlewares all else goes straight to its endpoint.

    Each middleware would have its part in every chunk of a stream.
    """

    own: frozenset[str]
    """Paths of the sidecar's own answers."""
    posts: Mapping[str, Relay]
    """Endpoints by the path that is posted to."""
    others: Mapping[str, Relay]
    """Endpoints of every method, by what the path begins with, the longest first: the engine knows which it has."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path in self.own:
            await super().__call__(scope, receive, send)
            return
        endpoint = self.posts.get(path) if scope["method"] == "POST" else None
        if endpoint is None:
            endpoint = next(relay for begin, relay in self.others.items() if path.startswith(begin))
        await endpoint(scope, receive, send)


def create_app(config: SidecarConfig, registry: Registry | None = None) -> Sidecar:
    """The application; `registry` says the dialects of models in the store.

    Raises `InvalidInput` for a dialect that is none and for API keys that can't be read.
    """
    gate = Gate(config.max_concurrent, config.max_queued)
    upstream = Upstream(config.upstream, connect_seconds=config.connect_seconds, silent_seconds=config.silent_seconds)
    parts = Parts(
        config=config,
        upstream=upstream,
        catalog=Catalog(config, registry),
        gate=gate,
        keys=Keys(config.api_keys_file, config.api_keys),
        metrics=Metrics(gate),
        tool_role=ToolRole(upstream, seconds=config.manifest_seconds),
        tracing=Tracing(config.otlp_endpoint) if config.otlp_endpoint else None,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        upstream.close()
        if parts.tracing:
            await asyncio.to_thread(parts.tracing.close)

    app = Sidecar(title="callwright sidecar", version=__version__, lifespan=lifespan, openapi_url=None)
    own = _own_routes(parts)
    app.router.routes += own
    app.own = frozenset(route.path for route in own)
    app.posts = {
        "/v1/chat/completions": Chat(parts),
        "/v1/messages": Chat(parts, Messages),
        "/v1/messages/count_tokens": Count(parts, Messages),
        "/v1/responses": Chat(parts, Responses),
    }
    app.others = {"/v1/messages/": Relay(parts, Messages), "": Relay(parts)}
    return app


def _own_routes(parts: Parts) -> list[Route]:
    """Plain routes: FastAPI's own build a model for each answer, 2 MB in all."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if await parts.upstream.ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "the engine does not answer"}, 503)

    async def metrics(request: Request) -> Response:
        return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def version(request: Request) -> Response:
        return JSONResponse({"version": __version__, "dialects": list(dialects.NAMES)})

    return [Route(f"/{answer.__name__}", answer) for answer in (healthz, readyz, metrics, version)]
