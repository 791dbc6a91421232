"""Reads the values of a call's parameters in tags: raw text, which may hold any tag of the format.

A value ends where its closing tag stands before another tag of the call. A closing tag that is missing is borne, and a
whole call within a value is part of the value; the text from such a place on is held back until it is clear what it is.
"""

import re
from typing import Literal

from callwright.dialects.left_over import OPEN, SHUT
from callwright.dialects.raw_call_stream import Doubt, RawCallStream
from callwright.dialects.raw_values import is_text, read_member
from callwright.dialects.tools import Names

FUNCTION = "<function="
FUNCTION_END = "</function>"
PARAMETER = "<parameter="
PARAMETER_END = "</parameter>"
NAMED = re.compile(r"<(?:function|parameter)=[ \t\"']{0,4}([^\n>]{1,256}?)[ \t\"']{0,4}>")
"""Matches the tag of a function or of a parameter, and its name."""
_LONGEST_NAMED = 280
_NAMED_PART = re.compile(r"<(?:function|parameter)=[^\n>]*\Z")
OF_CALL = (PARAMETER, PARAMETER_END, FUNCTION, FUNCTION_END, OPEN, SHUT)
"""The tags of a call."""
_IN_VALUE = re.compile(rf"{PARAMETER_END}|{FUNCTION_END}|{SHUT}|{OPEN}|{FUNCTION}|^{PARAMETER}", re.MULTILINE)
_AHEAD = re.compile(rf"\s{{0,64}}({'|'.join(OF_CALL)}|)")

Verdict = Literal["unknown", "text", "end", "weak", "call"]
"""What a tag in a value is: not known yet, text, the value's end, its end if no better one comes, or another call's."""


