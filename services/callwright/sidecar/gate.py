"""`Gate`: how many requests the engine gets at once, and how many may wait.

Counts; knows nothing of requests.
"""

import asyncio
from collections import deque
from types import TracebackType

from callwright.sidecar.problems import Overloaded


class Gate:
    """`async with gate:` holds one of `concurrent` places. Raises `Overloaded` when `queued` are waiting already."""

    def __init__(self, concurrent: int, queued: int) -> None:
        self._free, self._queued = concurrent, queued
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.active = 0
        """Requests at the engine."""

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    async def __aenter__(self) -> None:
        if self._free > 0 and not self._waiting:
            self._free -= 1
        elif len(self._waiting) >= self._queued:
            raise Overloaded(f"{self.active} requests are under way and {self.waiting} wait; try again later")
        else:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place  # whoever leaves hands its place over
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._hand_over()
                else:
                    self._waiting.remove(place)
                raise
        self.active += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active -= 1
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
