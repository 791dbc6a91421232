"""Reads calls as Gemma 4 and FunctionGemma write them; what stands in one, `gemma_members` reads.

    <|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>
    <start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>

A think block in `<think>` tags, which corpora of other models have, is read too.
"""

import re

from callwright.dialects.arguments import Fault, read_call
from callwright.dialects.gemma_members import GemmaMembers
from callwright.dialects.gemma_tokens import FUNCTION_GEMMA, GEMMA_4
from callwright.dialects.literals import read_literal, write_json
from callwright.dialects.types import THINK_END

_W = r"\s{0,64}+"
_CALL = rf"{_W}(?:(?:call{_W})?:{_W})?"
_HEAD = re.compile(rf"{_CALL}([^\s{{}}()<>:\"',]{{1,256}}+){_W}([{{(])")
_HEAD_PART = re.compile(rf"{_CALL}[^\s{{}}()<>:\"',]{{0,256}}+{_W}\Z")
_SPACE = re.compile(r"\s*")
_JUNK = re.compile(r"[\s}\])`~]*")


class GemmaStream(GemmaMembers):
    """Reads one turn."""

    rests = GEMMA_4.rests
    call_tag = GEMMA_4.open
    thought_end = "<channel|>"

    # Prose, and where a call begins.

    def _read_prose(self) -> bool:
        tokens = self.tokens
        has_tag = self._buffer.find("<", self._position) >= 0  # much quicker asked first
        found = tokens.tag.search(self._buffer, self._position) if has_tag else None
        if found is None:
            return self._say_prose(*tokens.led) if has_tag else self._say_prose()
        if found[0] not in (tokens.open, tokens.result):
            self._at_think(found.start(), found.end())
            self._open_block(found[0])
            return True
        self._call_start = self._offset + self._before_gap(found.start())
        self._take_lead(found.start())
        self._raw, self._writer = [self._take(found.end())], None
        self._arguments_start = 0
        self._step = self._read_head if found[0] == tokens.open else self._read_result
        return True

    def _find_marker(self, start: int, end: int) -> int:
        found = self.tokens.tag.search(self._buffer, start, end)
        return found.start() if found else -1

    def _open_block(self, tag: str) -> None:
        if self.tokens.thought and tag == self.tokens.thought[0]:
            self.thought_end = self.tokens.thought[1]
            self._step = self._read_label
        else:
            self.thought_end = THINK_END

    def _read_label(self) -> bool:
        """Skips what the token that opens a thought is followed by."""
        label = self.tokens.label
        if self._may_become(self._position, label):
            return False
        if self._buffer.startswith(label, self._position):
            self._position += len(label)
        elif self._buffer.startswith(label.strip() + self.thought_end, self._position):
            self._position += len(label.strip())
        self._step = self._open_thought
        return True

    def _read_result(self) -> bool:
        """The token hands the turn over, unless it is only talked about."""
        if not self._next_index and self._may_become(self._position, "response:"):
            return False
        if self._next_index or self._ended or self._buffer.startswith("response:", self._position):
            self._step = self._skip_all
        else:
            self._be_prose()
        return True

    def _be_prose(self) -> None:
        self._say(self._gap + "".join(self._raw))
        self._step = self._read_prose

    def _opens_call(self, start: int) -> bool | None:
        if self._may_become(start, "call:"):
            return None
        return self._buffer.startswith("call:", start)

    def _read_head(self) -> bool:
        """Reads a function's name; without one, and without an object, the token is only talked about."""
        head = _HEAD.match(self._buffer, self._position)
        if head is None and not self._ended and _HEAD_PART.match(self._buffer, self._position):
            return False
        self.met_marker = True
        if head is None:
            start = self._end_of(_SPACE)
            self._value = len(self._raw)
            if self._buffer.startswith("{", start):
                self._step = self._read_object
            elif self._buffer.startswith("call:", self._position):
                self._fail("the call has no name and arguments")
            else:
                self._be_prose()
            return True
        self._arguments_start = self._offset + head.start(2)
        self._begin_function(head[1], head.end())
        self._step = self._read_key
        return True

    def _read_object(self) -> bool:
        """Reads a whole call as JSON, which some models write between the tokens."""
        found = self._buffer.find(self.tokens.shut, self._position)
        self._raw.append(self._take(found if found >= 0 else self._before_part_of(self.tokens.shut)))
        if found < 0 and not self._ended:
            return False
        try:
            name, _, arguments = read_call(read_literal("".join(self._raw[self._value :])), self._names)
        except ValueError as error:
            name, arguments = None, Fault(f"the call is no JSON object: {error}")
        if isinstance(arguments, Fault):
            self._fail(arguments.reason, name)
        else:
            self._emit_whole(name or "", arguments)
        return True

    # Where a call ends.

    def _end_call(self, start: int) -> None:
        """Ends the arguments at their brace, or where it is missing."""
        self._raw.append(
            self._take(start + (self._buffer[start : start + 1] in ("}", ")") and start < len(self._buffer)))
        )
        if self._tool is None:
            self._fail(f"unknown tool {self._name[:64]!r}", self._name)
        elif self._writer:
            self._emit_arguments(self._writer.end())
            self._step = self._read_call_end
        else:
            self._emit_whole(self._name, write_json(self._members))

    def _emit_whole(self, name: str, arguments: str) -> None:
        self._emit_begun(name, arguments)
        self._step = self._read_call_end

    def _break_off(self) -> None:
        """The text that follows is no part of the call, which is not complete."""
        self._fail("the call is not complete", self._name)
        self._step = self._read_call_end

    def _read_non_call(self) -> bool:
        """What is no call ends at a call's token."""
        return self._read_up_to(self.tokens.end, self.tokens.ends, self._read_call_end)

    def _read_call_end(self) -> bool:
        """Reads the token that closes a call, where it is there."""
        return self._close_call(self.tokens.shut, self._end_of(_JUNK))


class FunctionGemmaStream(GemmaStream):
    """Reads one turn of FunctionGemma."""

    tokens = FUNCTION_GEMMA
    rests = FUNCTION_GEMMA.rests
    call_tag = FUNCTION_GEMMA.open
    thought_end = THINK_END
