"""What happens to a request: `Handler` is its life, from its key to its count; `Relay` passes it on as it is.

How a request with tools is answered is said in `callwright.sidecar.chat`.
"""

import asyncio
import json
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
from callwright.sidecar.exchange import EVENT_STREAM, Exchange
from callwright.sidecar.keys import ANYBODY, Client, Limited
from callwright.sidecar.limits import check_limits, check_values
from callwright.sidecar.models import OtherVersion
from callwright.sidecar.record import Outcome
from callwright.sidecar.services import Services
from callwright.sidecar.upstream import DOWN_STATUSES, EngineResponse
from callwright.sidecar.usage import KEY as USAGE_KEY
from callwright.sidecar.usage import LONGEST, WithoutUsage, asking_usage

_LOG = logging.getLogger(__name__)
Json = dict[str, Any]
T = TypeVar("T")
_ANYBODY = Client(ANYBODY)
_USAGE_PATHS = ("/v1/chat/completions", "/v1/completions")
"""APIs whose streams tell their usage to those who ask for it."""


class Handler:
    """One request, from its arrival to the end of its answer. Subclasses say how it is answered."""

    _failed = False
    """The engine has said within a stream that it failed."""

    def __init__(self, services: Services, api: Api, scope: Scope, receive: Receive, send: Send) -> None:
        self._services, self._api, self._receive = services, api, receive
        self._request = Request(scope, receive)
        self._held = Held(services.budget)
        self._record = services.ledger.open(scope["path"], self._request.headers.get("x-request-id"))
        self._client = _ANYBODY
        self._writer = ResponseWriter(send, self._held)
        self._writer.own_headers = [(b"x-request-id", self._record.id.encode())]
        self._trace = services.tracing.begin(self._request) if services.tracing else None
        self._body = b""
        self._exchange = Exchange(services, api, self._request, self._writer, self._held, self._record)
        if self._trace:
            self._exchange.traced = self._trace.headers

    async def run(self) -> None:
        """Check the key, read the body and answer; what goes wrong is told in the shape of the client's API."""
        services = self._services
        outcome: Outcome | None = None
        try:
            if self._request.method != "OPTIONS":  # by which a browser asks, without a key, whether a page may send one
                self._admit()
            path = written_path(self._request)
            services.paths.check(self._request.method, path, further=self._client.has_all_models)
            self._body = await read_body(self._request, services.config.max_body_bytes, self._held)
            await until_disconnect(self.answer(), self._receive)
        except ClientDisconnect:
            outcome = "left"
            services.metrics.disconnects.inc()
        except CallwrightError as error:
            outcome = "failed" if self._writer.status else None
            # Its traceback, and through its task itself, would keep what was read until the collector comes by.
            await self._fail(error.with_traceback(None))
        except asyncio.CancelledError:  # by the server, whose time to drain is over
            outcome = "failed"
            _LOG.warning("shutting down: a request to %s has not finished and is ended", self._path)
            await self._fail(Unavailable("the sidecar is shutting down; try again"))
        finally:
            self._writer.close()
            self._held.close()
            self._count(outcome)

    def _admit(self) -> None:
        """Look whose key it is, and whether it may ask now. Raises `Refused` and `Limited`."""
        headers = self._request.headers
        client = self._services.keys.check(headers.get("authorization"), headers.get("x-api-key"))
        self._record.client = self._client = client
        if self._request.method not in ("GET", "HEAD"):
            try:
                client.admit()
            except Limited as limited:
                self._services.metrics.key_limited.labels(client.name, limited.kind).inc()
                raise

    def _count(self, outcome: Outcome | None) -> None:
        """Tell traces, metrics and the audit line of the request, which has ended."""
        record, status = self._record, self._writer.status
        if self._trace:
            self._trace.end(status, record.dialect)
        if self._failed:
            outcome = "failed"
        elif outcome is None:
            outcome = "ok" if status < 400 else "refused" if status < 500 else "failed"
        record.end(status, outcome)
        labels = (self._path, status, record.dialect, record.model, record.version)
        self._services.metrics.requests.labels(*labels).inc()

    def _wants_stream(self, request: Json) -> bool:
        """Return whether the answer is to be a stream of events: counts of tokens, say, never are."""
        return self._path != "other" and request.get("stream") is True

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
        self._writer.close()
        if not self._writer.status:
            status, headers, body = error_response(error, self._api.error)
            await self._writer.send(status, self._writer.with_engine_headers(headers), body)
        elif self._writer.is_stream and not self._writer.ended:
            await self._writer.write(self._api.error_event(error_object(error), status_of(error)))
            await self._writer.end()
        # Else an answer of declared length is short: the server ends the connection, which says so.


