"""Reads a call that is written on its `Action:` line: `get_weather(city="Oslo")`, `get_weather["Oslo"]`.

Prose has brackets too, so what stands in them must be literals, or all that follows the tool's bare name on its line.
"""

import re

from callwright.dialects.arguments import Fault, read_bare, read_inline
from callwright.dialects.object_scanner import ObjectScanner
from callwright.dialects.tools import Names, Tool

BRACKET = re.compile(r"[(（\[{]")
_SHUT_BY = {"(": ")", "（": "）", "[": "]", "{": "}"}
_OUTSIDE = re.compile(r"[\"'“(（\[{}\]）)]")
_IDENTIFIER = re.compile(r"[^\W\d][\w.\-]*")
_NO_PROSE = re.compile(r"\s*(?:\{|\w+\s*[=:])")
_FURTHER = re.compile(r"(?:[,;&]|and\b)\s*[^\W\d][\w.\-]*[(（\[{]")
_LONGEST_TAIL = 64
"""Characters in which the last bracket has to stand, quotes and backticks behind it included."""
_EDGES = " \t\r\n`*\"'.。"


class InlineCall:
    """The text after a tool's name, from the opening bracket on. `tool` None: an identifier that names no tool."""

    def __init__(self, tool: Tool | None, *, named_alone: bool) -> None:
        self.tool = tool
        self._named_alone = named_alone
        """Nothing but the tool's name stands before the bracket."""
        self._parts: list[str] = []
        self._length = 0
        self._tail = ""
        self._end = 0
        """Where the bracket is closed; 0 while it is not."""
        self._scanner = ObjectScanner(_OUTSIDE)

    @property
    def text(self) -> str:
        """All of it, verbatim."""
        return "".join(self._parts)

    def add(self, piece: str) -> None:
        """Takes more text."""
        self._parts.append(piece)
        if not self._end:
            read = self._scanner.scan(piece, 0)
            self._end = self._length + read if self._scanner.state == "done" else 0
        self._length += len(piece)
        self._tail = (self._tail + piece)[-_LONGEST_TAIL:]

    @property
    def is_closed(self) -> bool:
        """Whether its bracket is closed."""
        return bool(self._end)

    @property
    def awaits_line(self) -> bool:
        """Whether the next line belongs to it, if that is no marker."""
        return self._tail.endswith("\n")

    def ends(self) -> bool:
        """Return whether the call ends with the line that was read last."""
        if self._end or not self._named_alone or self.tool is None:
            return True
        return self._closes_line() and not self._scanner.is_in_triple

    def read(self) -> tuple[str | Fault, str] | None:
        """Return the arguments, and the text after them; None where this is prose."""
        text = self.text
        inside = text[: self._end] if text[0] == "{" else text[1 : self._end - 1]
        after = text[self._end :].strip(_EDGES)
        if self.tool is None:
            return (Fault("unknown tool"), "") if self._closes_line() else None
        is_literal = self._named_alone or _NO_PROSE.match(inside)
        if self._end and is_literal and (literal := read_inline(inside, self.tool)) is not None:
            return (Fault("more than one call on the line"), "") if _FURTHER.match(after) else (literal, after)
        if not self._named_alone:
            return None
        if self._closes_line() and not self._scanner.is_in_triple:
            return read_bare(text.rstrip(_EDGES)[1:-1], self.tool), ""
        return None if self._end else (Fault("the arguments are not complete"), "")

    def _closes_line(self) -> bool:
        return self._tail.rstrip(_EDGES).endswith(_SHUT_BY[self._parts[0][0]])


def begin(before: str, bracket: str, names: Names, closing_tool: Tool | None) -> InlineCall | None:
    """Return the call that a bracket after this text opens; None where the text names nothing that could be called."""
    adjoins = bracket == "{" or not before[-1:].isspace()
    tool = closing_tool or names.exact(before)
    if tool is not None:
        return InlineCall(tool, named_alone=adjoins)
    named = [tool for word in before.split() if names.known and (tool := names.exact(word)) is not None]
    if len(named) == 1:
        return InlineCall(named[0], named_alone=False)
    return InlineCall(None, named_alone=False) if adjoins and _IDENTIFIER.fullmatch(before.strip(" \t`*\"'")) else None
