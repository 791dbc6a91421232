"""`StoredResponses`: conversations of the Responses API that a client goes on with by an id, in this process's memory.

Ids are drawn here and can't be guessed, so that who knows one may go on with it.
"""

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from callwright.sidecar.sse import dumps

Json = dict[str, Any]
_ITEM_BYTES = 512
"""What an item takes beside its JSON."""


class StoredResponses:
    """The newest conversations: so many, of so many bytes together, each for so long."""

    def __init__(self, most: int = 0, most_bytes: int = 0, seconds: float = 0.0) -> None:
        self._most, self._most_bytes, self._seconds = most, most_bytes, seconds
        self._kept: OrderedDict[str, tuple[float, bytes, dict[str, bytes]]] = OrderedDict()
        self._owners: dict[str, str] = {}
        """The response of each item that one of them put out."""
        self._bytes = 0
        self._lock = threading.Lock()
        """Long conversations are read and written beside the event loop."""

    def new_id(self) -> str | None:
        """Return the id of a response that is to be kept; None where none are."""
        return f"resp_{secrets.token_hex(24)}" if self._most else None

    def put(self, response_id: str, items: list[Json], output: Sequence[Json] = ()) -> None:
        """Keep a conversation that goes on with a response's `output`; the oldest go for it, and one that is too large
        is not kept.
        """
        written = dumps([*items, *output])
        own = {str(item["id"]): dumps(item) for item in output}
        size = _size(written, own)
        with self._lock:
            self._drop(response_id)
            if size > self._most_bytes:
                return
            self._kept[response_id] = time.monotonic() + self._seconds, written, own
            self._owners |= dict.fromkeys(own, response_id)
            self._bytes += size
            now = time.monotonic()
            for oldest, (until, _, _) in list(self._kept.items()):
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
        return self._found(response_id)[0]

    def item(self, item_id: str) -> bytes:
        """Return an item that one of the responses put out, as JSON; empty where none is kept that did."""
        with self._lock:
            owner = self._owners.get(item_id)
        return self._found(owner)[1].get(item_id, b"")

    def _found(self, response_id: object) -> tuple[bytes, dict[str, bytes]]:
        with self._lock:
            kept = self._kept.get(response_id) if isinstance(response_id, str) else None
        return kept[1:] if kept is not None and time.monotonic() < kept[0] else (b"", {})

    def _drop(self, response_id: str) -> None:
        if (kept := self._kept.pop(response_id, None)) is not None:
            _, written, own = kept
            self._bytes -= _size(written, own)
            for item_id in own:
                del self._owners[item_id]


def _size(written: bytes, own: dict[str, bytes]) -> int:
    return len(written) + sum(_ITEM_BYTES + len(item) for item in own.values())
