"""What happens to a request: `Handler` is its life, from its key to its count; `Relay` passes it on as it is.

How a request with tools is answered is said in `callwright.sidecar.chat`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from callwright.errors import CallwrightError, Unavailable
from callwright.sidecar import chat_request
from callwright.sidecar.apis import Api
from callwright.sidecar.asgi import ResponseWriter, read_body, target, until_disconnect, written_path
from callwright.sidecar.budget import Held
from callwright.sidecar.client_forms import check_forms, may_hold
from callwright.sidecar.config import ENGINE_PATHS, GENERATING_PATHS, JSON_FACTOR
from callwright.sidecar.errors import error_object, error_response, status_of
from callwright.sidecar.exchange import Exchange
from callwright.sidecar.limits import check_limits, check_values
from callwright.sidecar.services import Services
from callwright.sidecar.upstream import EngineResponse

_LOG = logging.getLogger(__name__)
Json = dict[str, Any]
T = TypeVar("T")
EVENT_STREAM = "text/event-stream"
DOWN_STATUSES = (500, 502, 503, 504)
"""What a proxy before the engine answers by itself."""


class Handler:
    """One request, from its arrival to the end of its answer. Subclasses say how it is answered."""

    def __init__(self, services: Services, api: Api, scope: Scope, receive: Receive, send: Send) -> None:
        self._services, self._api, self._receive = services, api, receive
        self._request = Request(scope, receive)
        self._held = Held(services.budget)
        self._writer = ResponseWriter(send, services.metrics, self._held)
        self._trace = services.tracing.begin(self._request) if services.tracing else None
        self._body = b""
        self._exchange = Exchange(services, api, self._request, self._writer, self._held)
        self._dialect = "no"
        """The dialect that the request needed, for metrics and traces."""
        if self._trace:
            self._exchange.traced = self._trace.headers

    async def run(self) -> None:
        """Check the key, read the body and answer; what goes wrong is told in the shape of the client's API."""
        services, headers = self._services, self._request.headers
        try:
            if self._request.method != "OPTIONS":  # by which a browser asks, without a key, whether a page may send one
                services.keys.check(headers.get("authorization"), headers.get("x-api-key"))
            services.paths.check(self._request.method, written_path(self._request))
            self._body = await read_body(self._request, services.config.max_body_bytes, self._held)
            await until_disconnect(self.answer(), self._receive)
        except ClientDisconnect:
            services.metrics.disconnects.inc()
        except CallwrightError as error:
            # Its traceback, and through its task itself, would keep what was read until the collector comes by.
            await self._fail(error.with_traceback(None))
        except asyncio.CancelledError:  # by the server, whose time to drain is over
            _LOG.warning("shutting down: a request to %s has not finished and is ended", self._path)
            await self._fail(Unavailable("the sidecar is shutting down; try again"))
        finally:
            self._writer.close()
            self._held.close()
            if self._trace:
                self._trace.end(self._writer.status, self._dialect)
            services.metrics.requests.labels(self._path, self._writer.status, self._dialect).inc()

    async def answer(self) -> None:
        """Answer the request, whose body has been read. Raises `CallwrightError`."""
        raise NotImplementedError

    @property
    def _path(self) -> str:
        """The request's path, as far as it is one of the API's own: clients can make up others."""
        path = str(self._request.scope["path"])
        return path if path in GENERATING_PATHS else "other"

    async def _fail(self, error: CallwrightError) -> None:
        """Say what went wrong, as an answer or within the stream that has begun."""
        if not self._writer.status:
            status, headers, body = error_response(error, self._api.error)
            await self._writer.send(status, self._writer.with_engine_headers(headers), body)
        elif self._writer.is_stream and not self._writer.ended:
            await self._writer.write(self._api.error_event(error_object(error), status_of(error)))
            await self._writer.end()
        # Else an answer of declared length is short: the server ends the connection, which says so.


class Relay(Handler):
    """Passes a request's body and its answer on, byte for byte."""

    async def answer(self) -> None:
        """Relay, once what a request may ask for has been checked."""
        await self._beside(lambda: self._check_relayed(self._parsed()))
        await self._relay()

    def _check_relayed(self, request: Json) -> None:
        """Raise `Refused` for a form of the answer that would hold the engine up."""
        check_forms(request, self._services.config)
        self._note(request)

    async def _beside(self, read: Callable[[], T]) -> T:
        """Return what `read` makes of the body, beside the event loop where that takes long. Raises what it raises."""
        if self._is_json:
            self._held.keep(JSON_FACTOR * self._size)
        return await self._services.worker.run(self._size, read)

    @property
    def _size(self) -> int:
        """Bytes of what is read of the request."""
        return len(self._body)

    @property
    def _is_json(self) -> bool:
        return self._request.method == "POST" and self._request.scope["path"] in ENGINE_PATHS["POST"]

    def _note(self, request: Json) -> None:
        """Note what the engine is asked for."""
        model = request.get("model")
        self._exchange.is_forced, self._exchange.model = may_hold(request), model if isinstance(model, str) else None

    def _parsed(self) -> Json:
        """Return the request's JSON, where it has some. Raises `Refused` for what goes over a limit."""
        if not self._is_json:
            return {}
        check_values(self._body, self._services.config)
        request = chat_request.parse(self._body)
        check_limits(request, self._services.config)
        self._exchange.is_whole = self._request.scope["path"] in GENERATING_PATHS and request.get("stream") is not True
        return request

    async def _relay(self) -> None:
        self._held.keep(len(self._body))
        bodies, self._body = [self._body], b""
        with self._exchange:
            response = await self._exchange.ask(target(self._request), bodies)
            check_up(response)
            self._writer.is_stream = response.media_type == EVENT_STREAM
            await self._writer.start(response.status, self._writer.engine_headers)
            last = b"\n"
            try:
                async for piece in response:
                    await self._writer.write(piece)
                    last = piece
            except CallwrightError:
                if self._writer.is_stream and not last.endswith(b"\n"):
                    await self._writer.write(b"\n\n")  # so that the error is an event of its own
                raise
            await self._writer.end()


def check_up(response: EngineResponse) -> None:
    """Raise `Unavailable` where a proxy answers that no engine is there."""
    if response.status in DOWN_STATUSES and response.media_type != "application/json":
        raise down(response.status)


def down(status: int) -> Unavailable:
    """Return what a 5xx without a JSON object means: Ray's proxy answers so for a replica that has gone."""
    return Unavailable(f"the engine answered {status} and not why; try again later")
