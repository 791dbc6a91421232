"""Reads the ReAct family's text as a stream, all but its calls: Thought, Final Answer, Question, Observation.

    prose ──Thought:──────► stock thought, dropped ──► prose
          ──Action:───────► a call, which `callwright.dialects.react_stream` reads ──► prose
          ──Final Answer:─► answer, to the end
          ──Question:─────► echo of the question, dropped where a marker follows
          ──Observation:──► a result that the model invented: the rest is dropped

Only what could still become a marker is held back.
"""

import re
from collections.abc import Callable

from callwright.dialects import left_over
from callwright.dialects import markers as m
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Tool
from callwright.dialects.types import THINK

LONGEST_ECHO = 2000
"""Characters of a `Question:` line at a turn's start that are held back until it is known to be an echo."""
LONGEST_ECHO_GAP = 64
"""Line ends between the echo and the marker after it."""
SPACE = re.compile(r"\s*")
_SPACE_BOLD = re.compile(r"[\s*_]*")


class ReactProse(Stream):
    """Reads one turn. `with_results`: the text holds results, and turns after them, so it is read to its end."""

    def __init__(self, markers: m.Markers, *, opened: bool, with_results: bool) -> None:
        super().__init__(opened=opened)
        self._markers = markers
        self._with_results = with_results
        self._seen_call = False
        self._formatted = False
        """Whether a marker was read, so that the turn is no plain prose."""
        self._after_marker = SPACE
        """What is skipped after the newest marker or call."""
        self._called: Tool | None = None
        """The tool that was called last: a second input right behind the first one is its own."""
        self._echo = ""
        """The marker of the question that may be an echo."""
        if not opened:
            self._step = self._resume

    def _begin_call(self, found: re.Match[str], marker: str) -> None:
        """Takes the marker of a call, or of a second input."""
        raise NotImplementedError

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
        self._after_marker = _SPACE_BOLD if bold else SPACE
        marker = self._take(found.end())
        match word:
            case m.ACTION | m.ACTION_INPUT:
                self._begin_call(found, marker)
            case m.QUESTION:
                self._echo = marker
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
        """Drops an echo of the user's question where a marker follows it; anything else makes it prose."""
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

    # The end of the turn.

    def _finish(self, rest: str, *, cut: bool) -> None:
        match self._step:
            case self._read_prose | self._skip_stock_thought:
                self._finish_text(rest)
            case self._read_echo:
                self._say(self._gap + self._echo + rest)
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
