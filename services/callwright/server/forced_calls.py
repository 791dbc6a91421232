"""`ForcedCalls`: notices an engine that answers, but no longer where it must hold its answer to a grammar.

An engine compiles grammars in a few threads of their own. Where all of them hang, plain answers go on and a forced call
waits for ever. So both are asked for, a token each: a forced call without an answer long after a plain one, asked for
later, has had its own, tells the one from an engine that has much to do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from callwright.errors import TimedOut


class ForcedCalls:
    """`check` now and then; `ask(True)` asks the engine for a token under a grammar, `ask(False)` for a plain one."""

    def __init__(self, ask: Callable[[bool], Awaitable[None]], seconds: float) -> None:
        self._ask, self._seconds = ask, seconds
        self._asked: list[asyncio.Task[None]] = []
        self._answered: list[float | None] = [None, None]
        """When the forced call and the plain one of this round had their answer."""

    def check(self) -> None:
        """Raise `TimedOut` for an engine whose forced calls get no answer; does not wait, and asks anew by itself."""
        forced, plain = self._answered
        if all(task.done() for task in self._asked):
            if forced is not None or plain is None:
                self._answered = [None, None]
            # Forced first: an engine takes them in turn.
            self._asked = [asyncio.ensure_future(self._note(n, forced=not n)) for n in range(2)]
        if forced is None and plain is not None and time.monotonic() - plain > self._seconds:
            raise TimedOut(f"the engine answers, but no forced call for {self._seconds:g} s: its grammars hang")

    async def _note(self, place: int, *, forced: bool) -> None:
        try:
            await self._ask(forced)
        except TimedOut:
            return
        except Exception:  # noqa: BLE001 - a refusal is an answer; whether the engine lives is another check's
            pass
        if self._answered[place] is None:
            self._answered[place] = time.monotonic()
