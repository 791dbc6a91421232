"""`StoredResponses`: conversations of the Responses API that a client goes on with by an id, in this process's memory.

Ids are drawn here and can't be guessed, so that who knows one may go on with it.
"""

import json
import secrets
import threading
import time
from collections import OrderedDict
from typing import Any

from callwright.sidecar.sse import dumps

Json = dict[str, Any]


class StoredResponses:
    """The newest conversations: so many, of so many bytes together, each for so long."""

    def __init__(self, most: int = 0, most_bytes: int = 0, seconds: float = 0.0) -> None:
        self._most, self._most_bytes, self._seconds = most, most_bytes, seconds
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        """Long conversations are read and written beside the event loop."""

    def new_id(self) -> str | None:
        """Return the id of a response that is to be kept; None where none are."""
        return f"resp_{secrets.token_hex(24)}" if self._most else None

    def put(self, response_id: str, items: list[Json]) -> None:
        """Keep a conversation; the oldest go for it, and one that is too large is not kept."""
        written = dumps(items)
        with self._lock:
            self._drop(response_id)
            if len(written) > self._most_bytes:
                return
            self._kept[response_id] = time.monotonic() + self._seconds, written
            self._bytes += len(written)
            now = time.monotonic()
            for oldest, (until, _) in list(self._kept.items()):
                if len(self._kept) <= self._most and self._bytes <= self._most_bytes and now < until:
                    break
                self._drop(oldest)

    def get(self, response_id: object) -> list[Json] | None:
        """Return the items of a conversation; None where it is not kept, or no more."""
        written = self.written(response_id)
        items: list[Json] | None = json.loads(written) if written else None
        return items

    def written(self, response_id: object) -> bytes:
        """Return the same as it is kept; empty where it is not."""
        with self._lock:
            until, written = self._kept.get(response_id, (0.0, b"")) if isinstance(response_id, str) else (0.0, b"")
        return written if time.monotonic() < until else b""

    def _drop(self, response_id: str) -> None:
        _, written = self._kept.pop(response_id, (0.0, b""))
        self._bytes -= len(written)
