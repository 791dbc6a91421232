"""The base of streams in formats whose calls have no closing tag of their own: JSON objects, names with JSON behind
them, Python's calls.

What is read of a call, from its marker on, waits in `_raw`, to be content if it is no call after all.
"""

import re
from collections.abc import Callable
from typing import ClassVar, Literal

from callwright.dialects.arguments import Fault, read_bare, read_call, read_inline, read_object
from callwright.dialects.left_over import has_fence
from callwright.dialects.literals import MAX_DEPTH, read_literal
from callwright.dialects.object_scanner import MOST_MISSING, ObjectScanner
from callwright.dialects.object_stream import ObjectStream
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import MalformedCall

Form = Literal["object", "arguments", "python"]
"""An object that names its tool; the arguments of a tool that was named before, as an object or in parentheses."""

Matcher = Callable[[str, int], re.Match[str] | None]
_SPACE = re.compile(r"\s*")
_BETWEEN = re.compile(r"[\s;,\]})]*")
"""What separates calls, and what is closed once too often behind one."""
_ARGUMENTS = re.compile(r"""["'](?:arguments|parameters)["']\s*:""")
_S = r"\s{0,16}"
_OBJECT_HEAD = re.compile(
    rf'{{{_S}(?:"type"{_S}:{_S}"function"{_S},{_S})?"name"{_S}:{_S}"([^"\\]{{0,128}})"{_S},{_S}'
    rf'"(?:arguments|parameters)"{_S}:{_S}(?={{)'
)


def outside(*markers: str) -> re.Pattern[str]:
    """Make the pattern of what matters outside strings: markers, quotes and brackets."""
    return re.compile("|".join([*map(re.escape, markers), r"[\"'“{}\[\]()]"]))


