"""What happens to a request: `Relay` passes it on as it is, `Chat` translates it, `CountTokens` counts its prompt.

`Chat.answer` is the whole way of a chat request with tools: read, plan, ask, translate, write. All else in a request's
life, from its key to its count, is in `Handler`.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from callwright.dialects.foreign import Foreign
from callwright.dialects.types import Part
from callwright.errors import CallwrightError, Unavailable
from callwright.sidecar import chat_request, sse
from callwright.sidecar.admission import Gate, Keys, Paths
from callwright.sidecar.apis import Api
from callwright.sidecar.asgi import ResponseWriter, read_body, target, until_disconnect, written_path
from callwright.sidecar.budget import Budget, Held
from callwright.sidecar.client_forms import check_forms, may_hold
from callwright.sidecar.config import ENGINE_PATHS, GENERATING_PATHS, JSON_FACTOR, SidecarConfig
from callwright.sidecar.errors import Overloaded, Refused, error_object, error_response, status_of
from callwright.sidecar.foreign_text import without_foreign
from callwright.sidecar.limits import check_limits, check_values
from callwright.sidecar.models import Models, OtherVersion
from callwright.sidecar.plan import ChatPlan, make_plan
from callwright.sidecar.retry import MalformedTurn, malformed_turn, second_request, summed_usage
from callwright.sidecar.telemetry import Metrics, Tracing
from callwright.sidecar.translation import (
    MALFORMED_COMPLETION,
    StreamTranslation,
    has_malformed_call,
    read_turns,
    translate_completion,
)
from callwright.sidecar.upstream import EngineResponse, Upstream, request_headers, response_headers
from callwright.sidecar.waiting_calls import WaitingCalls
from callwright.sidecar.worker import SHORT, Worker
from callwright.store.manifest import VERSION_HEADER

_LOG = logging.getLogger(__name__)
Json = dict[str, Any]
T = TypeVar("T")
DIALECT_HEADER = "x-callwright-dialect"
KEEP_STOP_HEADER = "x-callwright-keep-stop"
LEFT_OUT_HEADER = b"x-callwright-left-out"
_MOST_LEFT_OUT = 8
_CHAT_PATH = "/v1/chat/completions"
_PROMPT_FIELDS = ("model", "messages", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
"""What decides a prompt, in a request to the engine."""
_EVENT_STREAM = "text/event-stream"
_LONG_CALL = 1024 * 1024
"""Bytes of events of which nothing was sent yet, so that a call may end in them that is long to read."""
_AT_ONCE = 128
"""Events of a stream that are translated before others have their turn."""
_NO_COMPLETION = "the engine's answer is not a chat completion"
_MOST_PLANS = 16
"""Tries in a roll, each of which comes to one of two versions."""
_DOWN_STATUSES = (500, 502, 503, 504)


@dataclass(frozen=True)
class Services:
    """What all requests share."""

    config: SidecarConfig
    upstream: Upstream
    waiting: WaitingCalls
    models: Models
    gate: Gate
    budget: Budget
    keys: Keys
    paths: Paths
    metrics: Metrics
    tracing: Tracing | None
    worker: Worker


class Handler:
    """One request, from its arrival to the end of its answer. Subclasses say how it is answered."""

    def __init__(self, services: Services, api: Api, scope: Scope, receive: Receive, send: Send) -> None:
        self._services, self._api, self._receive = services, api, receive
        self._request = Request(scope, receive)
        self._held = Held(services.budget)
        self._writer = ResponseWriter(send, services.metrics, self._held)
        self._trace = services.tracing.begin(self._request) if services.tracing else None
        self._body = b""
        self._is_whole = False
        """The answer is generated, and comes whole."""
        self._is_forced = False
        """The engine may be held to a form of the answer."""
        self._model: str | None = None
        """The model that the engine is asked for."""
        self._kept = 0
        """Bytes that are held until the end, for a second try."""
        self._begun = False
        """Events of a translated stream have been written."""
        self._dialect = "no"
        """The dialect that the request needed, for metrics and traces."""
        self._left_out: list[str] = []
        """What of the request, and of its schemas, the engine is not told."""

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

    @contextlib.asynccontextmanager
    async def _engine(
        self, path: str, body: bytes, *, model: str = "", version: bytes | None = None
    ) -> AsyncIterator[EngineResponse]:
        """Ask the engine, once there is a place for the request; the block gets its response.

        Raises `OtherVersion` where the request is meant for `version` of `model` and the engine serves another.
        """
        ours = [*(self._trace.headers if self._trace else ()), *([(VERSION_HEADER, version)] if version else ())]
        headers = request_headers(self._request.scope["headers"], ours)
        upstream = self._services.upstream
        upstream.breaker.admit()
        request = upstream.request(self._request.method, path, headers, body or None, whole=self._is_whole)
        if self._is_forced:
            request = self._services.waiting.hold(self._model, request)
        body = b""
        if not self._kept:
            self._body = b""
        async with self._services.gate, request as response:
            await self._services.models.check_version(model, version, response)
            self._held.keep(self._kept + self._api.kept)
            self._writer.engine_headers = response_headers(
                response.headers, cors=not self._services.config.cors_origins
            )
            if self._left_out:
                self._writer.engine_headers.append((LEFT_OUT_HEADER, left_out_header(self._left_out)))
            yield response

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
        await self._beside(lambda: check_forms(self._parsed(), self._services.config))
        await self._relay()

    async def _beside(self, read: Callable[[], T]) -> T:
        """Return what `read` makes of the body, beside the event loop where that takes long. Raises what it raises."""
        if self._is_json:
            self._held.keep(JSON_FACTOR * len(self._body))
        return await self._services.worker.run(len(self._body), read)

    @property
    def _is_json(self) -> bool:
        return self._request.method == "POST" and self._request.scope["path"] in ENGINE_PATHS["POST"]

    def _note(self, request: Json) -> None:
        """Note what the engine is asked for."""
        model = request.get("model")
        self._is_forced, self._model = may_hold(request), model if isinstance(model, str) else None

    def _parsed(self) -> Json:
        """Return the request's JSON, where it has some. Raises `Refused` for what goes over a limit."""
        if not self._is_json:
            return {}
        check_values(self._body, self._services.config)
        request = chat_request.parse(self._body)
        check_limits(request, self._services.config)
        self._note(request)
        self._is_whole = self._request.scope["path"] in GENERATING_PATHS and request.get("stream") is not True
        return request

    async def _relay(self) -> None:
        self._held.keep(len(self._body))
        async with self._engine(target(self._request), self._body) as response:
            if response.status in _DOWN_STATUSES and response.media_type != "application/json":
                raise _down(response.status)
            self._writer.is_stream = response.media_type == _EVENT_STREAM
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


