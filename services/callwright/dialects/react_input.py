"""Reads the input of a ReAct call as a stream: an object, or anything else up to the next marker.

    Action Input: ──► object or bare input ──► call, or content with the reason why it is none

A call is emitted once its arguments are complete and valid, or eagerly, as they come.
"""

import re

from callwright.dialects import left_over
from callwright.dialects import markers as m
from callwright.dialects.arguments import Fault
from callwright.dialects.react_call import Answer, Arguments, NoCall, Outcome, PendingCall
from callwright.dialects.react_prose import SPACE, ReactProse
from callwright.dialects.tools import Names, Tool

_FENCE = re.compile(r"`{1,3}(?:[A-Za-z0-9_]{0,12})\s{0,8}")
_FURTHER = re.compile(r"(?:[,;]\s{0,64})?(?P<object>\{\s{0,64}(?P<quote>[\"'“])?)?")
_JUNK = re.compile(r"[ \t}\])`]*")


class ReactInput(ReactProse):
    """Reads one turn, all but the names of its calls. `closing_tool` is ToolBench's Finish, whose answer is content."""

    def __init__(
        self,
        markers: m.Markers,
        names: Names,
        *,
        eager: bool,
        opened: bool = False,
        closing_tool: Tool | None = None,
        with_results: bool = False,
    ) -> None:
        super().__init__(markers, opened=opened, with_results=with_results)
        self._names = names
        self._closing_tool = closing_tool
        self._eager_allowed = eager
        self._no_call = self._call = self._new_call("")
        self._may_be_broken_off = False
        self._may_stream = False
        """Whether that is still to be decided."""

    def _new_call(self, marker: str) -> PendingCall:
        return PendingCall(self._names, self._closing_tool, marker)

    def _skip_blank(self) -> bool:
        """Reads white space up to the next line that has text, its indentation excepted; False at the end."""
        end = self._end_of(SPACE)
        line = self._buffer.rfind("\n", self._position, end) + 1
        indent = end - max(line, self._position)
        if indent > 8:
            line = end - 1  # no marker follows; an Action Input on this line needs a space before it
        if line > self._position:
            self._call.head.append(self._take(line))
        return end < len(self._buffer)

    def _next_marker(self) -> re.Match[str] | bool | None:
        """Skips blank lines; the marker that follows, None when there is none, True when more text must tell."""
        return self._marker_here() if self._skip_blank() else True

    def _marker_here(self) -> re.Match[str] | bool | None:
        """Return the same without skipping."""
        if self._buffer[self._position - 1] != "\n":
            return None
        found = self._markers.head(self._buffer, self._position)
        if found is None and self._markers.partial(self._buffer, self._position):
            return True
        return found

    def _begin_input(self, marker: re.Match[str]) -> None:
        self._call.marks.append((marker.start(), "action_input"))
        self._call.head.append(self._take(marker.end()))
        self._call.resolve()
        self._step = self._read_input

    def _read_input(self) -> bool:
        found = self._next_marker()
        if found is True:
            return False
        if found:
            self._conclude(self._call.with_bare())
            return True
        start = self._end_of(SPACE)
        if self._buffer[start] == "`":
            fence = _FENCE.match(self._buffer, start)
            start = fence.end() if fence else start
            if start == len(self._buffer):
                return False
            self._call.fenced = self._buffer[start] == "{"
        if self._buffer[start] != "{":
            self._step = self._read_bare_input
            return True
        self._call.head.append(self._take(start))
        self._begin_object()
        return True

    def _begin_object(self) -> None:
        self._may_be_broken_off = self._call.is_streaming = False
        self._may_stream = self._eager_allowed and self._call.may_stream
        self._step = self._read_object

    def _read_bare_input(self) -> bool:
        found = self._markers.search(self._buffer, self._position)
        if found is not None:
            self._call.body.append(self._take(found.start()))
            self._conclude(self._call.with_bare())
            return True
        self._call.body.append(self._take(self._before_part_of_marker()))
        return False

    def _read_object(self) -> bool:
        if self._may_be_broken_off:
            found = self._marker_here()
            if found is True:
                return False
            self._may_be_broken_off = False
            if found:
                self._end_object(self._call.broken_off(": a marker follows"))
                return True
        scanner = self._call.scanner
        self._stream_arguments(self._take(scanner.scan(self._buffer, self._position)))
        match scanner.state:
            case "done":
                self._end_object(None)
                return True
            case "halted":
                self._may_be_broken_off = True
                return True
            case _:
                return False

    def _stream_arguments(self, piece: str) -> None:
        """Eager: emits arguments as they come, once they are seen to be an object of strict JSON."""
        if self._call.is_streaming:
            self._emit_arguments(piece)
            return
        call = self._call
        call.body.append(piece)
        if not self._may_stream:
            return
        second = (piece[1:] if len(call.body) == 1 else piece).lstrip()
        if second:
            self._may_stream = False
            if second[0] in '"}' and call.tool is not None:
                self._call.is_streaming = self._seen_call = True
                self._emit_call(call.tool.name, "".join(call.body))

    def _end_object(self, fault: Outcome | None) -> None:
        if self._call.is_streaming:
            self._after_call()
        else:
            self._conclude(fault or self._call.with_object())

    def _conclude(self, outcome: Outcome) -> None:
        """Emits the call, or its text as content with the reason why it is none."""
        self._seen_call = self._formatted = True
        self._marks += self._call.marks
        match outcome:
            case Arguments(json):
                self._emit_call(self._call.tool.name if self._call.tool else "", json)
                self._after_call()
            case NoCall():
                self._line_due = True
                self._after_call()
            case Answer(text):
                self._line_due = True
                self._say(text)
                self._line_due = True
                self._after_call()
            case Fault():
                self._emit_malformed(self._call.malformed(outcome), gap=self._gap)
                self._after_marker = SPACE
                self._step = self._skip_left_over if self._in_fence else self._resume

    def _after_call(self) -> None:
        self._called = self._call.tool if self._call.may_stream else None
        self._in_fence = self._in_fence or self._call.fenced or left_over.has_fence(self._gap)
        self._after_marker = SPACE
        self._call = self._no_call
        self._step = self._skip_junk

    def _skip_junk(self) -> bool:
        """Drops brackets and fences that a model closes once too often, on the call's own line."""
        junk = self._take(self._end_of(_JUNK))
        self._in_fence = self._in_fence and "`" not in junk
        if self._position == len(self._buffer):
            return False
        self._step = self._skip_left_over
        return self._skip_left_over()

    def _end_left_over(self) -> bool:
        """A second object behind the input is no prose: which of them the model meant is not to be known."""
        may_follow = self._called is not None and self._buffer[self._position] in ",;{"
        further = _FURTHER.match(self._buffer, self._position) if may_follow else None
        if further is None or (not further["quote"] and further.end() < len(self._buffer)):
            return super()._end_left_over()
        if not further["quote"]:
            return False
        self._call = self._new_call(self._take(further.start("object")))
        self._call.tool, self._call.is_further = self._called, True
        self._gap = ""
        self._begin_object()
        self._may_stream = False
        return True

    # The end of the turn.

    def _finish(self, rest: str, *, cut: bool) -> None:
        match self._step:
            case self._read_input | self._read_bare_input:
                self._finish_input(rest, cut)
            case self._read_object:
                self._finish_object(rest, cut)
            case _:
                super()._finish(rest, cut=cut)

    def _finish_input(self, rest: str, cut: bool) -> None:
        call = self._call
        text = "".join(call.body) + rest
        if cut:
            self._be_prose("".join(call.head) + text)
            return
        line = text.rstrip().rfind("\n") + 1
        if (line or not call.body) and m.is_cut_stop(text[line:].strip()):
            text = text[:line]
        call.body = [text]
        self._conclude(call.with_bare())

    def _finish_object(self, rest: str, cut: bool) -> None:
        if self._call.is_streaming:
            self._emit_arguments(rest)
            return
        self._call.body.append(rest)
        if cut:
            self._be_prose(self._call.text)
        else:
            self._conclude(self._call.broken_off(""))