class CallStream(ObjectStream):
    """Reads one turn; a subclass says where a call begins, and what follows one."""

    ends: ClassVar[tuple[str, ...]] = ()
    """Markers that no call goes beyond, but within a string."""
    outside: ClassVar[re.Pattern[str]] = outside()
    object_head: ClassVar[re.Pattern[str]] = _OBJECT_HEAD

    def __init__(self, names: Names, *, eager: bool, opened: bool) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._form: Form = "object"
        self._call_start = 0
        self._name = ""
        self._tool: Tool | None = None
        """The tool that was named before its arguments."""
        self._is_marked = False
        """Whether a marker stands before the call, so that it is one, if only a malformed one."""

    # What a parser defines.

    def _is_call(self, value: object) -> bool:
        """Return whether an object without a marker before it is a call, if only a malformed one."""
        raise NotImplementedError

    def _is_begun_call(self, text: str) -> bool:
        """Return whether the text of an unreadable object without a marker should be one."""
        raise NotImplementedError

    def _after_call(self) -> None:
        """Sets the step that follows a call."""
        self._step = self._read_between

    # Steps.

    def _begin(self, form: Form, name: str = "") -> None:
        """Begins to read a call from here; its form says what the bracket here opens."""
        self._prepare(form, name)
        self._scanner = ObjectScanner(self.outside, call=form == "python")
        self._may_begin_eagerly = self._eager and form == "object"
        self._step = self._read_call
        if self._eager and form == "arguments" and self._tool is not None:
            self._begin_arguments(self._tool, len("".join(self._raw)))

    def _prepare(self, form: Form, name: str) -> None:
        self._form, self._name = form, name
        self._tool = self._names.exact(name) if name else None
        self._body = []

    def _read_call(self) -> bool:
        if self._position == len(self._buffer):
            return False
        state = self._scan()
        if self._may_begin_eagerly and self._begin_eagerly():
            return True
        if state == "done":
            self._conclude("".join(self._body))
        elif state == "halted":
            self._end_unfinished("a marker follows")
        return state != "open"

    def _scan(self) -> str:
        """Reads on; returns the scanner's state, `halted` where one of `ends` stands here."""
        text = self._buffer
        end = self._scanner.scan(text, self._position, self._before_part_of(*self.ends))
        if self._scanner.state == "halted":
            end -= next(len(marker) for marker in self.ends if text.endswith(marker, 0, end))
        self._body.append(self._take(end))
        return self._scanner.state

    def _end_unfinished(self, why: str) -> None:
        """Ends a call in the middle of its brackets, of which one or two may have been forgotten."""
        missing = self._scanner.missing
        text = "".join(self._body)
        if 0 < len(missing) <= MOST_MISSING and not self._scanner.too_deep:
            self._conclude(text.rstrip(), missing)
        elif self._is_marked or self._is_begun_call(text):
            self._fail(f"the call is not complete: {why}", self._name or None)
        else:
            self._be_prose()

    def _begin_eagerly(self) -> bool:
        """Emits the call as soon as its name and the brace of its arguments are there."""
        if (head := self._tool_at_head()) is None:
            return False
        tool, begins = head
        self._position -= sum(map(len, self._body)) - begins
        self._begin_arguments(tool, sum(map(len, self._raw)) + begins, inside=True)
        return True

    def _begin_arguments(self, tool: Tool, offset: int, *, inside: bool = False) -> None:
        self._mark_call(offset)
        self._emit_call(tool.name, "")
        self._raw, self._body = [], []
        self._scanner = ObjectScanner(self.outside)
        self._step = self._read_eager_arguments
        self._form = "object" if inside else "arguments"

    def _read_eager_arguments(self) -> bool:
        if self._position == len(self._buffer):
            return False
        state = self._scan()
        self._emit_arguments("".join(self._body))
        self._body = []
        if state == "open":
            return False
        if state == "done" and self._form == "object":
            self._scanner = ObjectScanner(self.outside, inside=True)
            self._step = self._read_eager_rest
        else:
            self._after_call()
        return True

    def _read_eager_rest(self) -> bool:
        """Reads what follows the arguments of an eager call inside its object."""
        if self._position == len(self._buffer):
            return False
        state = self._scan()
        self._body = []
        if state == "open":
            return False
        self._after_call()
        return True

    def _conclude(self, text: str, missing: str = "") -> None:
        """Ends a call whose brackets are closed."""
        if self._scanner.too_deep:
            self._fail(f"the call is nested deeper than {MAX_DEPTH} levels", self._name or None)
            return
        match self._form:
            case "object":
                self._conclude_object(text + missing)
            case "arguments":
                self._conclude_named(text, read_object(text + missing, self._tool) if self._tool else None)
            case "python":
                self._conclude_python(text, (text + missing)[1:-1])

    def _conclude_object(self, text: str) -> None:
        name: str | None = None
        try:
            value = read_literal(text)
        except ValueError as error:
            if not self._is_marked and not self._is_begun_call(text):
                self._be_prose()
                return
            result: str | Fault = Fault(f"the call is no JSON object: {error}")
        else:
            if not self._is_marked and not self._is_call(value):
                self._be_prose()
                return
            name, _, result = read_call(value, self._names)
        found = _ARGUMENTS.search(text)
        self._end_call(name or "", result, found.start() if found else 0)

    def _conclude_python(self, text: str, inside: str) -> None:
        result = read_inline(inside, self._tool) if self._tool is not None else None
        if result is None and self._tool is not None:
            result = Fault("the arguments are no Python literals")
        self._conclude_named(text, result)

    def _conclude_named(self, text: str, result: str | Fault | None) -> None:
        """Ends a call whose name stands before it; `result` None: no tool has that name."""
        if result is None:
            result = Fault(f"unknown tool {self._name[:64]!r}")
        self._end_call(self._tool.name if self._tool else self._name, result, 0)

    def _conclude_bare(self) -> None:
        """Ends a call whose arguments are no object."""
        text = "".join(self._body)
        self._conclude_named(text, read_bare(text, self._tool) if self._tool else None)

    def _end_call(self, name: str, result: str | Fault, offset: int) -> None:
        """Emits the call, or notes the fault; its arguments begin `offset` characters behind `_raw`."""
        if isinstance(result, Fault):
            self._fail(result.reason, name or None, offset)
            return
        self._in_fence = self._in_fence or has_fence(self._gap)
        self._mark_call(len("".join(self._raw)) + offset)
        self._emit_call(name, result)
        self._raw, self._body = [], []
        self._after_call()

    def _mark_call(self, offset: int) -> None:
        self._mark("action", self._call_start)
        self._mark("action_input", self._call_start + len(self._gap) + offset)

    def _fail(self, reason: str, name: str | None = None, offset: int = 0) -> None:
        self._mark_call(len("".join(self._raw)) + offset)
        self._raw += self._body
        self._body = []
        self._fault = MalformedCall("", reason, name)
        self._step = self._read_fault_end

    def _read_fault_end(self) -> bool:
        """Takes what closes a malformed call, then emits it."""
        self._raw.append(self._take(self._end_of(_BETWEEN)))
        if self._position == len(self._buffer):
            return False
        self._emit_fault()
        self._after_call()
        return True

    def _emit_fault(self) -> None:
        if self._fault is not None:
            text = "".join(self._raw).strip(" \t\r\n;,")
            self._emit_malformed(MalformedCall(text, self._fault.reason, self._fault.name), gap=self._gap)
            self._fault, self._raw = None, []

    def _be_prose(self) -> None:
        """What was read is no call: it is said."""
        self._say(self._gap + "".join(self._raw) + "".join(self._body))
        self._gap, self._raw, self._body = "", [], []
        self._step = self._read_prose

    def _read_between(self) -> bool:
        """Skips what separates calls, and what is closed once too often."""
        self._gap = ""
        if not self._skip(_BETWEEN):
            return False
        self._step = self._skip_left_over
        return True

    def _open_call(self, start: int, end: int, *, marked: bool) -> None:
        """Says the content before a call that begins at `start`; what stands up to `end` is read."""
        self._say_until(self._before_lead(start) if marked else self._before_gap(start))
        self._call_start = self._position
        self._gap = self._take(start)
        self._raw = [self._take(end)]
        self._is_marked = marked
        self.met_marker = True

    def _opens_bare(self, start: int, head: Matcher, may_be_head: Matcher, *tags: str) -> bool | None:
        """Return whether a call without a marker opens at the head of a line; None where more text has to say it, of
        the call or of one of the `tags`. Prose before it is said, and what opens none.
        """
        is_code = bool(self._block_after(self._buffer[self._position : start]))
        if self._before_part_of(*tags) == start or (not is_code and may_be_head(self._buffer, start)):
            self._say_until(self._before_gap(start))
            return None
        if is_code or not head(self._buffer, start):
            self._say_until(start + 1)
            return False
        return True

    def _is_apart(self) -> bool:
        """Return whether the marker that was opened stands at the head of a line, or behind another call."""
        return self._line_due or "\n" in self._gap or self._last_said in ("", "\n")

    def _finish(self, rest: str, *, cut: bool) -> None:
        match self._step:
            case self._read_prose:
                self._finish_prose(rest)
            case self._read_thought:
                self._think(rest.rstrip())
            case self._skip_left_over | self._read_after_fence:
                self._finish_left_over(rest)
            case self._read_call:
                self._body.append(rest)
                if cut:
                    self._be_prose()
                else:
                    self._scanner.scan(f"{rest}\n", 0)  # so that a string whose quote was the last character is closed
                    self._end_unfinished("the turn ends")
                    self._emit_fault()
            case self._read_fault_end:
                self._raw.append(rest)
                self._emit_fault()
            case self._read_eager_arguments:
                self._emit_arguments(rest)
            case self._read_eager_rest | self._read_between | self._skip_all:
                pass
            case _:
                self._finish_other(rest, cut=cut)

    def _finish_prose(self, rest: str) -> None:
        self._say(rest)

    def _finish_other(self, rest: str, *, cut: bool) -> None:
        """Ends a step of the subclass."""