class Chat(Relay):
    """Answers chat completions, and the APIs that are translations in front of them; relays what has no tools."""

    _defaults: ClassVar[Json] = {}
    """Fields of a request that may leave them out."""

    async def answer(self) -> None:
        """Read the request, plan the engine's, ask, translate the answer and write it."""
        request = await self._read_request()
        if request is None:
            await self._relay()
            return
        first = [request]
        del request  # nobody holds it while the engine works
        async with self._planned(self._read_again, first) as (plan, response):
            is_stream = response.status == 200 and response.media_type == _EVENT_STREAM
            if is_stream:
                stream = StreamTranslation(plan, self._services.metrics)
                self._writer.start_stream(self._api.keep_alive, self._services.config.keep_alive_seconds)
                await self._write_events(response, stream)
            else:
                body = await response.read(self._held.add)
        if is_stream:
            if stream.malformed_turn is not None:
                await self._write_second_stream(plan, stream, stream.malformed_turn)
            await self._writer.end()
            return
        if response.status == 200:
            answer = await self._translated(plan, body)
        else:
            answer = self._refusal(response.status, body)
        body = b""
        self._held.keep(len(answer) + self._api.kept)
        await self._writer.send(response.status, self._writer.engine_headers, answer)

    def _parsed(self) -> Json:
        request = super()._parsed()
        if request and self._request.headers.get(KEEP_STOP_HEADER):
            request["include_stop_str_in_output"] = True
            self._body = sse.dumps(request)
        return request

    async def _read_request(self) -> Json | None:
        """Return the chat request that needs a dialect; None for one that the engine answers by itself, whose body is
        written anew where something in it is to be broken.
        """
        request, asked = await self._beside(self._read)
        if request is not None:
            return request
        model = await self._services.models.dialect_for_text(asked, self._request.headers.get(DIALECT_HEADER))
        foreign = Foreign(model.dialect, model.special_tokens)
        made = await self._services.worker.run(len(self._body), without_foreign, asked, foreign)
        if made is not asked:
            self._body = await self._services.worker.run(len(self._body), sse.dumps, made)
            self._services.metrics.foreign_tokens.inc(foreign.count)
        return None

    def _read(self) -> tuple[Json | None, Json]:
        """Return the chat request, where it needs a dialect, and what the client sent.

        Raises `Refused`, also for a form of the answer that would hold the engine up.
        """
        asked = self._parsed()
        request = self._api.chat_request(self._defaults | asked)
        if request is None:
            check_forms(asked, self._services.config)
        elif self._services.config.strict_fields and self._api.unknown:
            field = self._api.unknown[0]
            raise Refused(f"{field[:80]}: no such field is known here; leave it out", param=field)
        return request, asked

    async def _plan(self, request: Json) -> ChatPlan:
        """Return the plan of a chat request. Raises `Refused` in the client's terms."""
        models, config = self._services.models, self._services.config
        model = await models.dialect_for(request, self._request.headers.get(DIALECT_HEADER))
        try:
            plan = await self._services.worker.run(len(self._body), make_plan, request, model, config)
            asks = plan.has_tool_messages and model.template is None
            if asks and not await models.has_tool_role(plan.model, model.version):
                plan = await self._services.worker.run(
                    len(self._body), make_plan, request, model, config, tool_role=False
                )
        except Refused as error:
            raise self._api.refused(error) from None
        self._dialect = plan.dialect.name
        self._left_out = [*(f"{where}.{keyword}" for where, keyword in plan.left_out), *self._api.left_out]
        self._services.metrics.count_left_out(plan.left_out)
        self._services.metrics.foreign_tokens.inc(plan.broken)
        return plan

    def _read_again(self) -> Json:
        """Return the chat request once more, from the bytes that are kept of it."""
        return self._read()[0] or {}

    async def _written(self, plan: ChatPlan) -> tuple[ChatPlan, list[bytes]]:
        """Return the plan and its requests as bytes, in the order of their tries.

        They are all that is held of the client's from now on. Where it may have to be read again, for another version
        or a second try, the client's request is kept too.
        """
        self._note(plan.body)
        written = [plan.body, *plan.fallbacks]
        bodies = await self._services.worker.run(len(self._body), lambda: [sse.dumps(body) for body in written])
        written.clear()
        self._kept = len(self._body) if plan.retry or plan.version else 0
        self._held.keep(self._kept + self._api.kept + sum(map(len, bodies)))
        return replace(plan, body={}, fallbacks=()), bodies

    @contextlib.asynccontextmanager
    async def _planned(
        self, again: Callable[[], Json], first: list[Json] | None = None
    ) -> AsyncIterator[tuple[ChatPlan, EngineResponse]]:
        """Plan the engine's request and send it; anew where it comes to a replica of another version than planned for.

        During a roll there are two versions at one address. The request is taken out of `first`, and then is what
        `again` returns.
        """
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(_MOST_PLANS):
                try:
                    request = first.pop() if first else await self._beside(again)
                    plan, bodies = await self._written(await self._plan(request))
                    del request
                    response = await stack.enter_async_context(self._ask(plan, bodies))
                except OtherVersion:
                    continue
                break
            else:
                raise Unavailable("the engine's replicas serve several versions; try again later")
            if not plan.retry:
                self._body, self._kept = b"", 0
            yield plan, response

    @contextlib.asynccontextmanager
    async def _ask(self, plan: ChatPlan, bodies: list[bytes]) -> AsyncIterator[EngineResponse]:
        """Send the first of the bodies, which are used up, and the next where the engine refuses it."""
        path = self._engine_path()
        while bodies:
            is_last = len(bodies) == 1
            if is_last and plan.waits:
                self._left_out.append(plan.waits)
            async with self._engine(path, bodies.pop(0), model=plan.model, version=plan.version) as response:
                if is_last or response.status != 400:
                    bodies.clear()
                    yield response
                    return

    def _engine_path(self) -> str:
        """Return where the engine is asked."""
        return target(self._request) if self._request.scope["path"] == _CHAT_PATH else _CHAT_PATH

    async def _write_events(self, response: EngineResponse, stream: StreamTranslation) -> None:
        """Translate the engine's stream and write it, as it comes."""
        reader, worker = sse.EventReader(), self._services.worker
        before = 0
        silent = 0  # bytes of events that nothing has come of yet
        try:
            async for piece in response:
                events: list[bytes] = []
                for n, data in enumerate(reader.feed(piece), start=1):
                    silent += len(data)
                    is_long = len(data) > SHORT or silent > _LONG_CALL
                    made = await worker.run(silent, stream.event, data) if is_long else stream.event(data)
                    silent = 0 if made else silent
                    events += made
                    if n % _AT_ONCE == 0:
                        await self._write(events)
                        events = []
                        await asyncio.sleep(0)
                await self._write(events)
                if len(piece) > SHORT:
                    await asyncio.sleep(0)  # the next piece may be there already, and others wait for their turn
                if (kept := reader.kept + stream.kept + self._api.kept) != before:
                    self._held.keep(self._kept + kept)
                    before = kept
            if not stream.done:
                raise Unavailable("the engine ended the stream early")
        except MALFORMED_COMPLETION:
            raise Unavailable(_NO_COMPLETION) from None
        except Overloaded:
            raise
        except CallwrightError:
            if not stream.done and not stream.failed:  # else the engine has said what is wrong
                raise

    async def _write(self, events: list[bytes]) -> None:
        """Write events, given their data."""
        if events:
            made = map(self._api.event, events)
            tells = events[-1] == sse.DONE or not self._begun  # what is kept is told at the beginning and the end
            size = sum(map(len, events)) + (self._api.kept if tells else 0)
            self._begun = True
            is_long = size > SHORT
            await self._writer.write(
                await self._services.worker.run(size, b"".join, made) if is_long else b"".join(made)
            )

    async def _translated(self, plan: ChatPlan, body: bytes) -> bytes:
        """Return the client's answer for the engine's, or for that of a second try where the plan wants one."""
        worker, size = self._services.worker, len(body)
        completion, parts, turn = await worker.run(size, self._completion, plan, body)
        if turn is not None and (second := await self._second_completion(plan, turn)) is not None:
            usage = summed_usage(second[0].get("usage"), completion.get("usage"))
            completion, parts = second[0] | {"usage": usage}, second[1]
        try:
            return await worker.run(size, lambda: sse.dumps(self._api.answer(completion, parts)))
        except MALFORMED_COMPLETION:
            raise Unavailable(_NO_COMPLETION) from None

    def _completion(self, plan: ChatPlan, body: bytes) -> tuple[Json, list[Part], MalformedTurn | None]:
        """Return a translated completion, its parts, and its turn as the engine wrote it if it is to be tried again."""
        try:
            completion: Json = json.loads(body)
            turns = read_turns(completion, plan)
            malformed = malformed_turn(completion, turns, plan)
            return completion, translate_completion(completion, turns, plan, self._services.metrics), malformed
        except MALFORMED_COMPLETION:
            raise Unavailable(_NO_COMPLETION) from None

    async def _second_completion(self, plan: ChatPlan, turn: MalformedTurn) -> tuple[Json, list[Part]] | None:
        """Return the completion of a second try and its parts, or None when the engine has none: the first stands."""
        second = None
        with contextlib.suppress(CallwrightError):
            async with self._planned(lambda: second_request(self._read_again(), plan, turn)) as (second_plan, response):
                if response.status == 200:
                    body = await response.read(self._held.add)
                    second = (await self._services.worker.run(len(body), self._completion, second_plan, body))[:2]
        self._services.metrics.count_repair(second is not None and not has_malformed_call(second[0]))
        return second

    async def _write_second_stream(self, plan: ChatPlan, stream: StreamTranslation, turn: MalformedTurn) -> None:
        """Go on with a second try, or end the stream with what was kept back for it."""
        metrics = self._services.metrics
        try:
            async with self._planned(lambda: second_request(self._read_again(), plan, turn)) as (second_plan, response):
                if response.status != 200:
                    raise Unavailable("the engine refused the second try")
                await self._write(stream.resume(second_plan))
                await self._write_events(response, stream)
        except CallwrightError:
            metrics.count_repair(False)
            if stream.malformed_turn is None:
                raise  # within the second answer
            await self._write(await self._services.worker.run(stream.kept, stream.release))
            return
        metrics.count_repair(not stream.has_malformed_call and not stream.failed)

    def _refusal(self, status: int, body: bytes) -> bytes:
        """Return the client's error for the engine's, which stays as it is where it has the same shape."""
        try:
            error = json.loads(body)
        except (ValueError, RecursionError):
            error = None
        if isinstance(error, dict):
            told = self._api.error(error, status)
            return body if told is error else sse.dumps(told)
        if status in _DOWN_STATUSES:
            raise _down(status)
        return body  # whatever stands before the engine has sent it


