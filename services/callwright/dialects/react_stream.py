"""Reads the ReAct family's text as a stream: Thought, Action, Action Input, Observation, Final Answer.

    prose ──Thought:──────► stock thought, dropped ──► prose
          ──Action:───────► name ──Action Input:──► object or bare input ──► call, or content with the reason why not
          ──Final Answer:─► answer, to the end
          ──Question:─────► echo of the question, dropped where a marker follows
          ──Observation:──► a result that the model invented: the rest is dropped

A call is emitted once its arguments are complete and valid, or eagerly, as they come. Only what could still become a
marker is held back.
"""

import re
from collections.abc import Callable

from callwright.dialects import left_over
from callwright.dialects import markers as m
from callwright.dialects.arguments import Fault
from callwright.dialects.react_call import Answer, Arguments, NoCall, Outcome, PendingCall
from callwright.dialects.react_inline import BRACKET, InlineCall
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import THINK

LONGEST_NAME = 512
"""Characters of an Action line; a longer one is prose."""
LONGEST_ECHO = 2000
"""Characters of a `Question:` line at a turn's start that are held back until it is known to be an echo."""
LONGEST_ECHO_GAP = 64
"""Line ends between the echo and the marker after it."""

_INLINE_INPUT = re.compile(r"[ \t]\**Action[ \t_]?Input[ \t]{0,2}\d{0,3}[*_]{0,2}[:：]", re.IGNORECASE)
_FENCE = re.compile(r"`{1,3}(?:[A-Za-z0-9_]{0,12})\s{0,8}")
_FENCE_LINE = re.compile(r"\s*(?:`{3}|~{3})[A-Za-z0-9_]{0,12}\s*")
_OBJECT = re.compile(r"[ \t*_]*+(?P<object>\{)\s{0,64}+")
_FURTHER = re.compile(r"(?:[,;]\s{0,64})?(?P<object>\{\s{0,64}(?P<quote>[\"'“])?)?")
_SPACE = re.compile(r"\s*")
_SPACE_BOLD = re.compile(r"[\s*_]*")
_JUNK = re.compile(r"[ \t}\])`]*")


