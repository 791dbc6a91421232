"""Who may come in (`Keys`), to which of the engine's paths (`Paths`), and how many at once (`Gate`).

Keys are given, or stand in a file, one a line, and change without a restart. Knows nothing of what is asked.
"""

import asyncio
import contextlib
import hmac
import logging
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from callwright.errors import InvalidInput
from callwright.sidecar.config import ENGINE_PATHS
from callwright.sidecar.errors import Overloaded, Refused

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_KEPT_SECONDS = 60.0
"""How long the keys of a file that can't be read any more stay valid."""


class Keys:
    """The keys in the file at `path` and those `given`; where both are None everybody may come in.

    Raises `InvalidInput` when the file is unreadable, and when a file or what is given holds none.
    """

    def __init__(self, path: str | None, given: Iterable[SecretStr] | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._is_open = path is None and given is None
        self._given = _spelled(key.get_secret_value() for key in given or ())
        self._keys: tuple[bytes, ...] = ()
        self._stamp: tuple[int, int, int] | None = None
        self._looked = self._seen = 0.0
        self._is_lost = False
        if given is not None and not self._given:
            raise InvalidInput(
                "reading the API keys: CALLWRIGHT_API_KEYS holds none; give at least one, or leave it out"
            )
        if self._path:
            self._look(self._path)
            if not self._keys:
                raise InvalidInput(f"reading the API keys: {self._path} holds none")

    def check(self, authorization: str | None, x_api_key: str | None = None) -> None:
        """Raise `Refused` with status 401 unless `authorization` is `Bearer` and a key, or `x_api_key` is one.

        Headers are texts in latin-1, as servers read them. Keys are compared in constant time.
        """
        if self._is_open:
            return
        if self._path and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look(self._path)
        scheme, _, bearer = (authorization or "").partition(" ")
        headers = (bearer if scheme.lower() == "bearer" else "", x_api_key or "")
        given = [each.encode("latin-1", "replace").strip(b" \t") for each in headers]
        known = False
        for key in (*self._given, *self._keys):  # all of them, whichever it is
            for each in given:
                known |= hmac.compare_digest(key, each)
        if not known:
            raise Refused("the API key is missing or unknown", code="invalid_api_key", status=401)

    def _look(self, path: Path) -> None:
        """Read the file where it has changed. One that can't be read is told, and after a while admits nobody."""
        self._looked = time.monotonic()
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._stamp:
                lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n"))
                self._keys = _spelled(line for line in lines if not line.startswith("#"))
                if self._stamp and not self._keys:
                    _LOG.error("reading the API keys: %s holds none; it admits nobody", path)
            self._stamp, self._seen, self._is_lost = stamp, self._looked, False
        except (OSError, ValueError) as error:
            if self._stamp is None:
                raise InvalidInput(f"reading the API keys: {path}: {error}") from None
            if self._looked - self._seen > _KEPT_SECONDS and self._keys:
                self._keys, self._stamp = (), (0, 0, 0)
                _LOG.error("reading the API keys: %s: %s; it admits nobody any more", path, error)
            elif not self._is_lost:
                _LOG.warning("reading the API keys: %s: %s; in %d s it admits nobody", path, error, _KEPT_SECONDS)
            self._is_lost = True


def _spelled(keys: Iterable[str]) -> tuple[bytes, ...]:
    """Return what clients send for `keys`: UTF-8, or latin-1 where a key can be written so; nothing for blank ones."""
    spelled: list[bytes] = []
    for key in filter(None, map(str.strip, keys)):
        spelled.append(key.encode("utf-8", "surrogateescape"))
        with contextlib.suppress(UnicodeEncodeError):
            spelled.append(key.encode("latin-1"))
    return tuple(dict.fromkeys(spelled))


class Paths:
    """The engine's paths that are open: `ENGINE_PATHS`, and `further` ones as `METHOD /path`."""

    def __init__(self, further: Iterable[str]) -> None:
        self._open = {(method, path.encode()) for method, paths in ENGINE_PATHS.items() for path in paths}
        self._open |= {(method, path.encode()) for method, _, path in (each.partition(" ") for each in further)}
        self._open |= {("HEAD", path) for method, path in self._open if method == "GET"}
        self._open |= {("OPTIONS", path) for _, path in self._open}

    def check(self, method: str, path: bytes) -> None:
        """Raise `Refused` with status 404 unless `path`, to the byte as the client wrote it, is open to `method`."""
        if (method, path) not in self._open:
            told = f"{method[:40]} {path[:80].decode('ascii', 'backslashreplace')}"
            raise Refused(f"nothing is served at {told}", code="not_found", status=404)


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