class Relay(Handler):
    """Passes a request's body and its answer on, byte for byte."""

    _hides_usage = False
    """The stream tells its usage for our count alone."""

    async def answer(self) -> None:
        """Relay, once what a request may ask for has been checked."""
        request = await self._beside(self._read_relayed)
        self._exchange.canary = await self._services.canaries.choose(request)
        await self._relay()

    def _read_relayed(self) -> Json:
        request = self._parsed()
        self._check_relayed(request)
        self._ask_usage(request)
        return request

    def _check_relayed(self, request: Json) -> None:
        """Raise `Refused` for a form of the answer that would hold the engine up."""
        check_forms(request, self._services.config)
        self._note(request)

    def _ask_usage(self, request: Json) -> None:
        """Have a stream tell its usage where the client has not asked for it. The body says what `request` does."""
        if request.get("stream") is True and self._request.scope["path"] in _USAGE_PATHS:
            body = asking_usage(self._body, request)
            self._body, self._hides_usage = body or self._body, self._hides_usage or body is not None

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
        self._exchange.is_stream = self._wants_stream(request)
        self._record.asks(request)

    def _parsed(self) -> Json:
        """Return the request's JSON, where it has some. Raises `Refused` for what goes over a limit."""
        if not self._is_json:
            return {}
        check_values(self._body, self._services.config)
        request = chat_request.parse(self._body)
        check_limits(request, self._services.config)
        self._client.check_model(request.get("model"))
        self._exchange.is_whole = self._request.scope["path"] in GENERATING_PATHS and request.get("stream") is not True
        return request

    async def _relay(self) -> None:
        self._held.keep(len(self._body))
        with self._exchange:
            response = await self._relayed()
            check_up(response)
            self._writer.close()
            is_stream = response.media_type == EVENT_STREAM
            if self._writer.is_held and not (is_stream and response.status == 200):
                await self._send_whole(response.status, await response.read(self._held.add))
                return
            self._writer.is_stream = is_stream
            if not self._writer.is_held:
                await self._writer.start(response.status, self._writer.engine_headers)
            await (self._relay_stream(response) if is_stream else self._relay_whole(response))
            await self._writer.end()

    async def _relayed(self) -> EngineResponse:
        """Send the body on; to the version that stands, where it was meant for a canary that does not answer."""
        if self._exchange.canary is not None:
            try:
                return await self._exchange.ask(target(self._request), [self._body])
            except OtherVersion:
                self._exchange.leave_canary()
                await self._change_version()
        bodies, self._body = [self._body], b""
        return await self._exchange.ask(target(self._request), bodies)

    async def _change_version(self) -> None:
        """Make the body, which was for a canary, one for the version that stands."""

    async def _relay_whole(self, response: EngineResponse) -> None:
        async for piece in response:
            self._record.usage.feed(piece)
            await self._writer.write(piece)

    async def _relay_stream(self, response: EngineResponse) -> None:
        record, reader, write = self._record, self._record.usage, self._writer.write
        shown = WithoutUsage() if self._hides_usage else None
        last = b"\n"
        is_plain = False  # a piece without the usage that ends with a line need not be looked into
        try:
            async for piece in response:
                record.lines += piece.count(b"\n")
                if is_plain and piece.endswith(b"\n") and piece.find(USAGE_KEY, -LONGEST) < 0:
                    await write(piece)
                    continue
                record.see(piece)
                reader.feed_stream(piece)
                if told := shown.feed(piece) if shown else piece:
                    await write(told)
                    last = told
                is_plain = not record.awaits_token and reader.is_between and (shown is None or shown.is_between)
            if shown and (rest := shown.rest()):
                await write(rest)
        except CallwrightError:
            if shown and (rest := shown.rest()):
                await write(rest)
                last = rest
            if not last.endswith(b"\n"):
                await write(b"\n\n")  # so that the error is an event of its own
            raise

    async def _send_whole(self, status: int, body: bytes) -> None:
        """Send a whole answer of the engine's; within a stream that has begun without it as its error event."""
        if self._writer.is_held:
            await self._writer.write(self._api.error_event(told_error(status, body), status))
            await self._writer.end()
        else:
            await self._writer.send(status, self._writer.engine_headers, body)


def told_error(status: int, body: bytes) -> Json:
    """Return an engine's answer that is no stream as OpenAI's error object."""
    try:
        answer = json.loads(body)
        told = answer.get("error") or answer.get("message") if status >= 400 else None
    except (ValueError, RecursionError, AttributeError):
        told = None
    if isinstance(told, str):
        told = {"message": told}
    given = told if isinstance(told, dict) else {"message": f"the engine answered {status}, and no stream"}
    return {"error": {"message": "", "type": None, "param": None, "code": None} | given}


def check_up(response: EngineResponse) -> None:
    """Raise `Unavailable` where a proxy answers that no engine is there."""
    if response.status in DOWN_STATUSES and response.media_type != "application/json":
        raise down(response.status)


def down(status: int) -> Unavailable:
    """Return what a 5xx without a JSON object means: Ray's proxy answers so for a replica that has gone."""
    return Unavailable(f"the engine answered {status} and not why; try again later")
