"""The two ASGI endpoints: `Chat`, which translates where a request needs a dialect, and `Relay` for everything else.

Owns the order of things in a request: key, body, plan, turn at the gate, engine, answer. Bytes that need no dialect
pass as they are, both ways.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from callsmith.errors import CallsmithError, Unavailable
from callsmith.sidecar import events, http, requests
from callsmith.sidecar.answers import StreamTranslation, translate
from callsmith.sidecar.catalog import Catalog, Speech, speech
from callsmith.sidecar.config import SidecarConfig
from callsmith.sidecar.gate import Gate
from callsmith.sidecar.keys import Keys
from callsmith.sidecar.metrics import Metrics
from callsmith.sidecar.problems import Refused, error_event, error_response
from callsmith.sidecar.toolrole import ToolRole
from callsmith.sidecar.tracing import Tracing
from callsmith.sidecar.upstream import Upstream, failures

DIALECT_HEADER = b"x-callsmith-dialect"
KEEP_STOP_HEADER = b"x-callsmith-keep-stop"
_LONGEST_ANSWER = 64 * 1024**2
_STREAM_HEADERS: http.Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True)
class Parts:
    """What the endpoints share."""

    config: SidecarConfig
    upstream: Upstream
    catalog: Catalog
    gate: Gate
    keys: Keys
    metrics: Metrics
    tool_role: ToolRole
    tracing: Tracing | None


class Relay:
    """Passes requests and answers on as they are."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """Answer one request."""
        exchange = Exchange(self._parts, scope, send)
        try:
            self._parts.keys.check(http.header(scope, b"authorization"))
            body = await http.read_body(scope, receive, self._parts.config.max_body_bytes)
            await http.until_gone(self._answer(exchange, body), receive)
        except http.ClientGone:
            self._parts.metrics.disconnects.inc()
        except CallsmithError as error:
            await exchange.fail(error)
        exchange.count()

    async def _answer(self, exchange: "Exchange", body: bytes) -> None:
        await exchange.relay(body)


class Chat(Relay):
    """`/v1/chat/completions`."""

    async def _answer(self, exchange: "Exchange", body: bytes) -> None:
        if http.header(exchange.scope, KEEP_STOP_HEADER):
            body = json.dumps(requests.parse(body) | {"include_stop_str_in_output": True}).encode()
        if not requests.may_need_dialect(body):
            await exchange.relay(body)
            return
        request = requests.parse(body)
        if not requests.needs_dialect(request):
            requests.check_without_tools(request)
            await exchange.relay(body)
            return
        spoken, config = await self._speech(exchange.scope, request), self._parts.config
        plan = requests.make_plan(request, spoken, config)
        if plan.has_tool_messages and not await self._parts.tool_role.exists(str(request.get("model"))):
            plan = requests.make_plan(request, spoken, config, tool_role=False)
        await exchange.translate(plan)

    async def _speech(self, scope: http.Scope, request: requests.Json) -> Speech:
        asked = http.header(scope, DIALECT_HEADER) or request.get("tools_prompt")
        if asked is not None:
            if not isinstance(asked, str):
                raise Refused("tools_prompt: expected the name of a dialect", param="tools_prompt")
            return speech(asked)
        model = request.get("model")
        if not isinstance(model, str):
            raise Refused("model: expected the id of a model", param="model")
        return await self._parts.catalog.find(model)


class Exchange:
    """One request on its way to the engine and back."""

    def __init__(self, parts: Parts, scope: http.Scope, send: http.Send) -> None:
        self._parts, self.scope, self._client = parts, scope, send
        self._started = self._last = time.monotonic()
        self._status = 0
        self._stream = False
        self._dialect = "no"
        self._trace = parts.tracing.begin(scope) if parts.tracing else None

    async def relay(self, body: bytes) -> None:
        """Pass everything on as it is."""
        async with self._engine(body) as response:
            self._stream = response.content_type == "text/event-stream"
            await self._head(response.status, http.response_headers(response.headers.items()))
            async for piece in _pieces(response):
                await self._body(piece)
            await self._end()

    async def translate(self, plan: requests.Plan) -> None:
        """Send the plan's request; translate what comes back."""
        self._dialect = plan.dialect.name
        for body in (plan.body, plan.loose_body):
            if body is None:
                continue
            async with self._engine(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")) as response:
                if response.status == 400 and body is plan.body and plan.loose_body is not None:
                    continue
                if response.status == 200 and response.content_type == "text/event-stream":
                    await self._translate_stream(response, plan)
                else:
                    await self._translate_whole(response, plan)
                return

    async def fail(self, error: CallsmithError) -> None:
        """Say what went wrong, as an answer or within the stream that has begun."""
        if not self._status:
            status, headers, body = error_response(error)
            await self._head(status, headers)
            await self._body(body)
            await self._end()
        elif self._stream:
            await self._body(error_event(error) + events.DONE)
            await self._end()
        # Else an answer of declared length is short: the server ends the connection, which says so.

    def count(self) -> None:
        """Count the request as answered, and end its trace."""
        if self._trace:
            self._trace.end(self._status, self._dialect)
        path = self.scope["path"] if self.scope["path"] in ("/v1/chat/completions", "/v1/completions") else "other"
        self._parts.metrics.requests.labels(path, self._status, self._dialect).inc()

    async def _translate_whole(self, response: aiohttp.ClientResponse, plan: requests.Plan) -> None:
        body = b"".join([piece async for piece in _pieces(response, _LONGEST_ANSWER)])
        headers = http.response_headers(response.headers.items())
        if response.status == 200:
            try:
                answer = translate(json.loads(body), plan, self._parts.metrics)
            except (ValueError, AttributeError):
                raise Unavailable("the engine's answer is not a chat completion") from None
            self._parts.metrics.usage(answer.get("usage"))
            body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
        headers = [(name, value) for name, value in headers if name != b"content-length"]
        await self._head(response.status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._body(body)
        await self._end()

    async def _translate_stream(self, response: aiohttp.ClientResponse, plan: requests.Plan) -> None:
        reader, translation = events.EventReader(), StreamTranslation(plan, self._parts.metrics)
        self._stream = True
        await self._head(200, _STREAM_HEADERS)
        beating = asyncio.ensure_future(self._keep_alive())
        try:
            async for piece in _pieces(response):
                out = [events.event(made) for data in reader.feed(piece) for made in translation.event(data)]
                if out:
                    await self._body(b"".join(out))
        finally:
            beating.cancel()
        if not translation.done:
            raise Unavailable("the engine ended the stream early")
        await self._end()

    def _engine(self, body: bytes) -> "_Turn":
        headers = http.request_headers(self.scope) | (self._trace.headers if self._trace else {})
        return _Turn(self._parts, self.scope, headers, body)

    async def _head(self, status: int, headers: http.Headers) -> None:
        self._status = status
        await self._client({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, piece: bytes) -> None:
        now = time.monotonic()
        if self._last == self._started:
            self._parts.metrics.first_token.observe(now - self._started)
        self._last = now
        await self._client({"type": "http.response.body", "body": piece, "more_body": True})

    async def _end(self) -> None:
        await self._client({"type": "http.response.body", "body": b""})

    async def _keep_alive(self) -> None:
        pause = self._parts.config.keep_alive_seconds
        while True:
            idle = time.monotonic() - self._last
            if idle >= pause:
                await self._body(events.KEEP_ALIVE)
                idle = 0.0
            await asyncio.sleep(pause - idle)


class _Turn:
    """A place at the gate and the engine's response, for as long as the block lasts."""

    def __init__(self, parts: Parts, scope: http.Scope, headers: dict[str, str], body: bytes) -> None:
        self._gate = parts.gate
        self._request = parts.upstream.request(scope["method"], http.target(scope), headers, body or None)

    async def __aenter__(self) -> aiohttp.ClientResponse:
        await self._gate.__aenter__()
        try:
            return await self._request.__aenter__()
        except BaseException:
            await self._gate.__aexit__(None, None, None)
            raise

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._request.__aexit__(None, None, None)
        finally:
            await self._gate.__aexit__(None, None, None)


async def _pieces(response: aiohttp.ClientResponse, limit: int | None = None) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `Unavailable` or `TimedOut`."""
    total = 0
    with failures():
        while piece := await response.content.readany():
            total += len(piece)
            if limit is not None and total > limit:
                raise Unavailable("the engine's answer is too large")
            yield piece