class QwenXmlValues(RawCallStream):
    """Reads the values of a call; a subclass says what stands around them."""

    def __init__(self, names: Names, *, eager: bool, opened: bool = False) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._bears_calls = True
        """Whether a call that opens within a value may be part of it; not once such a value never ended."""
        self._is_wrapped = False
        """Whether `<tool_call>` stands before the function."""
        self._given: set[str] = set()
        """Keys of the parameters that were read."""
        self._line_end = ""
        """The line end that was read last of a value that is sent: it may be the format's."""
        self._line_break = "\n"
        """The line end that stands before the value, and behind it."""
        self._nested: Doubt | None = None
        """Where a call within the value begins, or the next call if the value never ends."""
        self._depth = 0
        """Calls within the value that are open."""

    def _read_function(self) -> bool:
        """Reads what stands between parameters."""
        raise NotImplementedError

    def _break_off(self) -> None:
        """The call is not complete, and the text that follows no part of it."""
        raise NotImplementedError

    def _ahead(self, start: int) -> tuple[str | None, int]:
        """Return the tag of a call that follows after white space, empty where none does, and where; None where it is
        not known yet.
        """
        found = _AHEAD.match(self._buffer, start)
        assert found is not None
        place = found.start(1)
        is_begun = self._may_be_named(place) if found[1] else self._may_become(place, *OF_CALL)
        return (None if is_begun else found[1]), place

    def _may_be_named(self, start: int) -> bool:
        """Return whether what stands there is the tag of a function or a parameter whose name has not ended."""
        rest = self._buffer[start : start + _LONGEST_NAMED]
        return not self._ended and len(rest) < _LONGEST_NAMED and _NAMED_PART.match(rest) is not None

    def _begin_value(self, named: re.Match[str]) -> None:
        self._raw.append(self._take(named.end()))
        self._key = named[1]
        self._begin_member(is_sent=self._tool is not None and is_text(self._key, self._tool))
        self._line_end = ""
        self._nested, self._depth = None, 0
        self._step = self._open_value

    def _open_value(self) -> bool:
        """Reads the line end that the format puts before a value."""
        rest = self._buffer[self._position : self._position + 2]
        if rest in ("", "\r") and not self._ended:
            return False
        self._line_break = "\r\n" if rest == "\r\n" else "\n"
        if rest.startswith(self._line_break):
            self._raw.append(self._take(self._position + len(self._line_break)))
        self._value = len(self._raw)
        self._step = self._read_value
        return True

    def _read_value(self) -> bool:
        found = _IN_VALUE.search(self._buffer, self._position)
        if found is None:
            self._keep(self._up_to(*OF_CALL))
            return self._ended and self._end_openly()
        self._keep(found.start())
        verdict, end = self._judge(found[0], found.start(), found.end())
        match verdict:
            case "unknown":
                return False
            case "end":
                self._end_value()
                self._raw.append(self._take(end))
            case "call" if self._weak:
                self._end_weakly(self._weak)
            case "call" if not self._bears_calls:
                self._break_off()
            case "call":
                self._nested = self._nested or self._doubt()
                self._depth += 1
                self._keep(end)
            case "weak":
                self._weak = self._weak or self._doubt()
                self._keep(end)
            case "text":
                self._keep(end)
        return True

    def _judge(self, tag: str, start: int, end: int) -> tuple[Verdict, int]:
        """Return what a tag in a value is, and up to where it is read."""
        begins_line = self._buffer[start - 1] == "\n"
        if tag in (PARAMETER, FUNCTION):
            named = NAMED.match(self._buffer, start)
            if named is None and self._may_be_named(start):
                return "unknown", end
            if tag == PARAMETER:
                return ("end", start) if named and self._is_next(named[1]) else ("text", end)
            opens = named and begins_line and not self._is_wrapped and self._names.exact(named[1])
            return "call" if opens else "text", end
        following, place = self._ahead(end)
        if following is None:
            return "unknown", end
        closed = place + len(following)
        if tag == OPEN:
            return ("call", closed) if following == FUNCTION else ("text", end)
        if self._depth:
            closes = tag == FUNCTION_END and (following == SHUT or not self._is_wrapped)
            self._depth -= closes
            return "text", closed if closes and following == SHUT else end
        if tag == SHUT:
            return "weak" if begins_line else "text", end
        if tag == PARAMETER_END and following == FUNCTION_END and self._is_wrapped:
            following, place = self._ahead(closed)
            if following is None:
                return "unknown", end
            return ("end", end) if self._closes(following, place) else ("weak", closed)
        closes = self._closes(following, place)
        if tag == PARAMETER_END:
            return "end" if closes or following in (PARAMETER, FUNCTION_END) else "text", end
        return "weak" if closes or (begins_line and not self._is_wrapped) else "text", end

    def _closes(self, following: str, place: int) -> bool:
        """Return whether a call has ended before what follows."""
        return following in (SHUT, OPEN, FUNCTION) or (self._ended and place == len(self._buffer))

    def _is_next(self, key: str) -> bool:
        """Return whether a parameter's tag at a line start, before which no other was closed, is a parameter's."""
        if self._depth or self._tool is None or key == self._key or key in self._given:
            return False
        return key in self._tool.properties

    def _keep(self, end: int) -> None:
        """Reads more of the value."""
        text = self._take(end)
        if text and self._is_sent and not self._weak and not self._nested:
            self._send(text)
        elif text:
            self._raw.append(text)

    def _send(self, text: str, *, ends: bool = False) -> None:
        """Emits more of the value, but for a line end behind it; it is the format's where the value `ends` there."""
        assert self._writer is not None
        text = self._line_end + text
        kept = text.removesuffix(self._line_break)
        if kept == text and not ends and self._line_break == "\r\n":
            kept = text.removesuffix("\r")
        self._line_end = text[len(kept) :]
        self._emit_arguments(self._writer.text(kept))

    def _end_value(self) -> None:
        """Reads the value that was kept, up to the tag that ends it."""
        text = "".join(self._raw[self._value :])
        self._given.add(self._key)
        self._step = self._read_function
        if self._is_sent and self._writer:
            self._send(text, ends=True)
            self._emit_arguments(self._writer.end_text())
        elif self._tool:
            self._put(read_member(text.removesuffix(self._line_break), self._key, self._tool))

    def _end_weakly(self, end: Doubt) -> None:
        self._take_back(end)
        self._nested, self._depth = None, 0
        self._end_value()

    def _end_openly(self) -> bool:
        """The turn has ended within the value: what was in doubt is read once more."""
        if self._weak:
            self._end_weakly(self._weak)
        elif self._nested and self._bears_calls:
            self._take_back(self._nested)
            self._nested, self._depth = None, 0
            self._bears_calls = False
        else:
            self._break_off()
        return True
