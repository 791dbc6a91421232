"""Reads calls as Qwen3-Coder, Qwen3.5 and later, and Nemotron 3 write them: a tag for each parameter, raw text in it.

    <tool_call>
    <function=get_weather>
    <parameter=city>
    Paris
    </parameter>
    </function>
    </tool_call>

Nothing is escaped, so a value may hold any of these tags: it ends where its closing tag stands before another tag of
the call. A closing tag that is missing is borne, and a whole call within a value is part of the value; the text from
such a place on is held back until it is clear what it is. An eager reader gets other text of a value as it comes.
"""

import re
from typing import Literal

from callwright.dialects import left_over
from callwright.dialects.argument_writer import ArgumentWriter
from callwright.dialects.arguments import Fault, read_bare, read_call
from callwright.dialects.left_over import OPEN, RESULT, SHUT
from callwright.dialects.literals import Json, read_literal, write_json
from callwright.dialects.object_scanner import ObjectScanner, outside
from callwright.dialects.raw_values import is_text, read_member, without_line_end
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import THINK, MalformedCall

FUNCTION = "<function="
FUNCTION_END = "</function>"
PARAMETER = "<parameter="
PARAMETER_END = "</parameter>"
_TAG = re.compile(rf"<tool_(?:call|response)>|{FUNCTION}|^[ \t]{{0,8}}{THINK}", re.MULTILINE)
find_tag = _TAG.search
"""Finds the next tag that leads out of prose."""
_NAMED = re.compile(r"<(?:function|parameter)=[ \t\"']{0,4}([^\n>]{1,256}?)[ \t\"']{0,4}>")
_LONGEST_NAMED = 280
_LONGEST_TAG = max(map(len, (PARAMETER_END, RESULT)))
_NAMED_PART = re.compile(r"<(?:function|parameter)=[^\n>]*\Z")
_OF_CALL = (PARAMETER, PARAMETER_END, FUNCTION, FUNCTION_END, OPEN, SHUT)
_IN_VALUE = re.compile(rf"{PARAMETER_END}|{FUNCTION_END}|{SHUT}|{OPEN}|{FUNCTION}|^{PARAMETER}", re.MULTILINE)
_IN_BODY = re.compile(f"{PARAMETER}|{FUNCTION_END}|{SHUT}|{OPEN}")
_AHEAD = re.compile(rf"\s{{0,64}}({'|'.join(_OF_CALL)}|)")
_BLOCK_TAG = re.compile(f"{OPEN}|{SHUT}")
_FENCE = re.compile(r"\s{0,64}(?:`{1,3}[a-z]{0,8}\s{0,64})?")
_BESIDE = re.compile(r"[ \t]{1,64}[^\s{`]")
_OPENS_OBJECT = re.compile(r"\{\s{0,64}([\"'}])?")
_JUNK = re.compile(r"[\s`~]*")
_OUTSIDE = outside("<")
_MOST_MISSING = 2
"""Closing brackets that may be missing where the block itself is closed, as in Hermes."""

Verdict = Literal["unknown", "text", "end", "weak", "call"]
"""What a tag in a value is: not known yet, text, the value's end, its end if no better one comes, or another call's."""
Doubt = tuple[int, str]
"""A place within a value: how much of `_raw` stands before it, and the character before it."""


