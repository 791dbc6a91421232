"""The stream machinery that every parser shares: the text at hand, what was said, and which calls were made.

Owns the buffer, the order of deltas and the numbering of calls. Knows no marker: a parser is this class with steps of
its own. Each step either reads on and returns True, or returns False when it needs more text; then what it has not
read stays in the buffer. So a result depends on the text alone, not on how it was cut into pieces.
"""

import secrets
from collections.abc import Callable

from callwright.dialects.types import CallDelta, ContentDelta, Delta, MalformedCall

LONGEST_GAP = 256
"""White space before a marker belongs to the marker; of a longer run only this much is held back for it."""


class Stream:
    """Base of the parsers. `_buffer[_position - 1]` is the last character read, so a line start is always known."""

    def __init__(self) -> None:
        self._buffer = "\n"
        self._position = 1
        self._step: Callable[[], bool] = self._text
        self._deltas: list[Delta] = []
        self._said: list[str] = []
        self._spoke = ""
        self._separate = False
        self._next_index = 0

    def feed(self, chunk: str) -> list[Delta]:
        """Takes the next piece; returns what is certain by now."""
        if not chunk:
            return []
        self._buffer += chunk
        while self._step():
            pass
        self._buffer = self._buffer[self._position - 1 :]
        self._position = 1
        return self._flush()

    def passes(self, chunk: str) -> bool:
        """Takes the next piece if all of it is content, and certain; False otherwise, and then nothing is taken."""
        if self._separate or len(self._buffer) > 1 or not chunk or not self._is_prose(chunk):
            return False
        self._buffer = self._spoke = chunk[-1]
        return True

    def close(self, *, cut: bool = False) -> list[Delta]:
        """Ends the turn; returns the rest. `cut`: the length limit ended it, so nothing that is open gets completed."""
        self._finish(cut)
        self._step = self._nothing
        return self._flush()

    def _text(self) -> bool:
        raise NotImplementedError

    def _is_prose(self, chunk: str) -> bool:
        """Whether `chunk`, where nothing is held back, neither is a part of a marker nor may belong to one."""
        raise NotImplementedError

    def _finish(self, cut: bool) -> None:
        raise NotImplementedError

    def _nothing(self) -> bool:
        """Drops what follows: the turn is over."""
        self._position = len(self._buffer)
        return False

    def _flush(self) -> list[Delta]:
        self._end_saying()
        deltas, self._deltas = self._deltas, []
        return deltas

    def _end_saying(self) -> None:
        if self._said:
            self._deltas.append(ContentDelta("".join(self._said)))
            self._said = []

    def _say(self, text: str) -> None:
        """Adds content; pieces that a call or marker parted stand on lines of their own."""
        if not text:
            return
        if self._separate and self._spoke and self._spoke != "\n" and text[0] not in "\r\n":
            self._said.append("\n")
        self._separate = False
        self._said.append(text)
        self._spoke = text[-1]

    def _report(self, gap: str, call: MalformedCall) -> None:
        """Sends a malformed call's text as content, in one delta that names the reason."""
        self._end_saying()
        self._say(gap + call.text)
        self._deltas.append(ContentDelta("".join(self._said), call))
        self._said = []
        self._separate = True

    def _open_call(self, name: str, arguments: str) -> None:
        """Sends a call's first delta."""
        self._end_saying()
        self._deltas.append(CallDelta(self._next_index, f"call_{secrets.token_hex(12)}", name, arguments))
        self._next_index += 1
        self._separate = True

    def _add_arguments(self, arguments: str) -> None:
        """Sends more of the call that was opened last."""
        if arguments:
            self._deltas.append(CallDelta(self._next_index - 1, arguments=arguments))

    def _take(self, end: int) -> str:
        """Reads up to `end`."""
        taken = self._buffer[self._position : end]
        self._position = end
        return taken

    def _break_line(self) -> None:
        """Lets what follows count as the beginning of a line."""
        self._buffer = "\n" + self._buffer[self._position :]
        self._position = 1

    def _before_gap(self, end: int) -> int:
        """Where the white space that ends at `end` begins, LONGEST_GAP before it at most."""
        if end > self._position and not self._buffer[end - 1].isspace():
            return end
        start = max(self._position, end - LONGEST_GAP)
        return start + len(self._buffer[start:end].rstrip())
