"""Who may come in (`Keys`) and how many at once (`Gate`).

Keys are given, or stand in a file, one a line, and change without a restart. Knows nothing of what is asked.
"""

import asyncio
import hmac
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from callwright.errors import InvalidInput
from callwright.sidecar.errors import Overloaded, Refused

_LOOK_SECONDS = 1.0


class Keys:
    """The keys in the file at `path` and those `given`; with neither everybody may come in.

    Raises `InvalidInput` when the file is unreadable or holds none.
    """

    def __init__(self, path: str | None, given: Iterable[SecretStr] = ()) -> None:
        self._path = Path(path) if path else None
        self._given = tuple(key.get_secret_value().encode() for key in given)
        self._keys: tuple[bytes, ...] = ()
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0
        if self._path:
            self._look(self._path)
            if not self._keys:
                raise InvalidInput(f"reading the API keys: {self._path} holds none")

    def check(self, authorization: str | None, x_api_key: str | None = None) -> None:
        """Raise `Refused` with status 401 unless `authorization` is `Bearer` and a key, or `x_api_key` is one.

        Keys are compared in constant time.
        """
        if self._path is None and not self._given:
            return
        if self._path is not None and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look(self._path)
        scheme, _, bearer = (authorization or "").partition(" ")
        given = [key for key in (bearer if scheme.lower() == "bearer" else None, x_api_key) if key]
        known = False
        for key in (*self._given, *self._keys):  # all of them, whichever it is
            for each in given:
                known |= hmac.compare_digest(key, each.strip().encode())
        if not known:
            raise Refused("the API key is missing or unknown", code="invalid_api_key", status=401)

    def _look(self, path: Path) -> None:
        self._looked = time.monotonic()
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                lines = path.read_text(encoding="utf-8").splitlines()
                self._keys = tuple(line.strip().encode() for line in lines if line.strip() and not line.startswith("#"))
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            if self._stamp is None:
                raise InvalidInput(f"reading the API keys: {path}: {error}") from None


class Gate:
    """`async with gate:` holds one of `concurrent` places at the engine, in the order of arrival.

    Raises `Overloaded` when `queued` are waiting for one already.
    """

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
            await self._wait()
        self.active += 1

    async def __aexit__(self, *error: object) -> None:
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
