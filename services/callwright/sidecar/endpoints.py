"""The ASGI endpoints: `Chat` and `Count`, which translate where a request needs a dialect, and `Relay` for all else.

Owns the order of things in a request: key, body, plan, turn at the gate, engine, answer. Bytes that need no dialect
pass as they are, both ways.
"""

import asyncio
import json
import logging
from collections.abc import Callable

from callwright.errors import CallwrightError, Unavailable
from callwright.sidecar import http, requests, retry
from callwright.sidecar.apis import Api, Completions
from callwright.sidecar.catalog import Speech, speech
from callwright.sidecar.exchange import Again, Exchange
from callwright.sidecar.parts import Parts
from callwright.sidecar.problems import Refused

_LOG = logging.getLogger(__name__)
DIALECT_HEADER = b"x-callwright-dialect"
KEEP_STOP_HEADER = b"x-callwright-keep-stop"


class Relay:
    """Passes requests and answers on as they are."""

    def __init__(self, parts: Parts, api: Callable[[], Api] = Completions) -> None:
        self._parts, self._api = parts, api

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        """Answer one request."""
        exchange = Exchange(self._parts, scope, send, self._api())
        try:
            self._parts.keys.check(http.header(scope, b"authorization"), http.header(scope, b"x-api-key"))
            body = await http.read_body(scope, receive, self._parts.config.max_body_bytes)
            await http.until_gone(self._answer(exchange, body), receive)
        except http.ClientGone:
            self._parts.metrics.disconnects.inc()
        except CallwrightError as error:
            await exchange.fail(error)
        except asyncio.CancelledError:  # by the server, whose time to drain is over
            _LOG.warning("shutting down: a request to %s has not finished and is ended", exchange.path)
            await exchange.fail(Unavailable("the sidecar is shutting down; try again"))
        finally:
            exchange.count()

    async def _answer(self, exchange: Exchange, body: bytes) -> None:
        await exchange.relay(body)


class Chat(Relay):
    """Chat completions, and the APIs that are translations in front of them."""

    async def _answer(self, exchange: Exchange, body: bytes) -> None:
        if http.header(exchange.scope, KEEP_STOP_HEADER):
            body = json.dumps(requests.parse(body) | {"include_stop_str_in_output": True}).encode()
        request = exchange.api.chat(self._read(body)) if requests.may_need_dialect(body) else None
        if request is None:
            await exchange.relay(body)
            return
        spoken = await self._speech(exchange.scope, request)
        try:
            plan = await self._plan(request, spoken)
        except Refused as error:
            raise exchange.api.refused(error) from None

        async def again(plan: requests.Plan, failed: retry.Failure) -> requests.Plan:
            return await self._plan(retry.request_again(request, plan, failed), spoken)

        await self._ask(exchange, plan, again)

    def _read(self, body: bytes) -> requests.Json:
        return requests.parse(body)

    async def _ask(self, exchange: Exchange, plan: requests.Plan, again: Again) -> None:
        await exchange.translate(plan, again)

    async def _plan(self, request: requests.Json, spoken: Speech) -> requests.Plan:
        plan = requests.make_plan(request, spoken, self._parts.config)
        if plan.has_tool_messages and not await self._parts.tool_role.exists(str(request.get("model"))):
            plan = requests.make_plan(request, spoken, self._parts.config, tool_role=False)
        return plan

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


class Count(Chat):
    """How many tokens a message's prompt has, what its dialect makes of its tools included."""

    def _read(self, body: bytes) -> requests.Json:
        return {"max_tokens": 1} | requests.parse(body)

    async def _ask(self, exchange: Exchange, plan: requests.Plan, again: Again) -> None:
        await exchange.tokens(plan)
