"""The base of streams in formats whose values are raw text: nothing is escaped, so where a value ends is told by what
follows it.

What is in doubt is kept in `_raw`, and read once more when it turns out to be something else.
"""

import re
from collections.abc import Callable, Sequence
from typing import ClassVar

from callwright.dialects import left_over
from callwright.dialects.argument_writer import ArgumentWriter
from callwright.dialects.literals import Json
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import MalformedCall

Doubt = tuple[int, str]
"""A place within a value: how much of `_raw` stands before it, and the character before it."""
_LONGEST_TAG = 32


class RawCallStream(Stream):
    """Reads one turn."""

    call_tag: ClassVar[str]
    """What a call opens with."""

    def __init__(self, names: Names, *, eager: bool, opened: bool) -> None:
        super().__init__(opened=opened)
        self._names = names
        self._eager = eager
        self._ended = False
        """Whether no more text comes."""
        self._raw: list[str] = []
        """The call's text, to be content if it is none; of a value that is sent as it comes, what is in doubt."""
        self._fault: MalformedCall | None = None
        """Why it is no call; its text is emitted with it where it ends."""
        self._name = ""
        self._tool: Tool | None = None
        self._members: dict[str, Json] = {}
        self._writer: ArgumentWriter | None = None
        """Writes the arguments of a call that is sent as it comes."""
        self._key = ""
        self._is_sent = False
        """Whether the value is sent as it comes."""
        self._value = 0
        """Where in `_raw` the value begins."""
        self._weak: Doubt | None = None
        """Where the value ends if no better end comes."""
        self._call_start = self._arguments_start = 0
        """Where the segments of the call begin."""

    def _is_prose(self, chunk: str) -> bool:
        is_plain = "<" not in chunk and "`" not in chunk and "~" not in chunk and not chunk[-1].isspace()
        return is_plain and self._step == self._read_prose

    def _say_prose(self, *tags: str) -> bool:
        """Says what is surely prose where no tag was found; a part of one may stand at the end."""
        end = self._before_part_of(*tags)
        within_line = not self._begins_line() and self._buffer.find("\n", self._position - 1) < 0
        self._say(self._take(self._before_gap(end) if within_line else self._before_lead(end)))
        return False

    def _may_become(self, start: int, *tags: str) -> bool:
        """Return whether what stands there may become one of the tags with more text."""
        return not self._ended and any(tag.startswith(self._buffer[start : start + _LONGEST_TAG]) for tag in tags)

    def _up_to(self, *tags: str) -> int:
        """Return up to where the text, in which none of the tags was found, holds none."""
        return len(self._buffer) if self._ended else self._before_part_of(*tags)

    # A call in a thought that never ends.

    def _opens_call(self, start: int) -> bool | None:
        """Return whether a call's tag that ends there opens a call; None where it is not known yet."""
        raise NotImplementedError

    def _read_thought(self) -> bool:
        """Reads reasoning; a call in it, and all behind it, is none if the thought never ends."""
        if self._buffer.find(self.thought_end, self._position) >= 0:
            return super()._read_thought()
        start = self._buffer.find(self.call_tag, self._position)
        opens: bool | None = False
        while start >= 0 and (opens := self._opens_call(start + len(self.call_tag))) is False:
            start = self._buffer.find(self.call_tag, start + 1)
        self._think(self._take(self._before_gap(start if start >= 0 else self._up_to(self.thought_end, self.call_tag))))
        if start >= 0 and opens:
            self._raw = []
            self._weak = self._doubt()
            self._step = self._read_doubtful_thought
        return start >= 0 and opens is True

    def _read_doubtful_thought(self) -> bool:
        found = self._buffer.find(self.thought_end, self._position)
        self._raw.append(self._take(found if found >= 0 else self._up_to(self.thought_end)))
        if found < 0 and not self._ended:
            return False
        assert self._weak is not None
        self._take_back(self._weak)
        if found >= 0:
            self._step = self._read_thought
        else:
            self._mark("text", self._offset + self._position)
            self._line_due = True
            self._step = self._resume
        return True

    # Values.

    def _begin_function(self, name: str, end: int) -> None:
        """Begins a call whose name ends there."""
        self.met_marker = True
        self._raw.append(self._take(end))
        self._tool = self._names.exact(name)
        self._name = self._tool.name if self._tool else name
        self._members, self._writer = {}, None

    def _begin_member(self, *, is_sent: bool) -> None:
        """Begins a member, in a stream that sends arguments as they come."""
        self._is_sent = self._eager and self._tool is not None and is_sent
        self._weak = None
        if not self._eager or self._tool is None:
            return
        begun = self._writer is not None
        self._writer = self._writer or ArgumentWriter()
        written = self._writer.begin_text(self._key) if self._is_sent else ""
        if begun:
            self._emit_arguments(written)
        else:
            self._emit_begun(self._name, written)

    def _put(self, value: Json) -> None:
        """Ends a member that was not sent as it came."""
        self._members[self._key] = value
        if self._writer:
            self._emit_arguments(self._writer.member(self._key, value))

    def _doubt(self) -> Doubt:
        return len(self._raw), self._buffer[self._position - 1]

    def _take_back(self, place: Doubt) -> None:
        """Takes back what was kept from there on, to read it once more."""
        index, before = place
        self._rewind("".join(self._raw[index:]), before)
        del self._raw[index:]
        self._weak = None

    # Where a call ends.

    def _read_non_call(self) -> bool:
        """Reads what is no call, up to where it ends."""
        raise NotImplementedError

    def _read_up_to(self, tag: re.Pattern[str], tags: Sequence[str], then: Callable[[], bool]) -> bool:
        """Reads up to one of the `tags`, which `tag` matches, or to the turn's end; the step `then` follows."""
        found = tag.search(self._buffer, self._position)
        self._raw.append(self._take(found.start() if found else self._up_to(*tags)))
        if found is None and not self._ended:
            return False
        self._step = then
        return True

    def _emit_begun(self, name: str, arguments: str) -> None:
        self._in_fence = self._in_fence or left_over.has_fence(self._gap)
        self._mark_call()
        self._emit_call(name, arguments)

    def _fail(self, reason: str, name: str | None = None) -> None:
        """What is read is no call; one that was sent stays so."""
        self._fault = None if self._writer else MalformedCall("", reason, name or None)
        self._step = self._read_non_call

    def _mark_call(self) -> None:
        self._mark("action", self._call_start)
        if self._arguments_start:
            self._mark("action_input", self._arguments_start)

    def _emit_fault(self) -> None:
        if self._fault is not None:
            self._mark_call()
            text = "".join(self._raw).rstrip()
            self._emit_malformed(MalformedCall(text, self._fault.reason, self._fault.name), gap=self._gap)
            self._fault = None

    def _close_call(self, shut: str, junk: int) -> bool:
        """Reads the tag that closes a call, where it is there; what is left over before it ends at `junk`."""
        self._raw.append(self._take(junk))
        if self._may_become(self._position, shut):
            return False
        if self._buffer.startswith(shut, self._position):
            self._raw.append(self._take(self._position + len(shut)))
        self._step = self._skip_left_over if self._fault is None or self._in_fence else self._resume
        self._emit_fault()
        self._line_due = True
        return True

    def _finish(self, rest: str, *, cut: bool) -> None:
        if not cut and self._step != self._read_after_fence:
            self._ended = True
            self._position -= len(rest)
            while self._step():
                pass
            rest = self._take(len(self._buffer))
        match self._step:
            case self._read_prose:
                self._finish_text(rest)
            case self._read_thought:
                self._think(rest.rstrip())
            case self._read_doubtful_thought:
                self._think(("".join(self._raw) + rest).rstrip())
            case self._skip_left_over | self._read_after_fence:
                self._finish_left_over(rest)
            case self._resume | self._open_thought | self._skip_all:
                pass
            case _ if self._fault is not None:
                self._raw.append(rest)
                self._emit_fault()
            case _:
                self._finish_call(rest)

    def _finish_call(self, rest: str) -> None:
        """Ends a call that the length has cut."""
        if self._writer is None:
            self._say(self._gap + "".join(self._raw) + rest)
