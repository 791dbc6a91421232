"""Server-sent events: bytes in any pieces become whole events, with bounded memory, and events become bytes.

Knows the wire format only.
"""

import json
from typing import Any

from callwright.errors import Unavailable

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"[DONE]"
"""The data of the event that ends OpenAI's streams."""
LONGEST_EVENT = 4 * 1024**2
"""Bytes of an event; an engine that sends more is broken."""


class EventReader:
    """Splits a stream at its line ends; comments and fields other than `data` are dropped."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        """The beginning of a line, in the pieces that it came in."""
        self._length = 0

    @property
    def kept(self) -> int:
        """Bytes of an event that has begun."""
        return self._length

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of each event that `piece` ends. Raises `Unavailable` for one without end."""
        if not self._rest and piece.startswith(b"data:") and piece.find(b"\n\n") == len(piece) - 2 == piece.find(b"\n"):
            return [piece[5:].strip()]  # one event by itself, as engines send them
        self._rest.append(piece)
        self._length += len(piece)
        lines: list[bytes] = []
        if b"\n" in piece:
            *lines, rest = b"".join(self._rest).split(b"\n")
            self._rest, self._length = [rest] if rest else [], len(rest)
        if self._length > LONGEST_EVENT:
            raise Unavailable("the engine sent an event without end")
        # Every event of an OpenAI stream is one line of data, so a line is an event.
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def loads(data: bytes) -> Any:
    """Return what `json.loads` does for data without space around it, in two thirds of the time."""
    text = data.decode("utf-8", "surrogatepass")
    found, end = _decode(text)
    if end != len(text):
        raise ValueError("more than one JSON value")
    return found


def dumps(value: Any) -> bytes:
    """Write JSON without spaces, in UTF-8."""
    return _encode(value).encode("utf-8", "replace")


def event(data: bytes) -> bytes:
    """Write one event."""
    return b"data: %b\n\n" % data


def named_event(name: str, data: dict[str, Any]) -> bytes:
    """Write one event with a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(data))