class QwenXmlStream(Stream):
    """Reads one turn."""

    rests = left_over.Rests(SHUT, FUNCTION_END, PARAMETER_END)

    def __init__(self, names: Names, *, eager: bool, opened: bool = False) -> None:
        super().__init__(opened=opened)
        self._names = names
        self._eager = eager
        self._ended = False
        """Whether no more text comes."""
        self._bears_calls = True
        """Whether a call that opens within a value may be part of it; not once such a value never ended."""
        self._is_apart = False
        """Whether the block's tag stands on a line of its own, or behind another block."""
        self._is_wrapped = False
        """Whether `<tool_call>` stands before the function."""
        self._raw: list[str] = []
        """The block's text, to be content if it is no call; of a value that is sent as it comes, what is in doubt."""
        self._fault: MalformedCall | None = None
        """Why it is no call; its text is emitted with it where the block ends."""
        self._name = ""
        self._tool: Tool | None = None
        self._members: dict[str, Json] = {}
        self._given: set[str] = set()
        """Keys of the parameters that were read."""
        self._writer: ArgumentWriter | None = None
        """Writes the arguments of a call that is sent as it comes."""
        self._key = ""
        self._is_sent = False
        """Whether the value is sent as it comes."""
        self._line_end = ""
        """The line end that was read last of such a value: it may be the format's."""
        self._value = 0
        """Where in `_raw` the value begins."""
        self._weak: Doubt | None = None
        """Where the value ends if no better end comes."""
        self._nested: Doubt | None = None
        """Where a call within the value begins, or the next call if the value never ends."""
        self._depth = 0
        """Calls within the value that are open."""
        self._call_start = self._arguments_start = 0
        """Where the segments of the call begin."""
        self._scanner = ObjectScanner(_OUTSIDE)

    # Prose, and where a block begins.

    def _read_prose(self) -> bool:
        has_tag = self._buffer.find("<", self._position) >= 0  # much quicker asked first
        found = _TAG.search(self._buffer, self._position) if has_tag else None
        if found is None:
            end = self._before_part_of(OPEN, RESULT, FUNCTION, THINK) if has_tag else len(self._buffer)
            within_line = not self._begins_line() and self._buffer.find("\n", self._position - 1) < 0
            self._say(self._take(self._before_gap(end) if within_line else self._before_lead(end)))
            return False
        if found[0] == RESULT and not self._is_invented(found.start()):
            self._say_until(found.end())
            return True
        if found[0] not in (OPEN, RESULT, FUNCTION):
            self._at_think(found.start(), found.end())
            return True
        follows_line = self._buffer[found.start() - 1] == "\n" and found.start() > self._position
        self._call_start = self._offset + found.start() - follows_line
        self._take_lead(found.start())
        self._is_apart = self._line_due or "\n" in self._gap or self._last_said in ("", "\n")
        self._arguments_start = 0
        self._is_wrapped = found[0] == OPEN
        self._raw = [self._take(found.end())] if self._is_wrapped else [""]
        self._step = self._skip_all if found[0] == RESULT else self._read_block_start
        self.met_marker = self.met_marker or found[0] != FUNCTION
        return True

    def _is_prose(self, chunk: str) -> bool:
        is_plain = "<" not in chunk and "`" not in chunk and "~" not in chunk and not chunk[-1].isspace()
        return is_plain and self._step == self._read_prose

    def _find_marker(self, start: int, end: int) -> int:
        found = _TAG.search(self._buffer, start, end)
        return found.start() if found else -1

    def _read_block_start(self) -> bool:
        """A tag opens a block where a function's follows; else only on a line of its own, if it is not talked about."""
        start = self._end_of(_FENCE) if self._is_wrapped else self._position
        if self._may_become(start, FUNCTION) or self._may_be_named(start):
            return False
        named = _NAMED.match(self._buffer, start) if self._buffer.startswith(FUNCTION, start) else None
        tool = self._names.exact(named[1]) if named else None
        if named and (tool or self._is_wrapped) and (self._is_apart or (tool and self._is_wrapped)):
            self._begin_function(named, tool)
            return True
        opens = _OPENS_OBJECT.match(self._buffer, start) if self._is_wrapped else None
        if opens and not opens[1] and opens.end() == len(self._buffer) and not self._is_apart and not self._ended:
            return False
        if opens and (opens[1] or self._is_apart):
            self._raw.append(self._take(start))
            self._value = len(self._raw)
            self._scanner = ObjectScanner(_OUTSIDE)
            self._step = self._read_object
        elif self._is_wrapped and self._is_apart and not _BESIDE.match(self._buffer, self._position):
            self._fail("the block holds no function")
        else:
            self._say(self._gap + (self._raw[0] or self._take(self._position + len(FUNCTION))))
            self._step = self._read_prose
        return True

    def _may_become(self, start: int, *tags: str) -> bool:
        """Return whether what stands there may become one of the tags with more text."""
        return not self._ended and any(tag.startswith(self._buffer[start : start + _LONGEST_TAG]) for tag in tags)

    def _may_be_named(self, start: int) -> bool:
        """Return whether what stands there is the tag of a function or a parameter whose name has not ended."""
        rest = self._buffer[start : start + _LONGEST_NAMED]
        return not self._ended and len(rest) < _LONGEST_NAMED and _NAMED_PART.match(rest) is not None

    def _begin_function(self, named: re.Match[str], tool: Tool | None) -> None:
        self.met_marker = True
        self._raw.append(self._take(named.end()))
        self._name, self._tool = tool.name if tool else named[1], tool
        self._members, self._given, self._writer = {}, set(), None
        self._step = self._read_function

    # A function's parameters.

    def _read_function(self) -> bool:
        """Reads up to the next tag; text before the first one stands for all arguments."""
        tag, start = self._ahead(self._position)
        if tag is None:
            return False
        self._arguments_start = self._arguments_start or self._offset + start
        named = _NAMED.match(self._buffer, start) if tag == PARAMETER else None
        if named:
            self._begin_value(named)
        elif tag == PARAMETER_END and self._given:
            self._raw.append(self._take(start + len(tag)))
        elif tag == FUNCTION_END:
            self._raw.append(self._take(start + len(tag)))
            self._conclude()
        elif tag == SHUT or (self._given and self._closes(tag, start)):
            self._conclude()
        elif self._closes(tag, start):
            self._break_off()
        else:
            self._value = len(self._raw)
            self._step = self._read_body
        return True

    def _ahead(self, start: int) -> tuple[str | None, int]:
        """Return the tag of a call that follows after white space, empty where none does, and where; None where it is
        not known yet.
        """
        found = _AHEAD.match(self._buffer, start)
        assert found is not None
        place = found.start(1)
        is_begun = self._may_be_named(place) if found[1] else self._may_become(place, *_OF_CALL)
        return (None if is_begun else found[1]), place

    def _read_body(self) -> bool:
        """Reads what stands in a function without parameters: an object, or the value of the only parameter."""
        found = _IN_BODY.search(self._buffer, self._position)
        end = found.start() if found else len(self._buffer) if self._ended else self._before_part_of(*_OF_CALL)
        self._raw.append(self._take(end))
        if found is None and not self._ended:
            return False
        if found is None or found[0] == OPEN:
            self._break_off()
        elif found[0] == PARAMETER:
            self._fail("text stands before the first parameter", self._name)
        else:
            body = "".join(self._raw[self._value :])
            if found[0] == FUNCTION_END:
                self._raw.append(self._take(found.end()))
            self._conclude(body)
        return True

    def _begin_value(self, named: re.Match[str]) -> None:
        self._raw.append(self._take(named.end()))
        self._key = named[1]
        self._is_sent = False
        if self._eager and self._tool:
            self._is_sent = is_text(self._key, self._tool)
            begun = self._writer is not None
            self._writer = self._writer or ArgumentWriter()
            written = self._writer.begin_text(self._key) if self._is_sent else ""
            self._emit_arguments(written) if begun else self._emit_begun(self._name, written)
        self._line_end = ""
        self._weak = self._nested = None
        self._depth = 0
        self._step = self._open_value

    def _emit_begun(self, name: str, arguments: str) -> None:
        self._in_fence = self._in_fence or left_over.has_fence(self._gap)
        self._mark_call()
        self._emit_call(name, arguments)

    def _open_value(self) -> bool:
        """Reads the line end that the format puts before a value."""
        rest = self._buffer[self._position : self._position + 2]
        if rest in ("", "\r") and not self._ended:
            return False
        self._raw.append(self._take(self._position + (2 if rest == "\r\n" else rest[:1] == "\n")))
        self._value = len(self._raw)
        self._step = self._read_value
        return True

    def _read_value(self) -> bool:
        found = _IN_VALUE.search(self._buffer, self._position)
        if found is None:
            self._keep(len(self._buffer) if self._ended else self._before_part_of(*_OF_CALL))
            return self._ended and self._end_openly()
        self._keep(found.start())
        verdict, end = self._judge(found[0], found.start(), found.end())
        match verdict:
            case "unknown":
                return False
            case "end":
                self._end_value()
                self._raw.append(self._take(end))
            case "call" if self._weak:
                self._end_weakly(self._weak)
            case "call" if not self._bears_calls:
                self._break_off()
            case "call":
                self._nested = self._nested or self._doubt()
                self._depth += 1
                self._keep(end)
            case "weak":
                self._weak = self._weak or self._doubt()
                self._keep(end)
            case "text":
                self._keep(end)
        return True

    def _judge(self, tag: str, start: int, end: int) -> tuple[Verdict, int]:
        """Return what a tag in a value is, and up to where it is read."""
        begins_line = self._buffer[start - 1] == "\n"
        if tag in (PARAMETER, FUNCTION):
            named = _NAMED.match(self._buffer, start)
            if named is None and self._may_be_named(start):
                return "unknown", end
            if tag == PARAMETER:
                return ("end", start) if named and self._is_next(named[1]) else ("text", end)
            opens = named and begins_line and not self._is_wrapped and self._names.exact(named[1])
            return "call" if opens else "text", end
        following, place = self._ahead(end)
        if following is None:
            return "unknown", end
        closed = place + len(following)
        if tag == OPEN:
            return ("call", closed) if following == FUNCTION else ("text", end)
        if self._depth:
            closes = tag == FUNCTION_END and (following == SHUT or not self._is_wrapped)
            self._depth -= closes
            return "text", closed if closes and following == SHUT else end
        if tag == SHUT:
            return "weak" if begins_line else "text", end
        if tag == PARAMETER_END and following == FUNCTION_END and self._is_wrapped:
            following, place = self._ahead(closed)
            if following is None:
                return "unknown", end
            return ("end", end) if self._closes(following, place) else ("weak", closed)
        closes = self._closes(following, place)
        if tag == PARAMETER_END:
            return "end" if closes or following in (PARAMETER, FUNCTION_END) else "text", end
        return "weak" if closes or (begins_line and not self._is_wrapped) else "text", end

    def _closes(self, following: str, place: int) -> bool:
        """Return whether a call has ended before what follows."""
        return following in (SHUT, OPEN, FUNCTION) or (self._ended and place == len(self._buffer))

    def _is_next(self, key: str) -> bool:
        """Return whether a parameter's tag at a line start, before which no other was closed, is a parameter's."""
        if self._depth or self._tool is None or key == self._key or key in self._given:
            return False
        return key in self._tool.properties

    def _keep(self, end: int) -> None:
        """Reads more of the value."""
        text = self._take(end)
        if text and self._is_sent and not self._weak and not self._nested:
            self._send(text)
        elif text:
            self._raw.append(text)

    def _send(self, text: str, *, ends: bool = False) -> None:
        """Emits more of the value, but for a line end behind it; it is the format's where the value `ends` there."""
        assert self._writer is not None
        text = self._line_end + text
        kept = without_line_end(text)
        self._line_end = text[len(kept) :]
        if kept.endswith("\r") and not ends and not self._line_end:
            kept, self._line_end = kept[:-1], "\r"
        self._emit_arguments(self._writer.text(kept))

    def _end_value(self) -> None:
        """Reads the value that was kept, up to the tag that ends it."""
        text = "".join(self._raw[self._value :])
        self._given.add(self._key)
        self._step = self._read_function
        if self._is_sent and self._writer:
            self._send(text, ends=True)
            self._emit_arguments(self._writer.end_text())
        elif self._tool:
            value = read_member(without_line_end(text), self._key, self._tool)
            if self._writer:
                self._emit_arguments(self._writer.member(self._key, value))
            self._members[self._key] = value

    def _doubt(self) -> Doubt:
        return len(self._raw), self._buffer[self._position - 1]

    def _end_weakly(self, end: Doubt) -> None:
        self._take_back(end)
        self._end_value()

    def _end_openly(self) -> bool:
        """The turn has ended within the value: what was in doubt is read once more."""
        if self._weak:
            self._end_weakly(self._weak)
        elif self._nested and self._bears_calls:
            self._take_back(self._nested)
            self._bears_calls = False
        else:
            self._break_off()
        return True

    def _take_back(self, place: Doubt) -> None:
        """Takes back what was kept from there on, to read it once more."""
        index, before = place
        self._rewind("".join(self._raw[index:]), before)
        del self._raw[index:]
        self._weak = self._nested = None
        self._depth = 0

    # Where a call ends.

    def _conclude(self, body: str = "") -> None:
        """Ends the function: emits its call."""
        if self._tool is None:
            self._fail(f"unknown tool {self._name[:64]!r}", self._name)
        elif self._writer:
            self._emit_arguments(self._writer.end())
            self._step = self._read_block_end
        else:
            arguments = write_json(self._members) if self._given else read_bare(body, self._tool)
            self._emit_read(self._name, arguments)

    def _emit_read(self, name: str | None, arguments: str | Fault) -> None:
        if isinstance(arguments, Fault):
            self._fail(arguments.reason, name)
        else:
            self._emit_begun(name or "", arguments)
            self._step = self._read_block_end

    def _break_off(self) -> None:
        """The text that follows is no part of the call, which is not complete; one that was sent stays so."""
        if self._writer is None:
            self._fault = MalformedCall("", "the call is not complete", self._name or None)
            self._emit_fault()
        self._line_due = True
        self._step = self._resume

    def _fail(self, reason: str, name: str | None = None) -> None:
        self._fault = MalformedCall("", reason, name)
        self._step = self._read_non_call if self._is_wrapped else self._read_block_end

    def _read_non_call(self) -> bool:
        """What is no call ends at a tag of a block."""
        found = _BLOCK_TAG.search(self._buffer, self._position)
        end = found.start() if found else len(self._buffer) if self._ended else self._before_part_of(OPEN, SHUT)
        self._raw.append(self._take(end))
        if found is None and not self._ended:
            return False
        self._step = self._read_block_end
        return True

    def _read_block_end(self) -> bool:
        """Reads the block's closing tag, where there is one."""
        read = self._take(self._end_of(_JUNK))
        if self._fault:
            self._raw.append(read)
        if self._may_become(self._position, SHUT):
            return False
        if self._is_wrapped and self._buffer.startswith(SHUT, self._position):
            self._raw.append(self._take(self._position + len(SHUT)))
        self._step = self._skip_left_over if self._fault is None or self._in_fence else self._resume
        self._emit_fault()
        self._line_due = True
        return True

    def _emit_fault(self) -> None:
        if self._fault is not None:
            self._mark_call()
            text = "".join(self._raw).rstrip()
            self._emit_malformed(MalformedCall(text, self._fault.reason, self._fault.name), gap=self._gap)
            self._fault = None

    def _mark_call(self) -> None:
        self._mark("action", self._call_start)
        if self._arguments_start:
            self._mark("action_input", self._arguments_start)

    # A block that holds JSON.

    def _read_object(self) -> bool:
        end = self._scanner.scan(self._buffer, self._position)
        state = self._scanner.state
        self._raw.append(self._take(end - (state == "halted")))
        missing = ""
        if state == "halted":
            if self._may_become(self._position, SHUT):
                return False
            missing = self._scanner.missing
            if not self._buffer.startswith(SHUT, self._position) or not 0 < len(missing) <= _MOST_MISSING:
                self._fail("the call is not complete: a tag follows")
                return True
        if state == "open":
            if self._ended:
                self._fail("the call is not complete")
            return self._ended
        try:
            name, _, arguments = read_call(read_literal("".join(self._raw[self._value :]) + missing), self._names)
        except ValueError as error:
            name, arguments = None, Fault(f"the call is no JSON object: {error}")
        self._emit_read(name, arguments)
        return True

    def _is_invented(self, start: int) -> bool:
        """Return whether a result that begins here is one: after a call, and on a line of its own."""
        is_next = self._line_due and not self._buffer[self._position : start].strip()
        return self._next_index > 0 and (is_next or self._buffer[start - 1] == "\n")

    def _finish(self, rest: str, *, cut: bool) -> None:
        in_block = (
            *(self._read_block_start, self._read_function, self._read_body, self._open_value, self._read_value),
            *(self._read_object, self._read_non_call, self._read_block_end),
        )
        if not cut and self._step in in_block:
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
            case self._skip_left_over | self._read_after_fence:
                self._finish_left_over(rest)
            case self._read_block_end:
                self._raw.append(rest)
                self._emit_fault()
            case _ if self._step in in_block and self._writer is None:
                self._say(self._gap + "".join(self._raw) + rest)
            case _:
                pass
