"""Reads calls as Gemma 4 and FunctionGemma write them: bare keys, and text between delimiters of its own.

    <|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>
    <start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>

Nothing is escaped, so text may hold its delimiter: it ends where another member or the end of the call follows. JSON's
and Python's quotes, `=` for a colon and text without any quotes are read too. An eager reader gets text as it comes.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from callwright.dialects import left_over
from callwright.dialects.arguments import Fault, read_call
from callwright.dialects.gemma_literal import read_gemma
from callwright.dialects.literals import literal_or_text, read_literal, write_json
from callwright.dialects.object_scanner import MOST_MISSING
from callwright.dialects.raw_call_stream import Doubt, RawCallStream
from callwright.dialects.raw_values import convert_member, is_text, read_member
from callwright.dialects.tools import Names
from callwright.dialects.types import THINK_END

_W = r"\s{0,64}+"
_KEY = r"[^:=,{}\[\]\"'<>\s][^:=,{}\[\]\"'<>\n]{0,127}+"
"""Matches a key without quotes, and the white space behind it."""
_CALL = rf"{_W}(?:(?:call{_W})?:{_W})?"
_HEAD = re.compile(rf"{_CALL}([^\s{{}}()<>:\"',]{{1,256}}+){_W}([{{(])")
_HEAD_PART = re.compile(rf"{_CALL}[^\s{{}}()<>:\"',]{{0,256}}+{_W}\Z")
_SPACE = re.compile(r"\s*")
_JUNK = re.compile(r"[\s}\])`~]*")
_OPENS = {"{": "}", "[": "]", "(": ")"}


@dataclass(frozen=True)
class Tokens:
    """The special tokens of one model family, and what is read by them."""

    open: str
    shut: str
    quote: str
    """Stands before and behind text."""
    result: str
    """What hands a turn over to its results."""
    turn_end: str
    thought: tuple[str, str] | None = None
    label: str = ""
    """What the token that opens a thought is followed by."""

    @cached_property
    def tag(self) -> re.Pattern[str]:
        """Matches what leads out of prose."""
        return re.compile("|".join(map(re.escape, self.led)))

    @cached_property
    def led(self) -> tuple[str, ...]:
        return (self.open, self.result, *((self.thought[0],) if self.thought else ()))

    @cached_property
    def key(self) -> re.Pattern[str]:
        """Matches a member's key and what stands behind it."""
        quote = re.escape(self.quote)
        return re.compile(rf"{_W}(?:{quote}({_KEY}){quote}|\"({_KEY})\"|'({_KEY})'|({_KEY})){_W}[:=]")

    @cached_property
    def key_part(self) -> re.Pattern[str]:
        """Matches what may become one with more text."""
        begun = "|".join(re.escape(self.quote[:n]) for n in range(len(self.quote), 0, -1))
        return re.compile(rf"{_W}(?:(?:{begun})?[\"']?(?:{_KEY})?[\"']?(?:{begun})?){_W}\Z")

    @cached_property
    def in_container(self) -> re.Pattern[str]:
        """Matches what matters outside the strings of a list or an object."""
        tags = "|".join(map(re.escape, (self.quote, self.shut, self.open)))
        return re.compile(rf"[{{}}\[\]()]|(?<=[:,\[{{(=\s])[\"']|{tags}")

    @cached_property
    def after(self) -> re.Pattern[str]:
        """Matches what ends a call, after a brace or without one."""
        return re.compile(rf"([\s}}\])]{{0,64}})({'|'.join(map(re.escape, self.ends))}|)")

    @cached_property
    def ends(self) -> tuple[str, ...]:
        return (self.shut, self.open, self.result)

    @cached_property
    def end(self) -> re.Pattern[str]:
        """Matches one of `ends`."""
        return re.compile("|".join(map(re.escape, self.ends)))

    @cached_property
    def in_text(self) -> dict[str, re.Pattern[str]]:
        """Matches, by the mark that ends a text, that mark, and where the call may have ended without it."""
        broken = rf"[}}\]]\s{{0,64}}{re.escape(self.shut)}|{re.escape(self.open)}"
        plain = {mark: re.compile(rf"\\.|{mark}|{broken}", re.DOTALL) for mark in "\"'"}
        return {self.quote: re.compile(f"{re.escape(self.quote)}|{broken}"), **plain}

    @cached_property
    def in_bare(self) -> re.Pattern[str]:
        return re.compile("[,}]|" + "|".join(map(re.escape, self.ends)))

    @cached_property
    def rests(self) -> left_over.Rests:
        return left_over.Rests(self.shut, self.turn_end)


GEMMA_4 = Tokens(
    "<|tool_call>", "<tool_call|>", '<|"|>', "<|tool_response>", "<turn|>", ("<|channel>", "<channel|>"), "thought\n"
)
FUNCTION_GEMMA = Tokens(
    "<start_function_call>", "<end_function_call>", "<escape>", "<start_function_response>", "<end_of_turn>"
)
Verdict = Literal["unknown", "text", "end", "weak"]


class GemmaStream(RawCallStream):
    """Reads one turn."""

    tokens: ClassVar[Tokens] = GEMMA_4
    rests = GEMMA_4.rests
    call_tag = GEMMA_4.open
    thought_end = "<channel|>"

    def __init__(self, names: Names, *, eager: bool, opened: bool = False) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._quote = ""
        """What the text that is being read ends with; empty outside text."""
        self._stack: list[str] = []
        """The closing brackets that are owed within the value."""

    # Prose, and where a call begins.

    def _read_prose(self) -> bool:
        tokens = self.tokens
        has_tag = self._buffer.find("<", self._position) >= 0  # much quicker asked first
        found = tokens.tag.search(self._buffer, self._position) if has_tag else None
        if found is None:
            return self._say_prose(*tokens.led) if has_tag else self._say_prose()
        if found[0] not in (tokens.open, tokens.result):
            self._at_think(found.start(), found.end())
            self._step = self._read_label
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

    # Members.

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
