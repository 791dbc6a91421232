"""To which of the engine's paths clients may come (`Paths`), and how many at once (`Gate`).

Who may come in says `callwright.sidecar.keys`. Knows nothing of what is asked.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from callwright.sidecar.config import ENGINE_PATHS
from callwright.sidecar.errors import Overloaded, Refused


class Paths:
    """The engine's paths that are open: `ENGINE_PATHS`, and `further` ones as `METHOD /path`."""

    def __init__(self, further: Iterable[str]) -> None:
        known = {(method, path.encode()) for method, paths in ENGINE_PATHS.items() for path in paths}
        others = {(method, path.encode()) for method, _, path in (each.partition(" ") for each in further)}
        self._known = _with_implied(known)
        self._open = self._known | _with_implied(others)
        self.names = frozenset(path.decode() for _, path in self._open)
        """The paths, whatever their methods."""

    def check(self, method: str, path: bytes, *, further: bool = True) -> None:
        """Raise `Refused` with status 404 unless `path`, to the byte as the client wrote it, is open to `method`.

        Without `further` ones only where the model that is asked for can be told from the request.
        """
        if (method, path) not in (self._open if further else self._known):
            told = f"{method[:40]} {path[:80].decode('ascii', 'backslashreplace')}"
            raise Refused(f"nothing is served at {told}", code="not_found", status=404)


def _with_implied(paths: set[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    """Return paths with their methods, and with the methods that go with these."""
    return (
        paths | {("HEAD", path) for method, path in paths if method == "GET"} | {("OPTIONS", path) for _, path in paths}
    )


class Gate:
    """`concurrent` places at the engine, given in the order of arrival to at most `queued` who wait."""

    def __init__(self, concurrent: int, queued: int) -> None:
        self._free, self._queued = concurrent, queued
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.active = 0
        """Requests at the engine."""

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Wait for a place. Raises `Overloaded` when too many do so already."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
        elif len(self._waiting) >= self._queued:
            raise Overloaded(f"{self.active} requests are under way and {self.waiting} wait; try again later")
        else:
            await self._wait()
        self.active += 1

    def leave(self) -> None:
        """Give the place to the next."""
        self.active -= 1
        self._hand_over()

    async def _wait(self) -> None:
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

    def _hand_over(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
