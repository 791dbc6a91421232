"""`create_app`: the sidecar's routes.

Owns paths and the parts' life; what a request means is in `callsmith.sidecar.endpoints`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response
from starlette.routing import Route

from callsmith import __version__, dialects
from callsmith.sidecar.catalog import Catalog
from callsmith.sidecar.config import SidecarConfig
from callsmith.sidecar.endpoints import Chat, Parts, Relay
from callsmith.sidecar.gate import Gate
from callsmith.sidecar.keys import Keys
from callsmith.sidecar.metrics import Metrics
from callsmith.sidecar.upstream import Upstream
from callsmith.store import Registry

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def create_app(config: SidecarConfig, registry: Registry | None = None) -> FastAPI:
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
        keys=Keys(config.api_keys_file),
        metrics=Metrics(gate),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await upstream.start()
        yield
        await upstream.close()

    app = FastAPI(title="callsmith sidecar", version=__version__, lifespan=lifespan, openapi_url=None)
    _add_own_routes(app, parts)
    app.router.routes.append(Route("/v1/chat/completions", Chat(parts), methods=["POST"]))
    app.router.routes.append(Route("/{path:path}", Relay(parts), methods=_METHODS))
    return app


def _add_own_routes(app: FastAPI, parts: Parts) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        if await parts.upstream.ready():
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "the engine does not answer"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/version")
    async def version() -> dict[str, object]:
        return {"version": __version__, "dialects": list(dialects.NAMES)}
