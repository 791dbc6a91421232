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
from callwright.dialects.arguments import Fault, read_bare, read_call
from callwright.dialects.left_over import OPEN, RESULT, SHUT
from callwright.dialects.literals import read_literal, write_json
from callwright.dialects.object_scanner import MOST_MISSING, ObjectScanner, outside
from callwright.dialects.raw_call_stream import Doubt, RawCallStream
from callwright.dialects.raw_values import is_text, read_member
from callwright.dialects.tools import Names
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
_OF_PROSE = (OPEN, RESULT, FUNCTION, THINK)
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

Verdict = Literal["unknown", "text", "end", "weak", "call"]
"""What a tag in a value is: not known yet, text, the value's end, its end if no better one comes, or another call's."""


class QwenXmlStream(RawCallStream):
    """Reads one turn."""

    rests = left_over.Rests(SHUT, FUNCTION_END, PARAMETER_END)

    call_tag = OPEN

    def __init__(self, names: Names, *, eager: bool, opened: bool = False) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._bears_calls = True
        """Whether a call that opens within a value may be part of it; not once such a value never ended."""
        self._is_apart = False
        """Whether the block's tag stands on a line of its own, or behind another block."""
        self._is_wrapped = False
        """Whether `<tool_call>` stands before the function."""
        self._given: set[str] = set()
        """Keys of the parameters that were read."""
        self._line_end = ""
        """The line end that was read last of a value that is sent: it may be the format's."""
        self._line_break = "\n"
        """The line end that stands before the value, and behind it."""
        self._nested: Doubt | None = None
        """Where a call within the value begins, or the next call if the value never ends."""
        self._depth = 0
        """Calls within the value that are open."""
        self._scanner = ObjectScanner(_OUTSIDE)

    # Prose, and where a block begins.

    def _read_prose(self) -> bool:
        has_tag = self._buffer.find("<", self._position) >= 0  # much quicker asked first
        found = _TAG.search(self._buffer, self._position) if has_tag else None
        if found is None:
            return self._say_prose(*_OF_PROSE) if has_tag else self._say_prose()
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
        self._writer = None
        self._is_wrapped = found[0] == OPEN
        self._raw = [self._take(found.end())] if self._is_wrapped else [""]
        self._step = self._skip_all if found[0] == RESULT else self._read_block_start
        self.met_marker = self.met_marker or found[0] != FUNCTION
        return True

    def _find_marker(self, start: int, end: int) -> int:
        found = _TAG.search(self._buffer, start, end)
        return found.start() if found else -1

    def _read_block_start(self) -> bool:
        """A tag opens a block where a function's follows; else only on a line of its own, if it is not talked about."""
        start = self._end_of(_FENCE) if self._is_wrapped else self._position
        is_function = self._buffer.startswith(FUNCTION, start)
        if self._may_become(start, FUNCTION) or (is_function and self._may_be_named(start)):
            return False
        named = _NAMED.match(self._buffer, start) if is_function else None
        tool = self._names.exact(named[1]) if named else None
        if named and (tool or self._is_wrapped) and (self._is_apart or (tool and self._is_wrapped)):
            self._begin_function(named[1], named.end())
            self._given = set()
            self._step = self._read_function
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

    def _may_be_named(self, start: int) -> bool:
        """Return whether what stands there is the tag of a function or a parameter whose name has not ended."""
        rest = self._buffer[start : start + _LONGEST_NAMED]
        return not self._ended and len(rest) < _LONGEST_NAMED and _NAMED_PART.match(rest) is not None

    def _opens_call(self, start: int) -> bool | None:
        tag, place = self._ahead(start)
        return None if tag is None else tag == FUNCTION and _NAMED.match(self._buffer, place) is not None

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
        end = found.start() if found else self._up_to(*_OF_CALL)
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
        self._begin_member(is_sent=self._tool is not None and is_text(self._key, self._tool))
        self._line_end = ""
        self._nested, self._depth = None, 0
        self._step = self._open_value

    def _open_value(self) -> bool:
        """Reads the line end that the format puts before a value."""
        rest = self._buffer[self._position : self._position + 2]
        if rest in ("", "\r") and not self._ended:
            return False
        self._line_break = "\r\n" if rest == "\r\n" else "\n"
        if rest.startswith(self._line_break):
            self._raw.append(self._take(self._position + len(self._line_break)))
        self._value = len(self._raw)
        self._step = self._read_value
        return True

    def _read_value(self) -> bool:
        found = _IN_VALUE.search(self._buffer, self._position)
        if found is None:
            self._keep(self._up_to(*_OF_CALL))
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
        kept = text.removesuffix(self._line_break)
        if kept == text and not ends and self._line_break == "\r\n":
            kept = text.removesuffix("\r")
        self._line_end = text[len(kept) :]
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
            self._put(read_member(text.removesuffix(self._line_break), self._key, self._tool))

    def _end_weakly(self, end: Doubt) -> None:
        self._take_back(end)
        self._nested, self._depth = None, 0
        self._end_value()

    def _end_openly(self) -> bool:
        """The turn has ended within the value: what was in doubt is read once more."""
        if self._weak:
            self._end_weakly(self._weak)
        elif self._nested and self._bears_calls:
            self._take_back(self._nested)
            self._nested, self._depth = None, 0
            self._bears_calls = False
        else:
            self._break_off()
        return True

    # Where a call ends.

    def _conclude(self, body: str = "") -> None:
        """Ends the function: emits its call."""
        if self._tool is None:
            self._fail(f"unknown tool {self._name[:64]!r}", self._name)
        elif self._writer:
            self._emit_arguments(self._writer.end())
            self._step = self._read_block_end
        else:
            arguments = read_bare(body, self._tool) if body.strip() else write_json(self._members)
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

    def _read_non_call(self) -> bool:
        """What is no call ends at a tag of a block."""
        if not self._is_wrapped:
            self._step = self._read_block_end
            return True
        return self._read_up_to(_BLOCK_TAG, (OPEN, SHUT), self._read_block_end)

    def _read_block_end(self) -> bool:
        """Reads the block's closing tag, where there is one."""
        return self._close_call(SHUT if self._is_wrapped else "", self._end_of(_JUNK))

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
            if not self._buffer.startswith(SHUT, self._position) or not 0 < len(missing) <= MOST_MISSING:
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
