"""Reads Hermes text as a stream: prose with `<tool_call>` blocks that hold a JSON object.

Owns the one state machine that whole texts and streams go through. Knows no prompt. A call is sent once its object is
complete and valid; only what could still be a tag is held back; a block that is no call is content.
"""

import re

from callwright.dialects.arguments import Fault, read_value
from callwright.dialects.literals import MAX_DEPTH, ObjectScanner, outside, read_literal
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import MalformedCall

OPEN = "<tool_call>"
SHUT = "</tool_call>"
_THINK, _THINK_END = "<think>", "</think>"
_TAG = re.compile(rf"{OPEN}|^[ \t]{{0,8}}{_THINK}", re.MULTILINE)
_OUTSIDE = outside("<")
_SPACE = re.compile(r"\s*")
_FENCE = re.compile(r"\s*(?:`{1,3}[a-z]{0,8}\s*)?")
_JUNK = re.compile(r"[\s}\])`]*")
_HEAD = re.compile(r'\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*(?=\{)')
_LONGEST_HEAD = 512
_MOST_MISSING = 2
"""Closing brackets that may be missing where the block itself is closed: a slip of small models."""


class HermesStream(Stream):
    """The parser of one turn."""

    def __init__(self, names: Names, *, eager: bool) -> None:
        super().__init__()
        self._names = names
        self._eager = eager
        self._gap = ""
        self._raw: list[str] = []
        self._body: list[str] = []
        self._scanner = ObjectScanner(_OUTSIDE)
        self._undecided = False
        self._fault: MalformedCall | None = None

    def _text(self) -> bool:
        found = _TAG.search(self._buffer, self._position)
        if found is None:
            end = self._before_partial(OPEN, _THINK)
            self._say(self._take(self._before_gap(end)))
            return False
        self._say(self._take(self._before_gap(found.start())))
        self._gap = self._take(found.start())
        tag = self._take(found.end())
        if tag == OPEN:
            self._raw = [tag]
            self._step = self._open
        else:
            self._say(self._gap + tag)
            self._step = self._thinking
        return True

    def _is_prose(self, chunk: str) -> bool:
        return self._step == self._text and "<" not in chunk and not chunk[-1].isspace()

    def _before_partial(self, *tags: str) -> int:
        """Where a tag may have begun at the end of the text, or its end."""
        end = len(self._buffer)
        start = self._buffer.rfind("<", max(self._position, end - len(SHUT)))
        return start if start >= 0 and any(tag.startswith(self._buffer[start:]) for tag in tags) else end

    def _thinking(self) -> bool:
        end = self._buffer.find(_THINK_END, self._position)
        if end < 0:
            self._say(self._take(self._before_partial(_THINK_END)))
            return False
        self._say(self._take(end + len(_THINK_END)))
        self._step = self._text
        return True

    def _open(self) -> bool:
        found = _FENCE.match(self._buffer, self._position)
        start = found.end() if found else self._position
        if start == len(self._buffer):
            return self._wait_open()
        self._raw.append(self._take(start))
        self._body = []
        if self._buffer[start] == "{":
            self._scanner = ObjectScanner(_OUTSIDE)
            self._undecided = self._eager
            self._step = self._object
        else:
            self._step = self._no_object
        return True

    def _wait_open(self) -> bool:
        """Reads plain white space, however much; a fence is short and waits in the buffer."""
        found = _SPACE.match(self._buffer, self._position)
        self._raw.append(self._take(found.end() if found else self._position))
        return False

    def _no_object(self) -> bool:
        shut = self._buffer.find(SHUT, self._position)
        opened = self._buffer.find(OPEN, self._position)
        if shut < 0 and opened < 0:
            self._raw.append(self._take(self._before_partial(SHUT, OPEN)))
            return False
        self._raw.append(self._take(min(index for index in (shut, opened) if index >= 0)))
        self._fault = MalformedCall("", "the block holds no JSON object")
        self._step = self._shut
        return True

    def _object(self) -> bool:
        end = self._scanner.scan(self._buffer, self._position)
        state = self._scanner.state
        if state == "halted":
            end -= 1
            if len(self._buffer) - end < len(SHUT) and SHUT.startswith(self._buffer[end:]):
                self._body.append(self._take(end))
                self._step = self._halted
                return True
        self._body.append(self._take(end))
        if self._undecided and self._begin_eagerly():
            return True
        if state == "done":
            self._conclude("".join(self._body))
        elif state == "halted":
            self._step = self._halted
        return state != "open"

    def _halted(self) -> bool:
        """The object broke off at a tag: with the block closed, a bracket or two may have been forgotten."""
        rest = self._buffer[self._position : self._position + len(SHUT)]
        if len(rest) < len(SHUT) and SHUT.startswith(rest):
            return False
        missing = self._scanner.missing
        if rest == SHUT and 0 < len(missing) <= _MOST_MISSING:
            self._conclude("".join(self._body).rstrip(), missing)
        else:
            self._fail("the call is not complete: a tag follows")
        return True

    def _begin_eagerly(self) -> bool:
        """Sends the call as soon as its name and the brace of its arguments are there."""
        text = "".join(self._body)
        found = _HEAD.match(text)
        if found is None:
            self._undecided = len(text) < _LONGEST_HEAD
            return False
        self._undecided = False
        tool = self._names.exact(found[1])
        if tool is None:
            return False
        self._scanner = ObjectScanner(_OUTSIDE)
        end = self._scanner.scan(text, found.end()) - (self._scanner.state == "halted")
        self._open_call(tool.name, text[found.end() : end])
        self._raw, self._body = [], []
        self._position -= len(text) - end
        self._step = self._arguments
        self._end_arguments()
        return True

    def _arguments(self) -> bool:
        end = self._scanner.scan(self._buffer, self._position)
        self._add_arguments(self._take(end - (self._scanner.state == "halted")))
        return self._end_arguments()

    def _end_arguments(self) -> bool:
        if self._scanner.state == "open":
            return False
        done = self._scanner.state == "done"
        self._scanner = ObjectScanner(_OUTSIDE, inside=True)
        self._step = self._drain if done else self._shut
        return True

    def _drain(self) -> bool:
        """Reads what follows the arguments of an eager call inside its object."""
        end = self._scanner.scan(self._buffer, self._position)
        self._take(end - (self._scanner.state == "halted"))
        if self._scanner.state == "open":
            return False
        self._step = self._shut
        return True

    def _conclude(self, text: str, missing: str = "") -> None:
        if self._scanner.too_deep:
            self._fail(f"the call is nested deeper than {MAX_DEPTH} levels")
            return
        name, result = self._read_call(text + missing)
        if isinstance(result, Fault):
            self._fail(result.reason, name)
            return
        self._open_call(name or "", result)
        self._raw, self._body = [], []
        self._step = self._shut

    def _fail(self, reason: str, name: str | None = None) -> None:
        self._raw.extend(self._body)
        self._body = []
        self._fault = MalformedCall("", reason, name)
        self._step = self._shut

    def _read_call(self, text: str) -> tuple[str | None, str | Fault]:
        try:
            value = read_literal(text)
        except ValueError as error:
            return None, Fault(f"the call is no JSON object: {error}")
        call = value.get("function", value) if isinstance(value, dict) else value
        name = call.get("name") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(name, str):
            return None, Fault("the call has no name")
        tool: Tool | None = self._names.exact(name)
        if tool is None:
            return name, Fault(f"unknown tool {name[:64]!r}")
        return tool.name, read_value(call.get("arguments", call.get("parameters", {})), tool)

    def _shut(self) -> bool:
        """Reads the closing tag, where there is one, and brackets or fences closed once too often before it."""
        found = _JUNK.match(self._buffer, self._position)
        read = self._take(found.end() if found else self._position)
        rest = self._buffer[self._position : self._position + len(SHUT)]
        if self._fault is not None:
            self._raw.append(read)
        if len(rest) < len(SHUT) and SHUT.startswith(rest):
            return False
        if rest == SHUT:
            tag = self._take(self._position + len(SHUT))
            if self._fault is not None:
                self._raw.append(tag)
        self._report_fault()
        self._separate = True
        self._step = self._resume
        return True

    def _report_fault(self) -> None:
        if self._fault is not None:
            text = "".join(self._raw).rstrip()
            self._report(self._gap, MalformedCall(text, self._fault.reason, self._fault.name))
            self._fault, self._raw = None, []

    def _resume(self) -> bool:
        found = _SPACE.match(self._buffer, self._position)
        self._position = found.end() if found else self._position
        if self._position == len(self._buffer):
            return False
        self._step = self._text
        return True

    def _finish(self, cut: bool) -> None:
        rest = self._buffer[self._position :]
        self._position = len(self._buffer)
        match self._step:
            case self._text | self._thinking:
                self._say(rest)
            case self._open | self._no_object | self._object | self._halted:
                self._raw.extend([*self._body, rest])
                if cut:
                    self._say(self._gap + "".join(self._raw))
                else:
                    self._fault = MalformedCall("", "the call is not complete")
                    self._report_fault()
            case self._shut:
                if self._fault is not None:
                    self._raw.append(rest)
                self._report_fault()
            case _:
                pass
