"""How many tokens an answer had, as its bytes say in any API's words; and a stream without the event that says it.

Both take pieces of any size. Know JSON and server-sent events; nothing of HTTP.
"""

import json
import re
from typing import Any

_tells = re.compile(rb'(?<!\\)"usage"\s{0,4}:\s{0,4}\{').search
"""Within a text of the answer the quotes would be escaped."""
_begins = re.compile(rb"[ \t\r\n]*\{(?!\x00)").match
"""An object in UTF-8."""
KEY = b'"usage"'
_TAIL = 16
"""Bytes within which what is searched may have begun."""
LONGEST = 4096
"""Bytes of an event that tells the usage, or of the object, and what may follow it in a stream."""
_MOST_TOKENS = 10**9
_decode = json.JSONDecoder().raw_decode


class UsageReader:
    """Reads `prompt` and `completion` out of an answer, the most that it says of each; 0 where it says nothing."""

    def __init__(self) -> None:
        self.prompt = self.completion = 0
        self._rest = b""

    @property
    def is_between(self) -> bool:
        """Nothing has begun that what comes next could end."""
        return not self._rest

    def feed_stream(self, piece: bytes) -> None:
        """Take the next piece of a stream, in which the usage comes last: it is looked for in the piece's end."""
        if self._rest or not piece.endswith(b"\n") or piece.find(KEY, -LONGEST) >= 0:
            if len(piece) > LONGEST:
                self._rest, piece = b"", piece[-LONGEST:]
            self.feed(piece)
            if piece.endswith(b"\n"):
                self._rest = b""

    def feed(self, piece: bytes) -> None:
        """Take the next piece of a whole answer."""
        text = self._rest + piece
        if KEY not in text:
            self._rest = text[-_TAIL:]
            return
        at = 0
        while found := _tells(text, at):
            start = found.end() - 1
            written = text[start : start + LONGEST]
            try:
                self.note(_decode(written.decode("utf-8", "replace"))[0])
            except (ValueError, RecursionError):
                if len(written) < LONGEST:  # it goes on in the next piece
                    self._rest = text[found.start() :]
                    return
            at = start + 1
        self._rest = text[max(at, len(text) - _TAIL) :]

    def note(self, usage: Any) -> None:
        """Take a `usage` object: OpenAI's, Anthropic's or that of the Responses API."""
        if isinstance(usage, dict):
            self.prompt = max(self.prompt, *(_count(usage.get(key)) for key in ("prompt_tokens", "input_tokens")))
            written = (_count(usage.get(key)) for key in ("completion_tokens", "output_tokens"))
            self.completion = max(self.completion, *written)


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0


class WithoutUsage:
    """Takes the last event out of a stream, which tells the usage and nothing else, for a client that did not ask."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_within = False
        """The next bytes go on with a line that was passed on in part."""
        self._has_dropped = False
        """The line before was taken out, with the empty one that follows."""

    @property
    def is_between(self) -> bool:
        """All that came was passed on, and what comes next is a line."""
        return not self._rest and not self._is_within and not self._has_dropped

    def feed(self, piece: bytes) -> bytes:
        """Return what is to be passed on by now."""
        text = self._rest + piece
        end = text.rfind(b"\n") + 1
        whole, self._rest = text[:end], text[end:]
        out: list[bytes] = []
        if whole and not self._is_within and not self._has_dropped and whole.find(KEY, -LONGEST) < 0:
            out, whole = [whole], b""
        for line in whole.split(b"\n")[:-1]:
            if not self._is_within and self._drops(line):
                continue
            self._is_within = False
            out.append(line + b"\n")
        if self._is_within or len(self._rest) > LONGEST:
            out.append(self.rest())
            self._is_within = True
        return b"".join(out)

    def rest(self) -> bytes:
        """Return what has no end yet."""
        rest, self._rest = self._rest, b""
        return rest

    def _drops(self, line: bytes) -> bool:
        if self._has_dropped and not line.strip():
            self._has_dropped = False
            return True
        self._has_dropped = line.startswith(b"data:") and _is_usage(line[5:])
        return self._has_dropped


def _is_usage(data: bytes) -> bool:
    if len(data) > LONGEST or not _tells(data):
        return False
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and event.get("choices") == [] and isinstance(event.get("usage"), dict)


def asking_usage(body: bytes, request: dict[str, Any]) -> bytes | None:
    """Return the body of a `request` for a stream such that the stream tells the usage, to the byte but for that.

    None where it does so by itself, or is to be refused for what it says of it.
    """
    options = request.get("stream_options")
    if not isinstance(options, dict | None) or (options or {}).get("include_usage") is True:
        return None
    begins = _begins(body)
    if begins and "stream_options" not in request:
        comma = b"," if request else b""
        return b"".join((begins[0], b'"stream_options":{"include_usage":true}', comma, body[begins.end() :]))
    return json.dumps(request | {"stream_options": {**(options or {}), "include_usage": True}}).encode()
