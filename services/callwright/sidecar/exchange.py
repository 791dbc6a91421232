"""`Exchange`: a client's request at the engine, from its place among those who may ask to the end of the response.

    with exchange:
        response = await exchange.ask("/v1/chat/completions", bodies)

Whoever asks again ends what was asked before. Knows nothing of what is asked.
"""

from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request

from callwright.errors import TimedOut, Unavailable
from callwright.sidecar.apis import Api
from callwright.sidecar.asgi import ResponseWriter
from callwright.sidecar.budget import Held
from callwright.sidecar.canary import Canary
from callwright.sidecar.models import OtherVersion
from callwright.sidecar.record import Record
from callwright.sidecar.services import Services
from callwright.sidecar.upstream import (
    DOWN_STATUSES,
    EngineRequest,
    EngineResponse,
    Headers,
    Upstream,
    request_headers,
    response_headers,
)
from callwright.sidecar.waiting_calls import Call
from callwright.store.manifest import VERSION_HEADER

EVENT_STREAM = "text/event-stream"
LEFT_OUT_HEADER = b"x-callwright-left-out"
_MOST_LEFT_OUT = 8


class Exchange:
    """One client's request at the engine; the block that it is used in ends it."""

    def __init__(
        self, services: Services, api: Api, request: Request, writer: ResponseWriter, held: Held, record: Record
    ) -> None:
        self._services, self._api, self._client, self._writer, self._held = services, api, request, writer, held
        self._record = record
        self._has_place = False
        self._request: EngineRequest | None = None
        self._call: Call | None = None
        self.traced: Headers = []
        """What makes the engine's spans the client's."""
        self.is_whole = False
        """The answer is generated, and comes whole."""
        self.is_stream = False
        """The answer is generated, and comes as a stream, which begins with comments where it has to wait."""
        self.is_forced = False
        """The engine may be held to a form of the answer."""
        self.model: str | None = None
        """The model that the engine is asked for."""
        self.canary: Canary | None = None
        """The version on trial that is to answer in place of the one that stands."""
        self.kept = 0
        """Bytes that are held until the end, for a second try."""
        self.left_out: list[str] = []
        """What of the request, and of its schemas, the engine is not told."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self.close()

    async def ask(
        self, path: str, bodies: list[bytes], *, model: str = "", version: bytes | None = None
    ) -> EngineResponse:
        """Send the first of `bodies`, which is used up, once there is a place for it; return the engine's response.

        Raises `OtherVersion` where the request is meant for `version` of `model` and the engine serves another, and
        where it is meant for a canary that does not answer.
        """
        self.close()
        services, upstream = self._services, self.upstream
        try:
            upstream.breaker.admit()
        except Unavailable:
            if self.canary is not None:
                raise OtherVersion from None
            raise
        if self.canary is not None:
            version = self.canary.version
        if self.is_stream:
            self._writer.hold(services.config.keep_alive_seconds)
        await services.gate.enter()
        self._has_place = True
        ours = [*self.traced, (VERSION_HEADER, version)] if version else self.traced
        headers = request_headers(self._client.scope["headers"], ours)
        if self.is_forced and self.canary is None:
            self._call = services.waiting.begin(self.model)
        body = bodies.pop(0)
        self._record.sent(path, len(body), version or b"")
        self._request = upstream.request(self._client.method, path, headers, body or None, whole=self.is_whole)
        del body  # nobody holds it while the engine works
        try:
            response = await self._request.send()
        except (Unavailable, TimedOut):
            if self.canary is not None:
                self._record.count_failed()
                raise OtherVersion from None
            raise
        is_stream = response.media_type == EVENT_STREAM
        self._record.answered(response.status, dict(response.headers), is_stream=is_stream)
        if self._call is not None:
            self._call.response = response
        if self.canary is None:
            await services.models.check_version(model, version, response)
        elif not services.canaries.has_answered(self.canary, response):
            if response.status in DOWN_STATUSES:
                self._record.count_failed()
            raise OtherVersion
        self._held.keep(self.kept + self._api.kept)
        self._writer.engine_headers = response_headers(response.headers, cors=not services.config.cors_origins)
        if self.left_out:
            self._writer.engine_headers.append((LEFT_OUT_HEADER, left_out_header(self.left_out)))
        return response

    @property
    def upstream(self) -> Upstream:
        """Where the request goes."""
        return self._services.upstream if self.canary is None else self._services.canaries.upstream

    def leave_canary(self) -> None:
        """Have the version that stands answer, as the canary is not there."""
        if self.canary is not None:
            self.canary = None
            self._services.canaries.forget()

    def close(self) -> None:
        """End what was asked, at which the engine stops generating, and give the place to the next."""
        if self._request is not None:
            self._request.close()
            self._request = None
        if self._call is not None:
            self._services.waiting.end(self._call)
            self._call = None
        if self._has_place:
            self._has_place = False
            self._services.gate.leave()


def left_out_header(left_out: Sequence[str]) -> bytes:
    """Return what was left out, `tool.properties.x.pattern` by `tool.properties.x.pattern`."""
    named = [quote(name[:200], safe="$[]", errors="replace") for name in left_out[:_MOST_LEFT_OUT]]
    more = len(left_out) - len(named)
    return ", ".join([*named, *([f"and {more} more"] if more else [])]).encode()