class ReactStream(Stream):
    """Reads one turn. `closing_tool` is ToolBench's Finish, whose answer is content.

    `with_results`: the text holds results, and turns after them, so it is read to its end.
    """

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
        super().__init__(opened=opened)
        self._markers = markers
        self._names = names
        self._closing_tool = closing_tool
        self._eager_allowed = eager
        self._seen_call = False
        self._formatted = False
        """Whether a marker was read, so that the turn is no plain prose."""
        self._after_marker = _SPACE
        """What is skipped after the newest marker or call."""
        self._called: Tool | None = None
        """The tool that was called last: a second input right behind the first one is its own."""
        self._no_call = self._call = self._new_call("")
        self._inline: InlineCall
        """The call that is being read on its name's line."""
        self._may_be_broken_off = False
        self._may_stream = False
        """Whether that is still to be decided."""
        self._with_results = with_results
        if not opened:
            self._step = self._resume

    def _new_call(self, marker: str) -> PendingCall:
        return PendingCall(self._names, self._closing_tool, marker)

    # Prose, and the markers that lead out of it.

    def _read_prose(self) -> bool:
        buffer, markers = self._buffer, self._markers
        if not self._at_line_start and buffer.find("\n", self._position - 1) < 0:
            self._say_until(self._before_gap(len(buffer)))  # no line begins, so there is no marker
            return False
        found = None
        if self._at_line_start:
            found = markers.head(buffer, self._position)
            if found is None and self._may_be_marker():
                return False
        found = found or markers.search(buffer, self._position)
        if found is not None:
            found = self._first_that_counts(found)
        if found is None:
            self._say_until(self._before_lead(self._before_part_of_marker()))
            return False
        if m.word_of(found) == THINK:
            self._at_think(found.start(), found.end())
            return True
        self._take_lead(found.start())
        self.met_marker = True
        self._at_marker(found)
        return True

    def _first_that_counts(self, found: re.Match[str] | None, end: int | None = None) -> re.Match[str] | None:
        while found is not None and not self._counts(found):
            found = self._markers.search(self._buffer, found.end(), len(self._buffer) if end is None else end)
        return found

    def _find_marker(self, start: int, end: int) -> int:
        found = self._first_that_counts(self._markers.search(self._buffer, start, end), end)
        return found.start() if found else -1

    def _may_be_marker(self) -> bool:
        partial = self._markers.partial(self._buffer, self._position)
        return bool(partial) or (self._seen_call and m.is_cut_stop(self._buffer, self._position) is not None)

    def _before_cut_stop(self) -> int:
        """Return where a stop string may have been cut off, white space behind it; the end where none was."""
        end = len(self._buffer)
        line = self._buffer.rfind("\n", self._position - 1, self._before_gap(end)) + 1
        return line if line and m.is_cut_stop(self._buffer, line) else end

    def _is_prose(self, chunk: str) -> bool:
        if self._step == self._read_prose:
            within_line = not self._at_line_start and self._buffer != "\n" and "\n" not in chunk
            return within_line and not chunk[-1].isspace()
        return self._step == self._read_answer and not self._in_fence

    def _before_part_of_marker(self) -> int:
        """Return where a marker may have begun at the end of the text; the end where none has."""
        end = self._before_cut_stop() if self._seen_call else len(self._buffer)
        line = self._buffer.rfind("\n", self._position - 1) + 1
        return min(line, end) if line and self._markers.partial(self._buffer, line) else end

    def _counts(self, found: re.Match[str]) -> bool:
        """Return whether the marker is one here: Observation only after a call, Question only where the turn begins."""
        match m.word_of(found):
            case m.OBSERVATION:
                return self._seen_call
            case m.QUESTION:
                begun = self._seen_call or self._last_said or self._line_due
                return not begun and not self._buffer[self._position : found.start()].strip()
            case m.ACTION_INPUT:
                follows = self._line_due and not self._buffer[self._position : found.start()].strip()
                return self._called is not None and follows
            case _:
                return True

    def _at_marker(self, found: re.Match[str]) -> None:
        word = m.word_of(found)
        bold = not found[0].lstrip().startswith(found["word"])
        self._after_marker = _SPACE_BOLD if bold else _SPACE
        marker = self._take(found.end())
        match word:
            case m.ACTION:
                self._call = self._new_call(marker)
                self._call.marks.append((found.start(), "action"))
                self._step = self._read_name
            case m.ACTION_INPUT:
                self._call = self._new_call(marker)
                self._call.marks.append((found.start(), "action_input"))
                self._call.tool = self._called
                self._step = self._read_input
            case m.QUESTION:
                self._call = self._new_call(marker)
                self._step = self._read_echo
            case m.OBSERVATION:
                self._mark("observation", found.start())
                self._step = self._read_result if self._with_results else self._skip_all
            case _:
                self._mark("thought" if word == m.THOUGHT else "final", found.start())
                self._in_fence = self._in_fence or left_over.has_fence(self._gap)
                self._line_due = self._formatted = True
                steps = {m.THOUGHT: self._skip_to_thought, m.FINAL_ANSWER: self._skip_to_answer}
                self._step = steps.get(word, self._resume)

    def _read_result(self) -> bool:
        """Drops a result, which ends at the next marker."""
        found = self._markers.search(self._buffer, self._position)
        self._position = found.start() if found else len(self._buffer)
        self._called = None
        self._step = self._read_prose
        return found is not None

    def _skip_to(self, then: Callable[[], bool]) -> bool:
        """Drops the white space after a marker or a call; what comes next stands at a line start."""
        self._at_line_start = True
        if not self._skip(self._after_marker):
            return False
        self._step = then
        return True

    def _resume(self) -> bool:
        return self._skip_to(self._read_prose)

    def _skip_to_answer(self) -> bool:
        return self._skip_to(self._read_answer)

    def _skip_to_thought(self) -> bool:
        return self._skip_to(self._skip_stock_thought)

    def _skip_stock_thought(self) -> bool:
        """Drops `I now know the final answer` where the final answer follows."""
        known = self._markers.stock_thought(self._buffer, self._position)
        if known is None and self._markers.partial_stock_thought(self._buffer, self._position):
            return False
        self._position = known.end() if known else self._position
        self._step = self._read_prose
        return True

    def _read_answer(self) -> bool:
        """After `Final Answer:` all is content, markers too; but not the end of a fence that was opened before."""
        end = len(self._buffer)
        if self._in_fence:
            end = self._before_gap(end)
            start = max(self._position, end - 3)
            end = self._before_gap(start + len(self._buffer[start:end].rstrip("`~")))
        self._say(self._take(end))
        return False

    def _read_echo(self) -> bool:
        """An echo of the user's question is dropped, if a marker follows it; anything else after it makes it
        prose.
        """
        start = self._position
        newline = self._buffer.find("\n", start, start + LONGEST_ECHO)
        if newline < 0:
            if len(self._buffer) - start < LONGEST_ECHO:
                return False
            return self._be_prose(self._call.text)
        end = newline
        while end < len(self._buffer) and end - newline < LONGEST_ECHO_GAP and self._buffer[end] in "\r\n":
            end += 1
        if end == len(self._buffer) or self._markers.partial(self._buffer, end):
            return False
        if self._markers.head(self._buffer, end) is None:
            return self._be_prose(self._call.text)
        self._position = end
        self._at_line_start = True
        self._line_due = True
        self._step = self._read_prose
        return True

    def _be_prose(self, text: str) -> bool:
        """What looked like a marker was none: its text is content."""
        self._say(self._gap + text)
        self._at_line_start = False
        self._step = self._read_prose
        return True

    # An Action: its name, then its input.

    def _skip_blank(self) -> bool:
        """Reads white space up to the next line that has text, its indentation excepted; False at the end."""
        end = self._end_of(_SPACE)
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
        start = self._end_of(_SPACE)
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
                self._after_marker = _SPACE
                self._step = self._skip_left_over if self._in_fence else self._resume

    def _after_call(self) -> None:
        self._called = self._call.tool if self._call.may_stream else None
        self._in_fence = self._in_fence or self._call.fenced or left_over.has_fence(self._gap)
        self._after_marker = _SPACE
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
            case self._read_prose | self._skip_stock_thought:
                self._finish_text(rest)
            case self._read_echo:
                self._say(self._gap + self._call.text + rest)
            case self._read_inline:
                self._finish_inline(rest, cut)
            case self._read_name | self._read_after_name:
                self._finish_action(rest, cut)
            case self._read_input | self._read_bare_input:
                self._finish_input(rest, cut)
            case self._read_object:
                self._finish_object(rest, cut)
            case self._read_thought:
                self._think(rest.rstrip())
            case self._read_answer:
                self._say("" if left_over.has_fence(rest) else rest)
            case self._skip_left_over | self._read_after_fence:
                self._finish_left_over(rest)
            case _:
                pass

    def _finish_text(self, rest: str) -> None:
        dropped_space = self._line_due and not rest.strip()
        cut_marker = self._seen_call and self._at_line_start and self._markers.partial(rest.strip())
        if not dropped_space and not cut_marker and not self._is_cut_stop(rest):
            self._say(rest)

    def _is_cut_stop(self, rest: str) -> bool:
        """Return whether this is the beginning of a stop string that the engine cut off with the text."""
        return self._seen_call and m.is_cut_stop(rest.strip()) is not None

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