class CountTokens(Chat):
    """Answers with the length of a message's prompt, what its dialect makes of its tools included."""

    _defaults: ClassVar[Json] = {"max_tokens": 1}

    async def answer(self) -> None:
        """Count the prompt's tokens, as the engine does."""
        request = await self._read_request()
        if request is None:
            await self._relay()
            return
        async with self._planned(self._read_again, [request]) as (_, response):
            body = await response.read(self._held.add)
        if response.status == 200:
            try:
                answer = sse.dumps({"input_tokens": json.loads(body)["count"]})
            except MALFORMED_COMPLETION:
                raise Unavailable("the engine's answer is no count of tokens") from None
        else:
            answer = self._refusal(response.status, body)
        await self._writer.send(response.status, self._writer.engine_headers, answer)

    async def _written(self, plan: ChatPlan) -> tuple[ChatPlan, list[bytes]]:
        prompt = {key: plan.body[key] for key in _PROMPT_FIELDS if key in plan.body}
        return await super()._written(replace(plan, body=prompt, fallbacks=()))

    def _engine_path(self) -> str:
        return "/tokenize"


def left_out_header(left_out: Sequence[str]) -> bytes:
    """Return what was left out, `tool.properties.x.pattern` by `tool.properties.x.pattern`."""
    named = [quote(name[:200], safe="$[]") for name in left_out[:_MOST_LEFT_OUT]]
    more = len(left_out) - len(named)
    return ", ".join([*named, *([f"and {more} more"] if more else [])]).encode()


def _down(status: int) -> Unavailable:
    """Return what a 5xx without a JSON object means: Ray's proxy answers so for a replica that has gone."""
    return Unavailable(f"the engine answered {status} and not why; try again later")
