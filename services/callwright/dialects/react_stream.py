"""Reads the ReAct family's text as a stream: Thought, Action, Action Input, Observation, Final Answer.

Owns the one state machine that whole texts and streams go through. Knows no prompt. A call is sent once its arguments
are complete and valid; only what could still be a marker is held back; text that turns out to be no call is content.
"""

import re
from collections.abc import Callable

from callwright.dialects import markers as m
from callwright.dialects.arguments import Fault
from callwright.dialects.react_call import Answer, Arguments, Outcome, PendingCall
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Names, Tool

LONGEST_NAME = 512
"""Characters of an Action line; a longer one is prose."""
LONGEST_ECHO = 2000
"""Characters of a `Question:` line at a turn's start that are held back until it is known to be an echo."""
LONGEST_ECHO_GAP = 64
"""Line ends between the echo and the marker after it."""

_INLINE_INPUT = re.compile(r"[ \t]\**Action[ \t_]?Input[ \t]{0,2}\d{0,3}[*_]{0,2}[:：]", re.IGNORECASE)
_FENCE = re.compile(r"`{1,3}(?:[A-Za-z0-9_]{0,12})\s{0,8}")
_SPACE = re.compile(r"\s*")
_SPACE_BOLD = re.compile(r"[\s*_]*")
_SPACE_FENCE = re.compile(r"[\s`]*")
_JUNK = re.compile(r"[ \t}\])`]*")


