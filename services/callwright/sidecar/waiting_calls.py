"""`WaitingCalls`: notices an engine that answers, but no longer where it must hold its answer to a form.

An engine compiles grammars in a few threads of their own. Where all of them hang, plain answers go on and a forced call
waits for ever. One that waits long is no proof, as its answer may be long: so a token of each kind is asked for then.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from callwright.errors import CallwrightError, TimedOut
from callwright.sidecar.upstream import EngineResponse, Upstream

_PROBE_SECONDS = 2.0
"""How long a token may take: what asks for readiness waits for little more."""
_FORCED = {"structured_outputs": {"choice": ["a", "b"]}}


@dataclass(eq=False, slots=True)
class Call:
    """A request that the engine may be held to a form for."""

    model: str | None
    since: float
    response: EngineResponse | None = None

    @property
    def is_answered(self) -> bool:
        """Its answer has begun."""
        return self.response is not None and self.response.has_begun


class WaitingCalls:
    """The forced calls at the engine. One that has waited for `seconds` makes `hang` ask whether others get answers."""

    def __init__(self, upstream: Upstream, seconds: float) -> None:
        self._upstream, self._seconds = upstream, seconds
        self._calls: set[Call] = set()
        self._hung: set[str | None] = set()
        """Models whose last forced token did not come."""
        self._look: asyncio.Task[None] | None = None

    def begin(self, model: str | None) -> Call:
        """Have an eye on a call, whose `response` is to be told, until its `end`."""
        call = Call(model, time.monotonic())
        self._calls.add(call)
        return call

    def end(self, call: Call) -> None:
        """Forget a call."""
        self._calls.discard(call)

    async def hang(self) -> bool:
        """Return whether a model's forced calls get no answer; who asks meanwhile gets the same look's."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_again())
        await asyncio.shield(self._look)
        return bool(self._hung)

    async def _look_again(self) -> None:
        late = time.monotonic() - self._seconds
        waiting = [call for call in self._calls if call.since <= late and not call.is_answered]
        models = list(self._hung.union(call.model for call in waiting))
        hung = await asyncio.gather(*map(self._hangs, models))
        self._hung = {model for model, hangs in zip(models, hung, strict=True) if hangs}
        now = time.monotonic()
        for call in waiting:
            if call.model not in self._hung:
                call.since = now  # others get their answers, so this one's is long

    async def _hangs(self, model: str | None) -> bool:
        """Return whether a plain token comes in time and a forced one does not; where neither does there is much to do.

        What was hung is so until a forced token comes.
        """
        # Forced first: an engine takes them in turn.
        forced, plain = await asyncio.gather(self._answers(model, _FORCED), self._answers(model, {}))
        return not forced and (plain or model in self._hung)

    async def _answers(self, model: str | None, form: Mapping[str, object]) -> bool:
        """Return whether the engine answers, be it that it refuses, or can't be reached: that is told elsewhere."""
        asked = {"model": model, "messages": [{"role": "user", "content": "a"}], "max_tokens": 1, **form}
        headers = [(b"content-type", b"application/json")]
        request = self._upstream.request(
            "POST", "/v1/chat/completions", headers, json.dumps(asked).encode(), whole=True
        )
        try:
            async with asyncio.timeout(_PROBE_SECONDS), request:
                return True
        except (TimeoutError, TimedOut):
            return False
        except CallwrightError:
            return True
