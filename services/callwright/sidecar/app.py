"""`create_app`: the sidecar's routes, and the life of what they share.

Each route names a handler and the API of its clients.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from callwright import __version__, dialects
from callwright.sidecar.admission import Gate, Paths
from callwright.sidecar.apis import Api, ChatCompletions, Messages, Responses
from callwright.sidecar.apis.stored import StoredResponses
from callwright.sidecar.breaker import Breaker
from callwright.sidecar.budget import Budget
from callwright.sidecar.canary import Canaries
from callwright.sidecar.chat import Chat, CountTokens
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.handlers import Handler, Relay
from callwright.sidecar.keys import Keys
from callwright.sidecar.model_list import ModelList
from callwright.sidecar.models import Models
from callwright.sidecar.record import Ledger
from callwright.sidecar.services import Services
from callwright.sidecar.telemetry import Metrics, Tracing
from callwright.sidecar.upstream import Upstream
from callwright.sidecar.waiting_calls import WaitingCalls
from callwright.sidecar.worker import Worker
from callwright.store import Registry


@dataclass(frozen=True)
class Endpoint:
    """Answers each request with a handler of its own. A class, as Starlette takes a function to return a response."""

    services: Services
    handler: type[Handler]
    api: Callable[[], Api] = ChatCompletions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.handler(self.services, self.api(), scope, receive, send).run()


def create_app(config: SidecarConfig, registry: Registry | None = None) -> ASGIApp:
    """Return the application; `registry` says the dialects of models in the store.

    A router by itself: an application's middlewares would each pass every event on, and a handler answers for its own
    errors. Raises `InvalidInput` for a dialect that is none and for API keys that can't be read.
    """
    gate, budget = Gate(config.max_concurrent, config.max_queued), Budget(config.max_held_bytes)
    breaker = Breaker(config.breaker_failures, config.breaker_seconds)
    upstream = Upstream(
        config.upstream,
        connect_seconds=config.connect_seconds,
        silent_seconds=config.silent_seconds,
        first_token_seconds=config.first_token_seconds,
        breaker=breaker,
    )
    metrics = Metrics(gate, budget, breaker, config.tool_names, config.max_tool_labels)
    paths = Paths(config.engine_paths)
    services = Services(
        config=config,
        upstream=upstream,
        canaries=Canaries(config),
        waiting=WaitingCalls(upstream, config.forced_call_seconds),
        models=Models(config, registry, upstream),
        gate=gate,
        budget=budget,
        keys=Keys(config.api_keys_file, config.api_keys),
        paths=paths,
        metrics=metrics,
        ledger=Ledger(metrics, [*config.models, *config.dialects], paths.names, audited=config.audit),
        tracing=Tracing(config.otlp_endpoint) if config.otlp_endpoint else None,
        worker=Worker(),
    )

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        async with upstream, services.canaries.upstream:
            yield
        services.worker.close()
        if services.tracing:
            await asyncio.to_thread(services.tracing.close)

    stored = StoredResponses(config.stored_responses, config.max_stored_bytes, config.stored_response_seconds)
    routes = [
        Route("/v1/chat/completions", Endpoint(services, Chat)),
        Route("/v1/messages", Endpoint(services, Chat, Messages)),
        Route("/v1/messages/count_tokens", Endpoint(services, CountTokens, Messages)),
        Route("/v1/messages/{rest:path}", Endpoint(services, Relay, Messages)),
        Route("/v1/responses", Endpoint(services, Chat, lambda: Responses(stored))),
        Route("/v1/models", Endpoint(services, ModelList)),
        *_own_routes(services),
    ]
    app = Router(routes, redirect_slashes=False, default=Endpoint(services, Relay), lifespan=lifespan)
    if not config.cors_origins:
        return app
    return CORSMiddleware(app, config.cors_origins, allow_methods=["*"], allow_headers=["*"], expose_headers=["*"])


def _own_routes(services: Services) -> list[Route]:
    """Return the routes without a key."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if (models := await services.upstream.models()) is None:
            return JSONResponse({"status": "the engine does not answer"}, 503)
        if await services.waiting.hang():
            return JSONResponse({"status": "the engine answers, but no forced call: its grammars hang"}, 503)
        return JSONResponse({"status": "ready", "models": models})

    async def metrics(request: Request) -> Response:
        return Response(services.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def version(request: Request) -> Response:
        return JSONResponse({"version": __version__, "dialects": list(dialects.NAMES)})

    return [Route(f"/{answer.__name__}", answer) for answer in (healthz, readyz, metrics, version)]
