"""`Exchange`: one request on its way to the engine and back.

Owns how an answer is sent, whole or as a stream, a second try, and what the client is told when something fails.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from callwright.errors import CallwrightError, Unavailable
from callwright.sidecar import events, http, requests, retry
from callwright.sidecar.answers import is_malformed, translate
from callwright.sidecar.apis import Api
from callwright.sidecar.connection import Response
from callwright.sidecar.metrics import Metrics
from callwright.sidecar.parts import Parts, Turn
from callwright.sidecar.problems import error_object, error_response, status_of
from callwright.sidecar.streams import StreamTranslation

Again = Callable[[requests.Plan, retry.Failure], Awaitable[requests.Plan]]
"""The plan of a second try. Raises `CallwrightError` when there can be none."""
_CHAT = "/v1/chat/completions"
_COUNTED = (_CHAT, "/v1/completions", "/v1/messages", "/v1/responses")
_PROMPT = ("model", "messages", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
"""What decides a prompt, in a request to the engine."""
_NO_COMPLETION = "the engine's answer is not a chat completion"
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading an answer raises that is none."""
_DOWN = (500, 502, 503, 504)
_HEAD_SECONDS = 0.02
"""A translated stream's head waits so long for the first event: one write is less work than two, for the client too."""
_STREAM_HEADERS: http.Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Exchange:
    """One request on its way to the engine and back."""

    def __init__(self, parts: Parts, scope: http.Scope, send: http.Send, api: Api) -> None:
        self._parts, self.scope, self._client = parts, scope, send
        self.api = api
        self._started = self._last = time.monotonic()
        self._status = 0
        self._stream = self._ended = False
        self._dialect = "no"
        self._beating: asyncio.Future[None] | None = None
        self._trace = parts.tracing.begin(scope) if parts.tracing else None

    @property
    def path(self) -> str:
        """The request's path, as far as it is one of the API's own: clients can make up others."""
        path = str(self.scope["path"])
        return path if path in _COUNTED else "other"

    async def relay(self, body: bytes) -> None:
        """Pass everything on as it is."""
        async with self._engine(body) as response:
            if response.status in _DOWN and response.content_type != "application/json":
                raise _down(response.status)
            self._stream = response.content_type == "text/event-stream"
            await self._head(response.status, http.response_headers(response.headers))
            last = b"\n"

            async def take(piece: bytes) -> None:
                nonlocal last
                last = piece
                await self._body(piece)

            try:
                await response.pump(take)
            except CallwrightError:
                if self._stream and not last.endswith(b"\n"):
                    await self._body(b"\n\n")  # so that the error is an event of its own
                raise
            await self._end()

    async def translate(self, plan: requests.Plan, again: Again) -> None:
        """Send the plan's request; translate what comes back, that of a second try where the plan wants one."""
        self._dialect = plan.dialect.name
        stream = StreamTranslation(plan, self._parts.metrics)
        if plan.body.get("stream"):
            asyncio.get_running_loop().call_soon(stream.prepare)  # while the engine has the request
        try:
            async with self._asked(plan) as response:
                status = response.status
                if status == 200 and response.content_type == "text/event-stream":
                    self._begin_stream()
                    await self._translate_stream(response, stream)
                else:
                    headers, body = http.response_headers(response.headers), await response.whole()
            if not self._stream:
                body = await self._translated(body, plan, again) if status == 200 else self._refusal(body, status)
                await self._whole(status, headers, body)
                return
            if stream.failure is not None:
                await self._stream_again(stream, plan, stream.failure, again)
            await self._end()
        finally:
            if self._beating is not None:
                self._beating.cancel()

    async def tokens(self, plan: requests.Plan) -> None:
        """Answer with the length of the plan's prompt, as the engine counts it."""
        self._dialect = plan.dialect.name
        prompt = {key: plan.body[key] for key in _PROMPT if key in plan.body}
        async with Turn(self._parts, "POST", "/tokenize", self._headers(), events.dumps(prompt)) as response:
            status, sent, body = response.status, http.response_headers(response.headers), await response.whole()
        if status != 200:
            await self._whole(status, sent, self._refusal(body, status))
            return
        try:
            counted = events.dumps({"input_tokens": json.loads(body)["count"]})
        except _MALFORMED:
            raise Unavailable("the engine's answer is no count of tokens") from None
        await self._whole(status, sent, counted)

    async def fail(self, error: CallwrightError) -> None:
        """Say what went wrong, as an answer or within the stream that has begun."""
        if not self._status:
            await self._whole(*error_response(error, self.api.error))
        elif self._stream and not self._ended:
            await self._body(self.api.error_event(error_object(error), status_of(error)))
            await self._end()
        # Else an answer of declared length is short: the server ends the connection, which says so.

    def count(self) -> None:
        """Count the request as answered, and end its trace."""
        if self._trace:
            self._trace.end(self._status, self._dialect)
        self._parts.metrics.requests.labels(self.path, self._status, self._dialect).inc()

    def _asked(self, plan: requests.Plan) -> contextlib.AbstractAsyncContextManager[Response]:
        """The engine's response to the plan's request, or to its loose one where it refuses the schemas."""
        strict = self._engine(events.dumps(plan.body), chat=True)
        return strict if plan.loose_body is None else self._asked_twice(strict, plan.loose_body)

    @contextlib.asynccontextmanager
    async def _asked_twice(self, strict: Turn, loose: requests.Json) -> AsyncIterator[Response]:
        async with strict as response:
            if response.status != 400:
                yield response
                return
        async with self._engine(events.dumps(loose), chat=True) as response:
            yield response

    async def _translated(self, body: bytes, plan: requests.Plan, again: Again) -> bytes:
        answer, failed = _read(body, plan, self._parts.metrics)
        if failed is not None and (second := await self._second(plan, failed, again)) is not None:
            answer = second | {"usage": retry.with_spent(second.get("usage"), answer.get("usage"))}
        try:
            return events.dumps(self.api.whole(answer))
        except _MALFORMED:
            raise Unavailable(_NO_COMPLETION) from None

    def _refusal(self, body: bytes, status: int) -> bytes:
        try:
            error = json.loads(body)
        except (ValueError, RecursionError):
            error = None
        if isinstance(error, dict):
            told = self.api.error(error, status)
            return body if told is error else events.dumps(told)
        if status in _DOWN:
            raise _down(status)
        return body  # whatever stands before the engine has sent it

    async def _second(self, plan: requests.Plan, failed: retry.Failure, again: Again) -> requests.Json | None:
        """The answer of a second try, or None when the engine has none: then the first stands."""
        answer = None
        with contextlib.suppress(CallwrightError):
            plan = await again(plan, failed)
            async with self._asked(plan) as response:
                if response.status == 200:
                    body = await response.whole()
                    answer, _ = _read(body, plan, self._parts.metrics)
        self._count_repair(answer is not None and not is_malformed(answer))
        return answer

    async def _stream_again(
        self, stream: StreamTranslation, plan: requests.Plan, failed: retry.Failure, again: Again
    ) -> None:
        """Go on with a second try, or end the stream with what was kept back for it."""
        try:
            plan = await again(plan, failed)
            async with self._asked(plan) as response:
                if response.status != 200:
                    raise Unavailable("the engine refused the second try")
                await self._send_events(stream.again(plan))
                await self._translate_stream(response, stream)
        except CallwrightError:
            self._count_repair(False)
            if stream.failure is None:
                raise  # within the second answer
            await self._send_events(stream.give_up())
            return
        self._count_repair(not stream.malformed and not stream.failed)

    def _begin_stream(self) -> None:
        self._stream = True
        self._beating = asyncio.get_running_loop().create_task(self._keep_alive())

    async def _translate_stream(self, response: Response, translation: StreamTranslation) -> None:
        reader, written = events.EventReader(), self.api.event

        async def take(piece: bytes) -> None:
            if not reader.rest and translation.passes(piece):
                await self._body(written(piece))
                return
            made = [event for data in reader.feed(piece) for event in translation.event(data)]
            await self._send_events(made)

        try:
            await response.pump(take)
            if not translation.done:
                raise Unavailable("the engine ended the stream early")
        except _MALFORMED:
            raise Unavailable(_NO_COMPLETION) from None
        except CallwrightError:
            if translation.done:
                return
            if not translation.failed:
                raise
            await self._send_events([b"[DONE]"])  # the engine has said what is wrong

    async def _send_events(self, made: list[bytes]) -> None:
        if made:
            await self._body(b"".join([self.api.event(events.event(data)) for data in made]))

    def _count_repair(self, repaired: bool) -> None:
        self._parts.metrics.repairs.labels("repaired" if repaired else "failed").inc()

    async def _whole(self, status: int, headers: http.Headers, body: bytes) -> None:
        headers = [(name, value) for name, value in headers if name != b"content-length"]
        await self._head(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._body(body)
        await self._end()

    def _engine(self, body: bytes, *, chat: bool = False) -> Turn:
        target = _CHAT if chat and self.scope["path"] != _CHAT else http.target(self.scope)
        return Turn(self._parts, self.scope["method"], target, self._headers(), body)

    def _headers(self) -> http.Headers:
        return http.request_headers(self.scope, self._trace.headers if self._trace else [])

    async def _head(self, status: int, headers: http.Headers) -> None:
        self._status = status
        await self._client({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, piece: bytes) -> None:
        now = time.monotonic()
        if self._last == self._started:
            await self._open_stream()
            self._parts.metrics.first_token.observe(now - self._started)
        self._last = now
        await self._client({"type": "http.response.body", "body": piece, "more_body": True})

    async def _open_stream(self) -> None:
        if not self._status:
            await self._head(200, _STREAM_HEADERS)

    async def _end(self) -> None:
        self._ended = True
        await self._client({"type": "http.response.body", "body": b""})

    async def _keep_alive(self) -> None:
        pause = self._parts.config.keep_alive_seconds
        await asyncio.sleep(_HEAD_SECONDS)
        await self._open_stream()
        while True:
            idle = time.monotonic() - self._last
            if idle >= pause:
                await self._body(self.api.keep_alive)
                idle = 0.0
            await asyncio.sleep(pause - idle)


def _read(body: bytes, plan: requests.Plan, metrics: Metrics) -> tuple[requests.Json, retry.Failure | None]:
    """The client's answer, and the turn as the engine wrote it where it is to be tried again."""
    try:
        answer: requests.Json = json.loads(body)
        failed = retry.failure(answer, plan)
        translate(answer, plan, metrics)
    except _MALFORMED:
        raise Unavailable(_NO_COMPLETION) from None
    metrics.usage(answer.get("usage"))
    return answer, failed


def _down(status: int) -> Unavailable:
    """What a 5xx without a JSON object means: Ray's proxy answers so for a replica that has gone."""
    return Unavailable(f"the engine answered {status} and not why; try again later")