class ReactStream(Stream):
    """The parser of one turn. `closing_tool` is ToolBench's Finish, whose answer is content."""

    def __init__(self, markers: m.Markers, names: Names, *, eager: bool, closing_tool: Tool | None = None) -> None:
        super().__init__()
        self._markers = markers
        self._names = names
        self._closing_tool = closing_tool
        self._eager_allowed = eager
        self._fresh = False
        self._called = False
        self._skip = _SPACE
        self._gap = ""
        self._echo = ""
        self._call = self._new_call("")
        self._broken = False
        self._streams = False
        self._undecided = False
        self._step = self._resume

    def _new_call(self, marker: str) -> PendingCall:
        return PendingCall(self._names, self._closing_tool, marker)

    # Prose, and the markers that lead out of it.

    def _text(self) -> bool:
        buffer, markers = self._buffer, self._markers
        if not self._fresh and buffer.find("\n", self._position - 1) < 0:
            self._say_until(self._before_gap(len(buffer)))  # no line begins, so there is no marker
            return False
        found = None
        if self._fresh:
            found = markers.head(buffer, self._position)
            if found is None and markers.partial(buffer, self._position):
                return False
        if found is None:
            found = markers.search(buffer, self._position)
        while found is not None and not self._applies(found):
            found = markers.search(buffer, found.end())
        if found is None:
            return self._prose()
        self._say_until(self._before_gap(found.start()))
        self._gap = self._take(found.start())
        self._at_marker(found)
        return True

    def _is_prose(self, chunk: str) -> bool:
        if self._step == self._text:
            within_line = not self._fresh and self._buffer != "\n" and "\n" not in chunk
            return within_line and not chunk[-1].isspace()
        return self._step == self._verbatim

    def _prose(self) -> bool:
        end = len(self._buffer)
        line = self._buffer.rfind("\n", self._position - 1) + 1
        if line and self._markers.partial(self._buffer, line):
            end = line
        self._say_until(self._before_gap(end))
        return False

    def _say_until(self, end: int) -> None:
        if end > self._position:
            self._fresh = False
            self._say(self._take(end))

    def _applies(self, found: re.Match[str]) -> bool:
        match m.word_of(found):
            case m.OBSERVATION:
                return self._called
            case m.QUESTION:
                begun = self._called or self._spoke or self._separate
                return not begun and not self._buffer[self._position : found.start()].strip()
            case m.ACTION_INPUT:
                return False
            case _:
                return True

    def _at_marker(self, found: re.Match[str]) -> None:
        word = m.word_of(found)
        bold = not found[0].lstrip().startswith(found["word"] or m.THINK)
        self._skip = _SPACE_BOLD if bold else _SPACE
        marker = self._take(found.end())
        match word:
            case m.THINK:
                self._say(self._gap + marker)
                self._step = self._thinking
            case m.ACTION:
                self._call = self._new_call(marker)
                self._step = self._action
            case m.QUESTION:
                self._echo = marker
                self._step = self._question
            case m.OBSERVATION:
                self._step = self._nothing
            case _:
                self._separate = True
                self._step = {m.THOUGHT: self._thought, m.FINAL_ANSWER: self._answer}.get(word, self._resume)

    def _skip_to(self, then: Callable[[], bool]) -> bool:
        """Drops the white space after a marker or a call; what comes next stands at a line start."""
        found = self._skip.match(self._buffer, self._position)
        self._position = found.end() if found else self._position
        self._fresh = True
        if self._position == len(self._buffer):
            return False
        self._step = then
        return True

    def _resume(self) -> bool:
        return self._skip_to(self._text)

    def _answer(self) -> bool:
        return self._skip_to(self._verbatim)

    def _thought(self) -> bool:
        return self._skip_to(self._set_phrase)

    def _set_phrase(self) -> bool:
        known = self._markers.knows(self._buffer, self._position)
        if known is None and self._markers.partly_knows(self._buffer, self._position):
            return False
        self._position = known.end() if known else self._position
        self._step = self._text
        return True

    def _verbatim(self) -> bool:
        self._say(self._take(len(self._buffer)))
        return False

    def _thinking(self) -> bool:
        end = self._buffer.find(m.THINK_END, self._position)
        if end >= 0:
            self._say(self._take(end + len(m.THINK_END)))
            self._fresh = True
            self._step = self._text
            return True
        held = next((n for n in range(len(m.THINK_END) - 1, 0, -1) if self._buffer.endswith(m.THINK_END[:n])), 0)
        self._say(self._take(max(self._position, len(self._buffer) - held)))
        return False

    def _question(self) -> bool:
        """An echo of the user's question is dropped, if a marker follows it; anything else after it makes it prose."""
        start = self._position
        newline = self._buffer.find("\n", start, start + LONGEST_ECHO)
        if newline < 0:
            if len(self._buffer) - start < LONGEST_ECHO:
                return False
            return self._be_prose(self._echo)
        end = newline
        while end < len(self._buffer) and end - newline < LONGEST_ECHO_GAP and self._buffer[end] in "\r\n":
            end += 1
        if end == len(self._buffer) or self._markers.partial(self._buffer, end):
            return False
        if self._markers.head(self._buffer, end) is None:
            return self._be_prose(self._echo)
        self._position = end
        self._fresh = True
        self._separate = True
        self._step = self._text
        return True

    def _be_prose(self, text: str) -> bool:
        """What looked like a marker was none: its text is content."""
        self._say(self._gap + text)
        self._fresh = False
        self._step = self._text
        return True

    # An Action: its name, then its input.

    def _skip_blank(self) -> bool:
        """Reads white space up to the next line that has text, its indentation excepted; False at the end."""
        found = _SPACE.match(self._buffer, self._position)
        end = found.end() if found else self._position
        line = self._buffer.rfind("\n", self._position, end) + 1
        indent = end - max(line, self._position)
        if indent > 8:
            line = end
        if line > self._position:
            self._call.head.append(self._take(line))
        return end < len(self._buffer)

    def _next_marker(self) -> re.Match[str] | bool | None:
        """The marker at this line start, None when there is none, True when more text must tell."""
        if self._buffer[self._position - 1] != "\n":
            return None
        found = self._markers.head(self._buffer, self._position)
        if found is None and self._markers.partial(self._buffer, self._position):
            return True
        return found

    def _action(self) -> bool:
        if not self._skip_blank():
            return False
        found = self._next_marker()
        if found is True:
            return False
        if found:
            self._step = self._after_name
            return True
        start, last = self._position, self._position + LONGEST_NAME
        newline = self._buffer.find("\n", start, last)
        inline = _INLINE_INPUT.search(self._buffer, start, newline if newline >= 0 else last)
        if inline is not None:
            self._call.name = self._buffer[start : inline.start()]
            self._begin_input(inline.end())
        elif newline >= 0:
            self._call.name = self._take(newline)
            self._call.head.append(self._call.name)
            self._step = self._after_name
        elif len(self._buffer) >= last:
            return self._be_prose(self._call.text)
        else:
            return False
        return True

    def _after_name(self) -> bool:
        if not self._skip_blank():
            return False
        found = self._next_marker()
        if found is True:
            return False
        if found and m.word_of(found) == m.ACTION_INPUT:
            self._begin_input(found.end())
        else:
            self._end_without_input()
        return True

    def _end_without_input(self) -> None:
        outcome = self._call.without_input()
        if outcome is None:
            self._be_prose(self._call.text)
        else:
            self._conclude(outcome)

    def _begin_input(self, marker_end: int) -> None:
        self._call.head.append(self._take(marker_end))
        self._call.resolve()
        self._step = self._input

    def _input(self) -> bool:
        if not self._skip_blank():
            return False
        found = self._next_marker()
        if found is True:
            return False
        if found:
            self._conclude(self._call.with_bare())
            return True
        space = _SPACE.match(self._buffer, self._position)
        start = space.end() if space else self._position
        if self._buffer[start] == "`":
            fence = _FENCE.match(self._buffer, start)
            start = fence.end() if fence else start
            if start == len(self._buffer):
                return False
            self._call.fenced = self._buffer[start] == "{"
        if self._buffer[start] != "{":
            self._step = self._bare
            return True
        self._call.head.append(self._take(start))
        self._broken = self._streams = False
        self._undecided = self._eager_allowed and self._call.may_stream
        self._step = self._object
        return True

    def _bare(self) -> bool:
        found = self._markers.search(self._buffer, self._position)
        if found is not None:
            self._call.body.append(self._take(found.start()))
            self._conclude(self._call.with_bare())
            return True
        end = len(self._buffer)
        line = self._buffer.rfind("\n", self._position - 1) + 1
        if line and self._markers.partial(self._buffer, line):
            end = line
        self._call.body.append(self._take(end))
        return False

    def _object(self) -> bool:
        if self._broken:
            found = self._next_marker()
            if found is True:
                return False
            self._broken = False
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
                self._broken = True
                return True
            case _:
                return False

    def _stream_arguments(self, piece: str) -> None:
        """Eager: sends arguments as they come, once they are seen to be an object of strict JSON."""
        if self._streams:
            self._add_arguments(piece)
            return
        call = self._call
        call.body.append(piece)
        if not self._undecided:
            return
        second = (piece[1:] if len(call.body) == 1 else piece).lstrip()
        if second:
            self._undecided = False
            if second[0] in '"}' and call.tool is not None:
                self._streams = self._called = True
                self._open_call(call.tool.name, "".join(call.body))

    def _end_object(self, fault: Outcome | None) -> None:
        if self._streams:
            self._after_call()
        else:
            self._conclude(fault or self._call.with_object())

    def _conclude(self, outcome: Outcome) -> None:
        """Sends the call, or its text as content with the reason why it is none."""
        self._called = True
        match outcome:
            case Arguments(json):
                self._open_call(self._call.tool.name if self._call.tool else "", json)
                self._after_call()
            case Answer(text):
                self._separate = True
                self._say(text)
                self._separate = True
                self._after_call()
            case Fault():
                self._report(self._gap, self._call.malformed(outcome))
                self._skip = _SPACE
                self._step = self._resume

    def _after_call(self) -> None:
        self._skip = _SPACE_FENCE if self._call.fenced else _SPACE
        self._call = self._new_call("")
        self._step = self._junk

    def _junk(self) -> bool:
        """Drops brackets and fences that a model closes once too often, on the call's own line."""
        found = _JUNK.match(self._buffer, self._position)
        self._position = found.end() if found else self._position
        if self._position == len(self._buffer):
            return False
        self._step = self._resume
        return True

    # The end of the turn.

    def _finish(self, cut: bool) -> None:
        rest = self._buffer[self._position :]
        self._position = len(self._buffer)
        match self._step:
            case self._text | self._set_phrase:
                self._finish_text(rest)
            case self._question:
                self._say(self._gap + self._echo + rest)
            case self._action | self._after_name:
                self._finish_action(rest, cut)
            case self._input | self._bare:
                self._finish_input(rest, cut)
            case self._object:
                self._finish_object(rest, cut)
            case self._thinking:
                self._say(rest)
            case _:
                pass

    def _finish_text(self, rest: str) -> None:
        blank = not rest.strip()
        if (blank and self._separate) or (self._called and _is_cut_stop(rest)):
            return
        self._say(rest)

    def _finish_action(self, rest: str, cut: bool) -> None:
        call = self._call
        if self._step == self._action:
            call.name = rest
            call.head.append(rest)
            rest = ""
        if cut or (rest.strip() and not _is_cut_stop(rest)):
            self._be_prose(call.text + rest)
            return
        self._end_without_input()
        if not self._called:
            self._say(rest)

    def _finish_input(self, rest: str, cut: bool) -> None:
        call = self._call
        text = "".join(call.body) + rest
        if cut:
            self._be_prose("".join(call.head) + text)
            return
        line = text.rfind("\n") + 1
        if (line or not call.body) and _is_cut_stop(text[line:]):
            text = text[:line]
        call.body = [text]
        self._conclude(call.with_bare())

    def _finish_object(self, rest: str, cut: bool) -> None:
        if self._streams:
            self._add_arguments(rest)
            return
        self._call.body.append(rest)
        if cut:
            self._be_prose(self._call.text)
        else:
            self._conclude(self._call.broken_off(""))


def _is_cut_stop(rest: str) -> bool:
    """Whether this is the beginning of a stop string that the engine cut off with the text."""
    text = rest.strip()
    return bool(text) and "observation:".startswith(text.lower())
