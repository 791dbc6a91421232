"""Reads calls as Qwen3-Coder, Qwen3.5 and later, and Nemotron 3 write them: a tag for each parameter, raw text in it.

    <tool_call>
    <function=get_weather>
    <parameter=city>
    Paris
    </parameter>
    </function>
    </tool_call>

Nothing is escaped: where a value ends, `qwen_xml_values` says. An eager reader gets the text of a value as it comes.
"""

import re

from callwright.dialects import left_over
from callwright.dialects.arguments import Fault, read_bare, read_call
from callwright.dialects.left_over import OPEN, RESULT, SHUT
from callwright.dialects.literals import read_literal, write_json
from callwright.dialects.object_scanner import MOST_MISSING, ObjectScanner, outside
from callwright.dialects.qwen_xml_values import (
    FUNCTION,
    FUNCTION_END,
    NAMED,
    OF_CALL,
    PARAMETER,
    PARAMETER_END,
    QwenXmlValues,
)
from callwright.dialects.tools import Names
from callwright.dialects.types import THINK, MalformedCall

_TAG = re.compile(rf"<tool_(?:call|response)>|{FUNCTION}|^[ \t]{{0,8}}{THINK}", re.MULTILINE)
find_tag = _TAG.search
"""Finds the next tag that leads out of prose."""
_OF_PROSE = (OPEN, RESULT, FUNCTION, THINK)
_IN_BODY = re.compile(f"{PARAMETER}|{FUNCTION_END}|{SHUT}|{OPEN}")
_BLOCK_TAG = re.compile(f"{OPEN}|{SHUT}")
_FENCE = re.compile(r"\s{0,64}(?:`{1,3}[a-z]{0,8}\s{0,64})?")
_BESIDE = re.compile(r"[ \t]{1,64}[^\s{`]")
_OPENS_OBJECT = re.compile(r"\{\s{0,64}([\"'}])?")
_JUNK = re.compile(r"[\s`~]*")
_OUTSIDE = outside("<")


class QwenXmlStream(QwenXmlValues):
    """Reads one turn."""

    rests = left_over.Rests(SHUT, FUNCTION_END, PARAMETER_END)

    call_tag = OPEN

    def __init__(self, names: Names, *, eager: bool, opened: bool = False) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._is_apart = False
        """Whether the block's tag stands on a line of its own, or behind another block."""
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
        named = NAMED.match(self._buffer, start) if is_function else None
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

    def _opens_call(self, start: int) -> bool | None:
        tag, place = self._ahead(start)
        return None if tag is None else tag == FUNCTION and NAMED.match(self._buffer, place) is not None

    # A function's parameters.

    def _read_function(self) -> bool:
        """Reads up to the next tag; text before the first one stands for all arguments."""
        tag, start = self._ahead(self._position)
        if tag is None:
            return False
        self._arguments_start = self._arguments_start or self._offset + start
        named = NAMED.match(self._buffer, start) if tag == PARAMETER else None
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

    def _read_body(self) -> bool:
        """Reads what stands in a function without parameters: an object, or the value of the only parameter."""
        found = _IN_BODY.search(self._buffer, self._position)
        end = found.start() if found else self._up_to(*OF_CALL)
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
