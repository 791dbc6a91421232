"""Reads the ReAct family's text as a stream: its prose, its calls and their inputs.

    Action: ──► name ──Action Input:──► the input, which `callwright.dialects.react_input` reads

A call may also stand on the line of its name, or name its tool in the object.
"""

import re

from callwright.dialects import markers as m
from callwright.dialects.react_call import NoCall
from callwright.dialects.react_inline import BRACKET, InlineCall
from callwright.dialects.react_input import ReactInput

LONGEST_NAME = 512
"""Characters of an Action line; a longer one is prose."""

_INLINE_INPUT = re.compile(r"[ \t]\**Action[ \t_]?Input[ \t]{0,2}\d{0,3}[*_]{0,2}[:：]", re.IGNORECASE)
_FENCE_LINE = re.compile(r"\s*(?:`{3}|~{3})[A-Za-z0-9_]{0,12}\s*")
_OBJECT = re.compile(r"[ \t*_]*+(?P<object>\{)\s{0,64}+")


class ReactStream(ReactInput):
    """Reads one turn."""

    _inline: InlineCall
    """The call that is being read on its name's line."""

    def _begin_call(self, found: re.Match[str], marker: str) -> None:
        self._call = self._new_call(marker)
        if m.word_of(found) == m.ACTION:
            self._call.marks.append((found.start(), "action"))
            self._step = self._read_name
        else:
            self._call.marks.append((found.start(), "action_input"))
            self._call.tool = self._called
            self._step = self._read_input

    def _read_name(self) -> bool:
        found = self._next_marker()
        if found is True:
            return False
        if found:
            self._step = self._read_after_name
            return True
        start, last = self._position, self._position + LONGEST_NAME
        opening = self._object_here()
        if opening is None:
            return False
        if opening:
            self._call.head.append(self._take(opening))
            self._call.is_named_inside = True
            self._begin_object()
            return True
        newline = self._buffer.find("\n", start, last)
        inline = _INLINE_INPUT.search(self._buffer, start, newline if newline >= 0 else last)
        bracket = BRACKET.search(self._buffer, start, inline.start() if inline else newline if newline >= 0 else last)
        begun = self._call.begin_inline(self._buffer[start : bracket.start()], bracket[0]) if bracket else None
        if bracket is not None and begun is not None:
            self._position = bracket.start()
            self._inline = begun
            self._step = self._read_inline
        elif inline is not None:
            self._call.name = self._buffer[start : inline.start()]
            self._begin_input(inline)
        elif newline >= 0:
            line = self._take(newline)
            self._call.head.append(line)
            if _FENCE_LINE.fullmatch(line):
                self._call.fenced = True
            else:
                self._call.name = line
                self._step = self._read_after_name
        elif len(self._buffer) >= last:
            return self._be_prose(self._call.text)
        else:
            return False
        return True

    def _object_here(self) -> int | None:
        """Return where an object begins that may name the tool; 0 where none does, None where more text must tell."""
        found = _OBJECT.match(self._buffer, self._position)
        if found is None:
            return 0
        if found.end() == len(self._buffer):
            return None
        return found.start("object") if self._buffer[found.end()] in "\"'“" else 0

    def _read_inline(self) -> bool:
        """Reads a call on its name's line, and further lines where its bracket is still open."""
        if self._inline.awaits_line:
            found = self._marker_here()
            if found is True:
                return False
            if found:
                self._end_inline()
                return True
        newline = self._buffer.find("\n", self._position)
        self._inline.add(self._take(newline if newline >= 0 else len(self._buffer)))
        if newline < 0:
            return False
        if self._inline.ends():
            self._end_inline()
        else:
            self._inline.add(self._take(newline + 1))
        return True

    def _end_inline(self) -> None:
        after = self._call.take_inline(self._inline)
        self._step = self._read_after_name
        if after:
            self._end_without_input()
            self._say(after)
            self._line_due = True

    def _read_after_name(self) -> bool:
        found = self._next_marker()
        if found is True:
            return False
        if found and m.word_of(found) == m.ACTION_INPUT:
            self._begin_input(found)
        else:
            self._end_without_input(found or None)
        return True

    def _end_without_input(self, following: re.Match[str] | None = None) -> None:
        """Ends the call; `following` is the marker after it."""
        before_result = following is not None and m.word_of(following) == m.OBSERVATION
        outcome = self._call.without_input(before_result=before_result)
        amid_prose = self._last_said and not self._formatted and not following and self._position < len(self._buffer)
        if outcome is None or (amid_prose and isinstance(outcome, NoCall)):
            self._be_prose(self._call.text)
        else:
            self._conclude(outcome)

    # The end of the turn.

    def _finish(self, rest: str, *, cut: bool) -> None:
        match self._step:
            case self._read_inline:
                self._finish_inline(rest, cut)
            case self._read_name | self._read_after_name:
                self._finish_action(rest, cut)
            case _:
                super()._finish(rest, cut=cut)

    def _finish_inline(self, rest: str, cut: bool) -> None:
        self._inline.add(rest)
        if cut and not self._inline.is_closed:
            self._be_prose(self._call.text + self._call.name + self._inline.text)
        else:
            self._end_inline()
            self._finish("", cut=cut)

    def _finish_action(self, rest: str, cut: bool) -> None:
        call = self._call
        if self._step == self._read_name:
            call.name = rest
            call.head.append(rest)
            rest = ""
        if cut and not call.is_complete:
            self._be_prose(call.text + rest)
            return
        self._end_without_input()
        if not self._is_cut_stop(rest):
            self._say(rest)
