"""`Remembered`: what was asked of an engine or a store, for a while, and asked again beside the requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

MOST_REMEMBERED = 1024
T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by model id. Who asks for an unknown one waits for it, for an older one than `seconds` gets that.

    It is then found anew beside the request, once at a time, so that an engine or a store that hangs holds no request
    up. Bounded, since ids come from clients.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: dict[str, tuple[float, T]] = {}
        self._finding: dict[str, asyncio.Task[T]] = {}

    async def get(self, model: str, find: Callable[[], Awaitable[T]]) -> T:
        """Return the value that is known, or what `find` returns. Raises what that raises."""
        if model not in self._values:
            return await asyncio.shield(self._find(model, find))
        until, value = self._values[model]
        if time.monotonic() >= until:
            self._find(model, find)
        return value

    def _find(self, model: str, find: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        if (finding := self._finding.get(model)) is None:
            finding = self._finding[model] = asyncio.create_task(self._remember(model, find))
            finding.add_done_callback(lambda done: self._finding.pop(model, None))
            finding.add_done_callback(lambda done: done.cancelled() or done.exception())  # who has waited gets it
        return finding

    async def _remember(self, model: str, find: Callable[[], Awaitable[T]]) -> T:
        known = self._values.get(model)
        try:
            found = await find()
        except Exception:
            if known and known[1] is not None:  # what was true a moment ago is better than nothing
                self._values[model] = (time.monotonic() + self._seconds, known[1])
            elif known:
                self._values.pop(model, None)
            raise
        if len(self._values) >= MOST_REMEMBERED:
            self._values.clear()
        self._values[model] = (time.monotonic() + self._seconds, found)
        return found

    def put(self, model: str, value: T) -> None:
        """Have this be the value from now on."""
        self._values[model] = (time.monotonic() + self._seconds, value)
