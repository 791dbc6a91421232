"""`Asking`: a chat request with tools is read, planned and sent to the engine, anew for a replica of another version.

What comes of the response is its subclasses' business.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from callwright.dialects.foreign import Foreign
from callwright.errors import Unavailable
from callwright.sidecar import chat_request, sse
from callwright.sidecar.answer_lengths import clamp, give_default, is_long, without_length
from callwright.sidecar.asgi import target, too_large
from callwright.sidecar.errors import Refused
from callwright.sidecar.foreign_text import without_foreign
from callwright.sidecar.handlers import Relay
from callwright.sidecar.limits import check_limits, check_values
from callwright.sidecar.models import ModelDialect, OtherVersion
from callwright.sidecar.plan import ChatPlan, make_plan
from callwright.sidecar.upstream import EngineResponse

Json = dict[str, Any]
DIALECT_HEADER = "x-callwright-dialect"
KEEP_STOP_HEADER = "x-callwright-keep-stop"
_CHAT_PATH = "/v1/chat/completions"
_MOST_PLANS = 32
"""Tries in a roll, each of which comes to the version that it is meant for in one of two cases."""


class Asking(Relay):
    """Asks the engine for a chat request that needs a dialect; relays what needs none."""

    _defaults: ClassVar[Json] = {}
    """Fields of a request that may leave them out."""
    _context: int | None = None
    """Tokens that the context holds, as far as that had to be asked."""
    _earlier = 0
    """Bytes of the kept conversation that the request goes on with, which count as its own."""
    _is_changed = False
    """The request is no longer what its bytes say."""
    _is_long = False
    """The answer may have more tokens than there is room for, for all that is known."""

    def _parsed(self) -> Json:
        request, path = super()._parsed(), self._request.scope["path"]
        if not request:
            return request
        self._is_changed = clamp(request, path, self._context)
        self._is_changed |= give_default(request, path, self._services.config.default_max_tokens)
        if self._request.headers.get(KEEP_STOP_HEADER):
            request["include_stop_str_in_output"] = self._is_changed = True
        return request

    async def _read_request(self) -> Json | None:
        """Return the chat request that needs a dialect; None for one that the engine answers by itself, whose body is
        written anew where something in it is to be another.
        """
        models, path = self._services.models, self._request.scope["path"]
        request, asked = await self._beside(self._read)
        if self._earlier:
            request, asked = await self._beside(self._read)
        if is_long(asked, path) and isinstance(named := asked.get("model"), str):
            self._is_long, self._context = True, await models.context_length(named)
            if clamp(asked, path, self._context):
                request, asked = await self._beside(self._read)
        self._exchange.canary = await self._services.canaries.choose(asked)
        if request is not None:
            return request
        await self._break_foreign(asked)
        return None

    async def _break_foreign(self, asked: Json) -> None:
        """Break what the model that is to answer would take for its own markers, in what the client sent."""
        header = self._request.headers.get(DIALECT_HEADER)
        model = await self._services.models.dialect_for_text(asked, header, self._canary_dialect)
        foreign = Foreign(model.dialect, model.special_tokens)
        made = await self._services.worker.run(len(self._body), without_foreign, asked, foreign)
        if made is not asked or self._is_changed:
            self._body = await self._services.worker.run(len(self._body), sse.dumps, made)
            self._services.metrics.foreign_tokens.inc(foreign.count)
        await self._services.worker.run(len(self._body), self._ask_usage, made)

    async def _change_version(self) -> None:
        await self._break_foreign(await self._beside(lambda: chat_request.parse(self._body)))

    @property
    def _canary_dialect(self) -> ModelDialect | None:
        canary = self._exchange.canary
        return None if canary is None else canary.spoken

    def _read(self) -> tuple[Json | None, Json]:
        """Return the chat request, where it needs a dialect, and what the client sent.

        Raises `Refused`, also for a form of the answer that would hold the engine up.
        """
        asked = self._parsed()
        if earlier := self._api.earlier(asked):
            if not self._earlier:
                self._earlier = len(earlier)
                if self._size > self._services.config.max_body_bytes:
                    raise too_large(self._services.config.max_body_bytes)
                return None, asked  # it is read once more, beside the event loop where that takes long
            check_values(self._body + earlier, self._services.config)
        request = self._api.chat_request(self._defaults | asked)
        if earlier and request is not None:
            self._check_length(request)
        if request is None:
            self._check_relayed(asked)
        elif self._services.config.strict_fields and self._api.unknown:
            field = self._api.unknown[0]
            raise Refused(f"{field[:80]}: no such field is known here; leave it out", param=field)
        return request, asked

    def _check_length(self, request: Json) -> None:
        try:
            check_limits({"messages": request["messages"]}, self._services.config)
        except Refused as error:
            raise self._api.refused(error) from None

    @property
    def _size(self) -> int:
        return len(self._body) + self._earlier

    def _read_again(self) -> Json:
        """Return the chat request once more, from the bytes that are kept of it."""
        return self._read()[0] or {}

    async def _asked(
        self, again: Callable[[], Json], first: list[Json] | None = None
    ) -> tuple[ChatPlan, EngineResponse]:
        """Plan the engine's request and send it; return how its response is to be read, and that.

        During a roll there are two versions at one address: what comes to another than it was planned for is planned
        anew. The request is taken out of `first`, and then is what `again` returns.
        """
        for _ in range(_MOST_PLANS):
            try:
                request = first.pop() if first else await self._beside(again)
                plan = await self._plan(request)
                del request  # nobody holds it while the engine works
                bodies, left_out = await self._written(plan), self._exchange.left_out.copy()
                whole = bodies[0] if self._is_long else b""
                response = await self._send(plan, bodies)
                while response.status == 400 and bodies:  # it can't be held to what is asked
                    response = await self._send(plan, bodies)
                if response.status == 400 and whole:
                    response = await self._send_without_length(plan, whole, left_out)
            except OtherVersion:
                self._exchange.leave_canary()
                continue
            if not plan.retry:
                self._body, self._exchange.kept = b"", 0
            return plan, response
        raise Unavailable("the engine's replicas serve several versions; try again later")

    async def _send(self, plan: ChatPlan, bodies: list[bytes]) -> EngineResponse:
        """Send the first of the bodies, which is used up."""
        if plan.waits and len(bodies) == 1:
            self._exchange.left_out.append(plan.waits)
        return await self._exchange.ask(self._engine_path(), bodies, model=plan.model, version=plan.version)

    async def _send_without_length(self, plan: ChatPlan, body: bytes, left_out: list[str]) -> EngineResponse:
        """Send `body` once more, for an answer as long as there is room for."""
        self._exchange.left_out = left_out
        bodies = [without_length(body)]
        return await self._exchange.ask(self._engine_path(), bodies, model=plan.model, version=plan.version)

    async def _plan(self, request: Json) -> ChatPlan:
        """Return the plan of a chat request. Raises `Refused` in the client's terms."""
        models, config = self._services.models, self._services.config
        header, upstream = self._request.headers.get(DIALECT_HEADER), self._exchange.upstream
        if self._wants_stream(request):
            self._writer.hold(config.keep_alive_seconds)
        model = await models.dialect_when_told(request, header, self._canary_dialect)
        try:
            plan = await self._services.worker.run(self._size, make_plan, request, model, config)
            if plan.has_several_systems and not await models.takes_systems(plan.model, model.version, upstream):
                request = chat_request.with_one_system(request)
                plan = await self._services.worker.run(self._size, make_plan, request, model, config)
            asks = plan.has_tool_messages and model.template is None
            if asks and not await models.has_tool_role(plan.model, model.version, upstream):
                plan = await self._services.worker.run(self._size, make_plan, request, model, config, tool_role=False)
        except Refused as error:
            raise self._api.refused(error) from None
        self._record.dialect = plan.dialect.name
        self._exchange.left_out = [*(f"{where}.{keyword}" for where, keyword in plan.left_out), *self._api.left_out]
        self._services.metrics.count_left_out(plan.left_out)
        self._services.metrics.foreign_tokens.inc(plan.broken)
        return plan

    async def _written(self, plan: ChatPlan) -> list[bytes]:
        """Return the plan's requests as bytes, in the order of their tries.

        They are all that is held of the client's from now on. Where it may have to be read again, for another version
        or a second try, the client's request is kept too.
        """
        self._note(plan.body)
        written = [plan.body, *plan.fallbacks]
        bodies = await self._services.worker.run(self._size, lambda: [sse.dumps(body) for body in written])
        for body in written:
            body.clear()
        may_be_planned_anew = plan.retry or plan.version or self._exchange.canary
        kept = self._exchange.kept = len(self._body) if may_be_planned_anew else 0
        self._held.keep(kept + self._api.kept + sum(map(len, bodies)))
        if not kept:
            self._body = b""
        return bodies

    def _engine_path(self) -> str:
        """Return where the engine is asked."""
        return target(self._request) if self._request.scope["path"] == _CHAT_PATH else _CHAT_PATH
