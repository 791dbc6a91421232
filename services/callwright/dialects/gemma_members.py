"""Reads the members of a call as Gemma writes them: bare keys, and text between delimiters of its own.

Nothing is escaped, so text may hold its delimiter: it ends where another member or the end of the call follows. JSON's
and Python's quotes, `=` for a colon and text without any quotes are read too. An eager reader gets text as it comes.
"""

import re
from typing import ClassVar, Literal

from callwright.dialects.gemma_literal import read_gemma
from callwright.dialects.gemma_tokens import GEMMA_4, Tokens
from callwright.dialects.literals import literal_or_text
from callwright.dialects.object_scanner import MOST_MISSING
from callwright.dialects.raw_call_stream import Doubt, RawCallStream
from callwright.dialects.raw_values import convert_member, is_text, read_member
from callwright.dialects.tools import Names

_SPACE = re.compile(r"\s*")
_OPENS = {"{": "}", "[": "]", "(": ")"}

Verdict = Literal["unknown", "text", "end", "weak"]


class GemmaMembers(RawCallStream):
    """Reads the members of a call; a subclass says what stands around them."""

    tokens: ClassVar[Tokens] = GEMMA_4

    def __init__(self, names: Names, *, eager: bool, opened: bool = False) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._quote = ""
        """What the text that is being read ends with; empty outside text."""
        self._stack: list[str] = []
        """The closing brackets that are owed within the value."""

    def _end_call(self, start: int) -> None:
        """Ends the arguments, whose brace stands at `start`, or is missing."""
        raise NotImplementedError

    def _break_off(self) -> None:
        """The call is not complete, and the text that follows no part of it."""
        raise NotImplementedError

    def _read_key(self) -> bool:
        found = self.tokens.key.match(self._buffer, self._position)
        if found is None and not self._ended and self.tokens.key_part.match(self._buffer, self._position):
            return False
        start = self._end_of(_SPACE)
        if found:
            key = next(group for group in found.groups() if group is not None)
            self._raw.append(self._take(found.end()))
            self._begin_value(key.strip())
        elif (
            self._buffer[start : start + 1] in ("}", ")")
            or self.tokens.shut == self._buffer[start : start + len(self.tokens.shut)]
        ):
            self._end_call(start)
        elif self._may_become(start, self.tokens.shut):
            return False
        else:
            self._fail("the arguments are not readable", self._name)
        return True

    def _begin_value(self, key: str) -> None:
        known = {name.strip(): name for name in self._tool.properties} if self._tool else {}
        self._key = known.get(key, key)
        self._stack = []
        self._step = self._read_value

    def _read_value(self) -> bool:
        """Sees what kind of value begins."""
        self._raw.append(self._take(self._end_of(_SPACE)))
        if self._may_become(self._position, self.tokens.quote) or self._position == len(self._buffer):
            if not self._ended:
                return False
            self._break_off()
            return True
        self._value = len(self._raw)
        first = self._buffer[self._position]
        mark = self.tokens.quote if self._buffer.startswith(self.tokens.quote, self._position) else first
        if mark in self.tokens.in_text:
            self._raw.append(self._take(self._position + len(mark)))
            self._quote = mark
            self._begin_member(
                is_sent=mark == self.tokens.quote and self._tool is not None and is_text(self._key, self._tool)
            )
            self._value = len(self._raw) if self._is_sent else self._value
            self._step = self._read_text
        elif first in _OPENS:
            self._quote = ""
            self._begin_member(is_sent=False)
            self._step = self._read_container
        else:
            self._begin_member(is_sent=False)
            self._step = self._read_bare
        return True

    def _read_text(self) -> bool:
        """Reads text that is a whole value."""
        mark = self._quote
        found = self.tokens.in_text[mark].search(self._buffer, self._position)
        if found is None:
            self._keep(self._up_to_text(mark))
            return self._ended and self._end_openly()
        self._keep(found.start())
        if found[0] == mark:
            match self._judge(found.end()):
                case "unknown":
                    return False
                case "end":
                    self._end_text()
                    self._raw.append(self._take(found.end()))
                    return True
                case "weak":
                    self._weak = self._weak or self._doubt()
        elif found[0] == self.tokens.open and self._weak:
            self._end_weakly(self._weak)
            return True
        elif found[0][0] in "}]":
            self._weak = self._weak or self._doubt()
        self._keep(found.end())
        return True

    def _up_to_text(self, mark: str) -> int:
        """Return up to where text surely is text: behind it may begin a mark, or the end of a call without one."""
        tokens = self.tokens
        if self._ended:
            return len(self._buffer)
        end = self._before_part_of(tokens.shut, tokens.open, mark if len(mark) > 1 else "\\")
        start = max(self._position, end - 64)
        tail = self._buffer[start:end].rstrip()
        return start + len(tail) - 1 if tail.endswith(("}", "]")) else end

    def _judge(self, end: int) -> Verdict:
        """Return what the mark of a text is that ends there."""
        buffer, tokens = self._buffer, self.tokens
        start = end
        while start < len(buffer) and start - end < 64 and buffer[start].isspace():
            start += 1
        if start == len(buffer):
            return "end" if self._ended else "unknown"
        if buffer[start] == ",":
            if tokens.key.match(buffer, start + 1):
                return "end"
            if not self._ended and tokens.key_part.match(buffer, start + 1):
                return "unknown"
            if buffer[start + 1 : start + 66].lstrip()[:1] != "}":
                return "text"
            start = buffer.index("}", start)
        after = tokens.after.match(buffer, start)
        assert after is not None
        if after[2] in tokens.ends and (after[1] or after[2] != tokens.open):
            return "end"
        if after.end() == len(buffer) and self._ended:
            return "end"
        if self._may_become(after.end(1), *tokens.ends):
            return "unknown"
        return "weak" if "}" in after[1] else "text"

    def _read_container(self) -> bool:
        """Reads a list or an object up to its last bracket."""
        tokens = self.tokens
        if self._quote:
            return self._read_inner_text()
        found = tokens.in_container.search(self._buffer, self._position)
        if found is None:
            self._raw.append(self._take(self._up_to(tokens.quote, tokens.shut, tokens.open)))
            if self._ended:
                self._break_off()
            return self._ended
        mark = found[0]
        self._raw.append(self._take(found.start()))
        if mark in (tokens.shut, tokens.open):
            if mark == tokens.shut and len(self._stack) < MOST_MISSING:
                self._end_container("".join(reversed(self._stack)))
            else:
                self._break_off()
            return True
        self._raw.append(self._take(found.end()))
        if mark in _OPENS:
            self._stack.append(_OPENS[mark])
        elif mark in tokens.in_text:
            self._quote = mark
        elif mark == self._stack[-1]:
            self._stack.pop()
            if not self._stack:
                self._end_container("")
        return True

    def _read_inner_text(self) -> bool:
        """Reads text within a list or an object: a mark ends it where a value can end."""
        mark = self._quote
        found = self.tokens.in_text[mark].search(self._buffer, self._position)
        if found is None:
            self._raw.append(self._take(self._up_to_text(mark)))
            if self._ended:
                self._break_off()
            return self._ended
        if found[0] == mark:
            rest = self._buffer[found.end() : found.end() + 65].lstrip()
            if not rest and not self._ended:
                self._raw.append(self._take(found.start()))
                return False
            if not rest or rest[0] in ",:=]})" or rest.startswith(self.tokens.shut[:2]):
                self._quote = ""
        self._raw.append(self._take(found.end()))
        return True

    def _read_bare(self) -> bool:
        """Reads a value without any quotes."""
        tokens = self.tokens
        found = tokens.in_bare.search(self._buffer, self._position)
        if found is None:
            self._raw.append(self._take(self._up_to(*tokens.ends)))
            if self._ended:
                self._break_off()
            return self._ended
        self._raw.append(self._take(found.start()))
        if found[0] == ",":
            rest = self._buffer[found.end() : found.end() + 65].lstrip()
            if not tokens.key.match(self._buffer, found.end()) and rest[:1] != "}":
                if not self._ended and tokens.key_part.match(self._buffer, found.end()):
                    return False
                self._raw.append(self._take(found.end()))
                return True
        text = "".join(self._raw[self._value :]).strip()
        if self._tool:
            self._put(read_member(text, self._key, self._tool))
        self._step = self._read_after_value
        return True

    def _read_after_value(self) -> bool:
        start = self._end_of(_SPACE)
        if start == len(self._buffer) and not self._ended:
            return False
        if self._buffer.startswith(",", start):
            self._raw.append(self._take(start + 1))
            self._step = self._read_key
        elif self._buffer[start : start + 1] in ("", "}", ")") or self._buffer.startswith(self.tokens.ends, start):
            self._end_call(start)
        elif self._may_become(start, *self.tokens.ends):
            return False
        else:
            self._fail("the arguments are not readable", self._name)
        return True

    def _keep(self, end: int) -> None:
        text = self._take(end)
        if text and self._is_sent and not self._weak and self._writer:
            self._emit_arguments(self._writer.text(text))
        elif text:
            self._raw.append(text)

    def _end_text(self) -> None:
        text = "".join(self._raw[self._value :])
        self._step = self._read_after_value
        if self._is_sent and self._writer:
            self._emit_arguments(self._writer.text(text))
            self._emit_arguments(self._writer.end_text())
        elif self._tool:
            mark = self._quote
            value = text[len(mark) :] if mark == self.tokens.quote else literal_or_text(text + mark)
            self._put(convert_member(value, self._key, self._tool))

    def _end_container(self, missing: str) -> None:
        try:
            value = read_gemma("".join(self._raw[self._value :]) + missing, self.tokens.quote)
        except ValueError as error:
            self._fail(f"the arguments are not readable: {error}", self._name)
            return
        if self._tool:
            self._put(convert_member(value, self._key, self._tool))
        self._step = self._read_after_value

    def _end_weakly(self, place: Doubt) -> None:
        """Ends the text where its mark was missing, or something else than the call's end came behind it."""
        self._take_back(place)
        self._end_text()
        if self._buffer.startswith(self._quote, self._position):
            self._raw.append(self._take(self._position + len(self._quote)))

    def _end_openly(self) -> bool:
        """The turn has ended within a text."""
        if self._weak:
            self._end_weakly(self._weak)
        else:
            self._break_off()
        return True
