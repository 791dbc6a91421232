"""Finds where a JSON object ends, in a stream and in a whole text, also one that is not quite JSON.

Understands brackets and quotes only; what the object means is for `callwright.dialects.literals` to read.
"""

import json
import re
from typing import Literal

from callwright.dialects.literals import MAX_DEPTH, NEXT_ARGUMENT

# A quote inside a string is a closing one only where a value can end. Strict JSON and Python's own repr never break
# this rule; `'it's fine'` and `"he said "hi""` become readable by it.
_AFTER_STRING = ",:}])\r\n"
_SPACES = re.compile(r"[ \t]*+")
_SPACE = re.compile(r"\s*+")
_IN_STRING = {quote: re.compile(rf"[\\{quote}]") for quote in "\"'”"}
_AFTER_TRIPLE = ",:}])"
"""After three quotes a line end is no end of the value: code has strings of its own in three quotes."""
_QUOTES = {quote: re.compile(rf"{quote}*+") for quote in "\"'"}
_STRICT_START = re.compile(r'\{\s*+["}]')
_OPENS = {"{": "}", "[": "]", "(": ")", "（": "）"}


MOST_MISSING = 2
"""Closing brackets that may be missing where a call ends all the same: a slip of small models."""


def outside(halt: str) -> re.Pattern[str]:
    """Makes the pattern of what matters outside strings: quotes, brackets, and `halt`, which matches where to halt."""
    return re.compile(rf"[\"'“{{}}\[\]]|{halt}")


_next_argument = re.compile(NEXT_ARGUMENT).match
_may_be_next_argument = re.compile(r"\s{0,64}(?:[^\W\d][\w$-]{0,64}\s{0,8})?").fullmatch
_PLAIN = json.JSONDecoder(strict=False)


class ObjectScanner:
    """Finds the end of one object in a stream, in linear time; what it remembers is the nesting alone.

    `outside`, which the function of that name makes, tells what matters outside strings; where the object may have been
    broken off, the scanner halts. With `inside` it begins after the opening brace; with `call` the brackets are those
    of a call, in which a comma ends a string only before a further argument.
    """

    __slots__ = (
        *("_call", "_waits"),
        *("_closing", "_escaped", "_opening", "_outside", "_owed", "_quote", "_run", "_stack", "_triple"),
        *("state", "too_deep"),
    )

    def __init__(self, outside: re.Pattern[str], *, inside: bool = False, call: bool = False) -> None:
        self._outside = outside
        self._call = call
        self._waits = False
        """Whether it stands before a comma, and what follows is to tell whether a string ends there."""
        self._stack: list[str] = ["}"] if inside else []
        self._owed = {"}": len(self._stack), "]": 0, ")": 0, "）": 0}
        self._quote = ""
        self._opening = 0
        """Quotes in a row that the string opened with, until another character comes: three make it a triple one."""
        self._triple = False
        self._run = 0
        """Quotes in a row that were just read inside a triple string."""
        self._escaped = False
        self._closing = False
        self.state: Literal["open", "done", "halted"] = "open"
        self.too_deep = False

    @property
    def missing(self) -> str:
        """The closing brackets that are still owed; empty inside a string, which nothing can complete."""
        return "" if self._quote else "".join(reversed(self._stack))

    @property
    def is_in_triple(self) -> bool:
        """Whether it is in a string of three quotes, which goes over lines."""
        return self._triple

    def scan(self, text: str, start: int, end: int | None = None) -> int:
        """Reads on from `start`, to `end` at most; sets `state` and returns the index up to which it has read."""
        self.state = "open"
        if not self._stack and not self._quote and (whole := _strict_end(text, start)):
            self.state = "done"
            return whole
        position, end = start, len(text) if end is None else end
        while position < end:
            if self._quote:
                position = self._scan_string(text, position, end)
                if self._waits:
                    self._waits = False
                    return position
                continue
            found = self._outside.search(text, position, end)
            if found is None:
                return end
            position = found.end()
            character = found[0]
            if character in "\"'":
                self._quote = character
                self._opening = 1
            elif character == "“":
                self._quote = "”"
            elif character in _OPENS:
                self._stack.append(_OPENS[character])
                self._owed[_OPENS[character]] += 1
                self.too_deep = self.too_deep or len(self._stack) > MAX_DEPTH
            elif character in self._owed:
                self._shut(character)
                if not self._stack:
                    self.state = "done"
                    return position
            else:
                self.state = "halted"
                return position
        return position

    def _shut(self, bracket: str) -> None:
        """Closes the innermost bracket of this kind, and with it those inside that were never closed."""
        while self._owed[bracket]:
            closed = self._stack.pop()
            self._owed[closed] -= 1
            if closed == bracket:
                return

    def _scan_string(self, text: str, position: int, end: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        if self._opening:
            if text[position] == self._quote:
                self._opening += 1
                self._closing = self._opening == 2
                self._triple = not self._closing
                self._opening %= 3
                return position + 1
            self._opening = 0
        if self._triple:
            return self._scan_triple(text, position, end)
        if self._closing:
            spaces = _SPACES.match(text, position, end)
            position = spaces.end() if spaces else position
            if position == end:
                return end
            if self._call and text[position] == "," and _may_be_next_argument(text, position + 1, end):
                self._waits = True
                return position
            self._closing = False
            if (text[position] in _AFTER_STRING and not self._call) or self._ends_string(text, position, end):
                self._quote = ""
                return position
        found = _IN_STRING[self._quote].search(text, position, end)
        if found is None:
            return end
        if found[0] == "\\":
            self._escaped = True
        elif found[0] == "”":
            self._quote = ""
        else:
            self._closing = True
        return found.end()

    def _ends_string(self, text: str, position: int, end: int) -> bool:
        """Return whether a quote is a closing one where this follows."""
        character = text[position]
        if self._call and character == ",":
            return _next_argument(text, position + 1, end) is not None
        if character in _AFTER_STRING:
            return True
        halt = self._outside.match(text, position, end)
        return halt is not None and len(halt[0]) > 1

    def _scan_triple(self, text: str, position: int, end: int) -> int:
        if self._run:
            found = _QUOTES[self._quote].match(text, position, end)
            self._run += found.end() - position if found else 0
            position = found.end() if found else position
            if position == end:
                return end
            self._closing = self._run >= 3
            self._run = 0
        if self._closing:
            spaces = _SPACE.match(text, position, end)
            position = spaces.end() if spaces else position
            if position == end:
                return end
            self._closing = False
            if text[position] in _AFTER_TRIPLE:
                self._quote = ""
                self._triple = False
                return position
        found = _IN_STRING[self._quote].search(text, position, end)
        if found is None:
            return end
        if found[0] == "\\":
            self._escaped = True
        else:
            self._run = 1
        return found.end()


def _strict_end(text: str, start: int) -> int:
    """Return where the object of strict JSON ends that opens at `start`; 0 where none does, or one that is deep."""
    if not _STRICT_START.match(text, start):
        return 0
    try:
        _, end = _PLAIN.raw_decode(text, start)
    except (ValueError, RecursionError):
        return 0
    return end if text.count("[", start, end) + text.count("{", start, end) <= MAX_DEPTH else 0
