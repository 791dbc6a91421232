"""The base of the stream parsers: a buffer that is read in steps, and the deltas that the steps emit.

A parser has one step for each place in the text where it can be, such as `_read_prose` or `_read_object`; `self._step`
is the current one. A step reads on from `_position` and returns True, or returns False when it needs more text; what it
has not read stays in the buffer. So the result depends on the text alone, not on how it was cut into pieces.
"""

import re
import secrets
from collections.abc import Callable
from typing import ClassVar, Literal

from callwright.dialects import left_over
from callwright.dialects.types import (
    THINK_END,
    CallDelta,
    ContentDelta,
    Delta,
    Kind,
    MalformedCall,
    Segment,
    ThoughtDelta,
    Turn,
    accumulate,
)

LONGEST_GAP = 256
"""Characters of white space before a marker that are dropped with it; more of a longer run is sent as content."""
LONGEST_AFTER_FENCE = 2000
"""Characters after a fence behind a call that are held back until it is known whether the fence opens a code block."""
_SPACE = re.compile(r"\s*")


class Stream:
    """Reads one turn. `_buffer[_position - 1]` is the last character read, so that a line start is always known.

    `opened`: the text begins within a think block.
    """

    rests: ClassVar[left_over.Rests] = left_over.Rests(left_over.SHUT)
    """What may be left over around a call."""
    kept: int = 0
    """Characters that were sent and are kept for the turn's end all the same."""
    thought_end: str = THINK_END
    """What ends a think block; a dialect with more than one kind of block sets it where one opens."""

    def __init__(self, *, opened: bool) -> None:
        self._buffer = "\n"
        self._position = 1
        self._step: Callable[[], bool] = self._open_thought if opened else self._read_prose
        self._deltas: list[Delta] = []
        self._content: list[str] = []
        """Content that is not in `_deltas` yet."""
        self._last_said = ""
        """The last character of all content so far."""
        self._line_due = False
        """Whether content that comes now begins a new line, since a call or a marker stood before it."""
        self._next_index = 0
        """Index of the next call."""
        self._at_line_start = False
        """Whether a marker may stand right here, although the buffer shows no line end before it."""
        self._gap = ""
        """What stands between the content and the newest marker: white space, and an opening fence."""
        self._in_fence = False
        """Whether an opening fence was dropped, so that the next closing one is no content either."""
        self._block = ""
        """The fence of the code block that is open in the content so far."""
        self._fence_length = 0
        """Of the fence after a call, of which it is to be seen whether it opens a code block."""
        self.met_marker = False
        """Whether anything in the text may lead out of prose."""
        self._thoughts: Literal["none", "said", "apart"] = "none"
        """Whether reasoning has been said, and whether what comes now begins a new line, since it is a block's."""
        self._marks: list[tuple[int, Kind]] = [(1, "reasoning")] if opened else []
        """Where a segment begins, and its kind; right in a text that was fed in one piece."""
        self._offset = 0
        """How much of that text stood before what is the buffer now."""

    def feed(self, chunk: str) -> list[Delta]:
        """Takes the next piece; returns what is certain by now."""
        if not chunk:
            return []
        self._buffer += chunk
        while self._step():
            pass
        self._offset += self._position - 1
        self._buffer = self._buffer[self._position - 1 :]
        self._position = 1
        return self._flush()

    def passes(self, chunk: str) -> bool:
        """Takes the next piece if all of it is content, and certain; False otherwise, and then nothing is taken."""
        if self._line_due or len(self._buffer) > 1 or not chunk or not self._is_prose(chunk):
            return False
        self._buffer = self._last_said = chunk[-1]
        return True

    def close(self, *, cut: bool = False) -> list[Delta]:
        """Ends the turn; returns the rest. `cut`: the length limit ended it, so nothing that is open gets completed."""
        rest = self._buffer[self._position :]
        self._position = len(self._buffer)
        self._finish(rest, cut=cut)
        self._step = self._skip_all
        return self._flush()

    def read(self, text: str, *, cut: bool = False) -> Turn:
        """Reads a whole turn, fed in one piece."""
        return accumulate([*self.feed(text), *self.close(cut=cut)])

    def segments(self, text: str) -> tuple[Segment, ...]:
        """Splits a text that was read at what begins in it: marks of no text are left out, the first is at its head."""
        marks = [(0, "text"), *((position - 1, kind) for position, kind in self._marks)]
        ends = [*(position for position, _ in marks[1:]), len(text)]
        pieces = [(kind, text[start:end]) for (start, kind), end in zip(marks, ends, strict=True) if start < end]
        if len(pieces) > 1 and pieces[0][0] == "text" and not pieces[0][1].strip():
            pieces[:2] = [(pieces[1][0], pieces[0][1] + pieces[1][1])]
        return tuple(Segment(kind, piece) for kind, piece in pieces)

    # What a parser defines.

    def _read_prose(self) -> bool:
        """Return the step that every other leads back to."""
        raise NotImplementedError

    def _is_prose(self, chunk: str) -> bool:
        """Return whether `chunk`, where nothing is held back, neither is a part of a marker nor may belong to one."""
        raise NotImplementedError

    def _finish(self, rest: str, *, cut: bool) -> None:
        """Emits what the current step has held back; `rest` is the text that it has not read."""
        raise NotImplementedError

    def _finish_text(self, rest: str) -> None:
        """Emits the last of the prose."""
        self._say(rest)

    def _find_marker(self, start: int, end: int) -> int:
        """Return where the next marker begins; -1 where none does."""
        raise NotImplementedError

    # Steps that parsers share.

    def _resume(self) -> bool:
        """Skips white space after a call or a marker."""
        if not self._skip(_SPACE):
            return False
        self._step = self._read_prose
        return True

    def _skip_left_over(self) -> bool:
        """Drops the lines after a call that only close, once too often, a tag, a fence, a bracket or a quote."""
        if not self._skip(_SPACE):
            return False
        if self._buffer[self._position] not in left_over.OPENS_LEFT_OVER:
            return self._end_left_over()
        end = self._buffer.find("\n", self._position)
        line = self._buffer[self._position : end if end >= 0 else len(self._buffer)]
        if end < 0 and self.rests.may_be(line):
            return False
        if end < 0 or not self.rests.are(line):
            return self._end_left_over()
        if left_over.has_fence(line) and not self._in_fence:
            self._fence_length = len(line)
            self._step = self._read_after_fence
        else:
            self._in_fence = self._in_fence and not left_over.has_fence(line)
            self._position = end
        return True

    def _end_left_over(self) -> bool:
        self._mark("text", self._offset + self._position)
        self._at_line_start = True
        self._step = self._read_prose
        return True

    def _read_after_fence(self) -> bool:
        """A fence after a call opens a code block where another one follows; else it is left over."""
        start, last = self._position + self._fence_length, self._position + LONGEST_AFTER_FENCE
        fence = left_over.find_fence(self._buffer, start, last)
        marker = self._find_marker(start, last)
        if fence is not None and not 0 <= marker < fence.start():
            self._say(self._take(start))
            self._step = self._read_prose
        elif marker >= 0 or len(self._buffer) >= last:
            self._position = start
            self._step = self._resume
        else:
            return False
        return True

    def _finish_left_over(self, rest: str) -> None:
        if self._step == self._read_after_fence:
            self._finish_text(rest[self._fence_length :].lstrip())

    def _at_think(self, start: int, end: int) -> None:
        """Reads the tag of a think block."""
        self._say_until(self._before_gap(start))
        self._mark("reasoning", self._offset + start)
        self.met_marker = True
        self._position = end
        self._thoughts = "apart" if self._thoughts == "said" else self._thoughts
        self._step = self._open_thought

    def _open_thought(self) -> bool:
        """Skips the white space before reasoning."""
        if not self._skip(_SPACE):
            return False
        self._step = self._read_thought
        return True

    def _read_thought(self) -> bool:
        """What stands in a think block is reasoning, whatever it is."""
        end = self._buffer.find(self.thought_end, self._position)
        self._think(self._take(self._before_gap(end if end >= 0 else self._before_part_of(self.thought_end))))
        if end < 0:
            return False
        self._position = end + len(self.thought_end)
        self._mark("text", self._offset + self._end_of(_SPACE))
        self._line_due = True
        self._step = self._resume
        return True

    def _skip_all(self) -> bool:
        """What follows belongs to no turn of the model's, such as a result that it invented."""
        self._position = len(self._buffer)
        return False

    # Reading.

    def _take(self, end: int) -> str:
        """Reads up to `end`; returns the text."""
        taken = self._buffer[self._position : end]
        self._position = end
        return taken

    def _rewind(self, text: str, before: str) -> None:
        """Takes back the text that was read last, to read it once more; `before` is the character before it."""
        if self._position > len(text):
            self._position -= len(text)
            return
        self._offset += self._position - len(text) - 1
        self._buffer = before + text + self._buffer[self._position :]
        self._position = 1

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        """Return where the pattern, which may match nothing, ends from here."""
        found = pattern.match(self._buffer, self._position)
        return found.end() if found else self._position

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Drops what the pattern matches; False when that is all of the text so far, so that more of it may come."""
        self._position = self._end_of(pattern)
        return self._position < len(self._buffer)

    def _before_gap(self, end: int) -> int:
        """Return where the white space that ends at `end` begins, LONGEST_GAP before it at most."""
        if end > self._position and not self._buffer[end - 1].isspace():
            return end
        start = max(self._position, end - LONGEST_GAP)
        return start + len(self._buffer[start:end].rstrip())

    def _before_lead(self, end: int) -> int:
        """Return where what leads to a marker at `end` begins: white space, and a fence that opens on the line before.

        At the end of the text a fence may be there in part.
        """
        buffer = self._buffer
        start = end if not buffer[end - 1].isspace() else self._before_gap(end)
        line = buffer.rfind("\n", self._position - 1, start) + 1
        if not line and self._begins_line():
            line = self._position
        if not line or line == start:
            return start
        is_fence = left_over.opens_fence if end < len(buffer) else left_over.may_open_fence
        if start - line > left_over.LONGEST_FENCE or not is_fence(buffer, line, start):
            return start
        return start if end < len(buffer) and self._closes_block(line, start) else self._before_gap(line)

    def _closes_block(self, line: int, end: int) -> bool:
        """Return whether the fence on this line ends a code block of the content."""
        block = self._block_after(self._buffer[self._position : line])
        return bool(block) and not left_over.block_after(self._buffer[line:end], block)

    def _block_after(self, text: str) -> str:
        """Return the code block that is open behind the content so far and `text`."""
        if not left_over.has_fence(text):
            return self._block
        return left_over.block_after(text if self._begins_line() else text.partition("\n")[2], self._block)

    def _begins_line(self) -> bool:
        """Return whether content that comes now begins a line."""
        return self._line_due or self._last_said in ("", "\n")

    def _take_lead(self, end: int) -> None:
        """Says the content up to a marker at `end`; what leads to the marker is `_gap`."""
        self._say_until(self._before_lead(end))
        self._gap = self._take(end)

    def _say_until(self, end: int) -> None:
        if end > self._position:
            self._at_line_start = False
            self._say(self._take(end))

    def _before_part_of(self, *tags: str) -> int:
        """Return where one of the tags may have begun at the end of the text; the end where none has.

        No tag holds its first character a second time.
        """
        end = first = len(self._buffer)
        for tag in tags:
            start = self._buffer.rfind(tag[0], max(self._position, end - len(tag) + 1))
            if start >= 0 and tag.startswith(self._buffer[start:]):
                first = min(first, start)
        return first

    # Emitting.

    def _say(self, text: str) -> None:
        """Adds content."""
        if not text:
            return
        if "`" in text or "~" in text:
            self._block = self._block_after(text)
        if self._line_due and self._last_said and self._last_said != "\n" and text[0] not in "\r\n":
            self._content.append("\n")
        self._line_due = False
        self._content.append(text)
        self._last_said = text[-1]

    def _think(self, text: str) -> None:
        """Adds reasoning."""
        if text:
            self._emit_content()
            self._deltas.append(ThoughtDelta("\n" + text if self._thoughts == "apart" else text))
            self._thoughts = "said"

    def _mark(self, kind: Kind, start: int) -> None:
        """Notes that a segment begins there, in the text as a whole."""
        self._marks.append((start, kind))

    def _emit_malformed(self, call: MalformedCall, *, gap: str) -> None:
        """Emits a malformed call's text as content, in one delta that gives the reason; `gap` stands before it."""
        self._emit_content()
        self._say(gap + call.text)
        self._deltas.append(ContentDelta("".join(self._content), call))
        self._content = []
        self._line_due = True

    def _emit_call(self, name: str, arguments: str) -> None:
        """Emits a call's first delta."""
        self._emit_content()
        self._deltas.append(CallDelta(self._next_index, f"call_{secrets.token_hex(12)}", name, arguments))
        self._next_index += 1
        self._line_due = True

    def _emit_arguments(self, arguments: str) -> None:
        """Emits more of the newest call."""
        if arguments:
            self._deltas.append(CallDelta(self._next_index - 1, arguments=arguments))

    def _emit_content(self) -> None:
        if self._content:
            self._deltas.append(ContentDelta("".join(self._content)))
            self._content = []

    def _flush(self) -> list[Delta]:
        self._emit_content()
        deltas, self._deltas = self._deltas, []
        return deltas
