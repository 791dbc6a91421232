"""Server-sent events: bytes in any pieces become whole events, with bounded memory.

Knows the wire format only.
"""

import json
from typing import Any

from callwright.errors import Unavailable

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode
BEGIN, END = b"data: ", b"\n\n"
LONGEST_EVENT = 4 * 1024**2
"""Bytes of an event; an engine that sends more is broken."""


class EventReader:
    """Splits a stream at its line ends; comments and fields other than `data` are dropped."""

    def __init__(self) -> None:
        self.rest = b""
        """The beginning of a line."""

    def feed(self, piece: bytes) -> list[bytes]:
        """The `data` of each event that `piece` ends. Raises `Unavailable` for one without end."""
        if not self.rest and piece.startswith(BEGIN) and piece.find(b"\n") == len(piece) - 2 and piece.endswith(END):
            return [piece[len(BEGIN) :].strip()]  # one event by itself, as engines send them
        lines = (self.rest + piece if self.rest else piece).split(b"\n")
        self.rest = lines.pop()
        if len(self.rest) > LONGEST_EVENT:
            raise Unavailable("the engine sent an event without end")
        # Every event of an OpenAI stream is one line of data, so a line is an event.
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def loads(data: bytes) -> Any:
    """`json.loads` of an event's data, which bears no space around it: two thirds of the time. Raises `ValueError`."""
    text = data.decode("utf-8", "surrogatepass")
    found, end = _decode(text)
    if end != len(text):
        raise ValueError("more than one JSON value")
    return found


def dumps(value: Any) -> bytes:
    """`json.dumps` without spaces, in UTF-8."""
    return _encode(value).encode("utf-8", "replace")


def event(data: bytes) -> bytes:
    """One event on the wire."""
    return BEGIN + data + END


def typed(kind: str, data: dict[str, Any]) -> bytes:
    """One event with a name."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps(data))


def parsed(piece: bytes) -> dict[str, Any]:
    """The JSON object of one event on the wire; an error for what is none."""
    try:
        found = loads(piece[len(BEGIN) : -len(END)])
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"error": {"message": "the engine sent an event that is not JSON"}}


KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
