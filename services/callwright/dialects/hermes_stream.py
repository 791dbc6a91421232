"""Reads Hermes text as a stream: prose with `<tool_call>` blocks, each a JSON object with a name and arguments.

A call is emitted once its object is complete and valid, or eagerly, as its arguments come. Only what could still become
a tag is held back. A block that is no call is content.
"""

import re

from callwright.dialects import left_over
from callwright.dialects.arguments import Fault, read_call
from callwright.dialects.left_over import OPEN, RESULT, SHUT
from callwright.dialects.literals import MAX_DEPTH, read_literal
from callwright.dialects.object_scanner import MOST_MISSING, ObjectScanner, outside
from callwright.dialects.object_stream import ObjectStream
from callwright.dialects.tools import Names
from callwright.dialects.types import THINK, MalformedCall

_TAG = re.compile(rf"<tool_(?:call|response)>|^[ \t]{{0,8}}{THINK}", re.MULTILINE)
_ARGUMENTS = re.compile(r'"arguments"\s*:')
_BLOCK_TAG = re.compile(f"{OPEN}|{SHUT}")
_OUTSIDE = outside("<")
_SPACE = re.compile(r"\s*")
_FENCE = re.compile(r"\s*(?:`{1,3}[a-z]{0,8}\s{0,256})?(?:\[\s{0,64}(?=\{|\Z))?")
_OPENS_OBJECT = re.compile(r"\{\s{0,64}([\"'“}])?")
_BESIDE = re.compile(r"[ \t]+[^\s{`\[]")
_JUNK = re.compile(r"[\s}\])`~,;]*")
_OBJECT_HEAD = re.compile(r'\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*(?=\{)')


def find_tag(text: str) -> re.Match[str] | None:
    """Return the first tag that leads out of prose."""
    return _TAG.search(text) if "<" in text else None  # much quicker asked first


class HermesStream(ObjectStream):
    """Reads one turn."""

    outside = _OUTSIDE
    object_head = _OBJECT_HEAD

    def __init__(self, names: Names, *, eager: bool, opened: bool = False) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._is_apart = False
        """Whether the block's tag stands on a line of its own, or behind another block."""
        self._block_start = 0
        """Where the text of the call that is being read begins."""

    def _read_prose(self) -> bool:
        has_tag = self._buffer.find("<", self._position) >= 0  # much quicker asked first
        found = _TAG.search(self._buffer, self._position) if has_tag else None
        if found is None:
            end = self._before_part_of(OPEN, RESULT, THINK) if has_tag else len(self._buffer)
            if self._last_said in ("", "\n") or self._buffer.find("\n", self._position - 1) >= 0 or self._line_due:
                end = self._before_lead(end)
            else:
                end = self._before_gap(end)  # no line begins, so no fence is there
            self._say(self._take(end))
            return False
        if found[0] == RESULT and not self._is_invented(found.start()):
            self._say_until(found.end())
            return True
        if found[0] not in (OPEN, RESULT):
            self._at_think(found.start(), found.end())
            return True
        follows_line = self._buffer[found.start() - 1] == "\n" and found.start() > self._position
        self._block_start = found.start() - follows_line
        self._take_lead(found.start())
        self.met_marker = True
        self._is_apart = self._line_due or "\n" in self._gap or self._last_said in ("", "\n")
        self._raw = [self._take(found.end())]
        self._step = self._read_block_start if found[0] == OPEN else self._skip_all  # the model invents a result
        return True

    def _is_invented(self, start: int) -> bool:
        """Return whether a result that begins here is one: after a call, and on a line of its own."""
        is_next = self._line_due and not self._buffer[self._position : start].strip()
        return self._next_index > 0 and (is_next or self._buffer[start - 1] == "\n")

    def _is_prose(self, chunk: str) -> bool:
        is_plain = "<" not in chunk and "`" not in chunk and "~" not in chunk and not chunk[-1].isspace()
        return is_plain and self._step == self._read_prose

    def _find_marker(self, start: int, end: int) -> int:
        found = _TAG.search(self._buffer, start, end)
        return found.start() if found else -1

    def _read_block_start(self) -> bool:
        """A tag opens a block where an object follows; else only on a line of its own, and it is not talked
        about.
        """
        start = self._end_of(_FENCE)
        if start == len(self._buffer):
            self._raw.append(self._take(self._end_of(_SPACE)))  # a fence is short and waits in the buffer
            return False
        opens = _OPENS_OBJECT.match(self._buffer, start)
        if opens and not opens[1] and opens.end() == len(self._buffer) and not self._is_apart:
            return False
        if opens and (opens[1] or self._is_apart):
            self._raw.append(self._take(start))
            self._begin_object()
        elif self._is_apart and not _BESIDE.match("".join(self._raw[1:]) + self._buffer[self._position : start + 1]):
            self._raw.append(self._take(start))
            self._step = self._read_non_object
        else:
            self._be_prose()
        return True

    def _be_prose(self) -> None:
        """The tag is only talked about; the white space behind it, where it was taken, is read once more."""
        tag, *space = self._raw
        if space:
            self._buffer, self._position = "".join([tag[-1], *space, self._buffer[self._position :]]), 1
        self._say(self._gap + tag)
        self._step = self._read_prose

    def _begin_object(self) -> None:
        self._body = []
        self._scanner = ObjectScanner(_OUTSIDE)
        self._may_begin_eagerly = self._eager
        self._step = self._read_object

    def _read_non_object(self) -> bool:
        """What is no object, or stands beside one, ends at a tag."""
        found = self._next_block_tag()
        if found is None:
            return False
        self._raw.append(self._take(found.start()))
        self._fault = self._fault or MalformedCall("", "the block holds no JSON object")
        self._step = self._read_block_end
        return True

    def _read_beside(self) -> bool:
        """What follows a call in its block is a malformed one, or prose where the block was never closed."""
        found = self._next_block_tag()
        if found is None:
            return False
        rest = self._take(found.start())
        if found[0] == OPEN:
            self._end_beside(rest)
        else:
            self._raw.append(rest)
            if "".join(self._raw).strip(" \t\r\n\"'"):
                self._fault = MalformedCall("", "the block holds more than a call")
            self._step = self._read_block_end
        return True

    def _next_block_tag(self) -> re.Match[str] | None:
        """Return the first tag from here that opens or closes a block; where none does, what is surely before it is
        read.
        """
        found = _BLOCK_TAG.search(self._buffer, self._position)
        if found is None:
            self._raw.append(self._take(self._before_part_of(SHUT, OPEN)))
        return found

    def _end_beside(self, rest: str) -> None:
        self._line_due = True
        self._say("".join([*self._raw, rest]).rstrip())
        self._raw = []
        self._step = self._read_prose

    def _read_object(self) -> bool:
        end = self._scanner.scan(self._buffer, self._position)
        state = self._scanner.state
        self._body.append(self._take(end - (state == "halted")))
        if self._may_begin_eagerly and self._begin_eagerly():
            return True
        if state == "done":
            self._conclude("".join(self._body))
        elif state == "halted":
            self._step = self._read_after_halt
        return state != "open"

    def _read_after_halt(self) -> bool:
        """The object broke off at a tag: with the block closed, a bracket or two may have been forgotten."""
        rest = self._buffer[self._position : self._position + len(SHUT)]
        if len(rest) < len(SHUT) and SHUT.startswith(rest):
            return False
        missing = self._scanner.missing
        if rest == SHUT and 0 < len(missing) <= MOST_MISSING:
            self._conclude("".join(self._body).rstrip(), missing)
        else:
            self._fail("the call is not complete: a tag follows")
        return True

    def _begin_eagerly(self) -> bool:
        """Emits the call as soon as its name and the brace of its arguments are there."""
        if (head := self._tool_at_head()) is None:
            return False
        (tool, begins), text = head, "".join(self._body)
        self._scanner = ObjectScanner(_OUTSIDE)
        end = self._scanner.scan(text, begins) - (self._scanner.state == "halted")
        self._in_fence = self._in_fence or left_over.has_fence(self._gap)
        self._emit_call(tool.name, text[begins:end])
        self._raw, self._body = [], []
        self._position -= len(text) - end
        self._step = self._read_eager_arguments
        self._end_eager_arguments()
        return True

    def _read_eager_arguments(self) -> bool:
        end = self._scanner.scan(self._buffer, self._position)
        self._emit_arguments(self._take(end - (self._scanner.state == "halted")))
        return self._end_eager_arguments()

    def _end_eager_arguments(self) -> bool:
        if self._scanner.state == "open":
            return False
        done = self._scanner.state == "done"
        self._scanner = ObjectScanner(_OUTSIDE, inside=True)
        self._step = self._read_eager_rest if done else self._read_block_end
        return True

    def _read_eager_rest(self) -> bool:
        """Reads what follows the arguments of an eager call inside its object."""
        end = self._scanner.scan(self._buffer, self._position)
        self._take(end - (self._scanner.state == "halted"))
        if self._scanner.state == "open":
            return False
        self._step = self._read_block_end
        return True

    def _conclude(self, text: str, missing: str = "") -> None:
        if self._scanner.too_deep:
            self._fail(f"the call is nested deeper than {MAX_DEPTH} levels")
            return
        try:
            name, _, result = read_call(read_literal(text + missing), self._names)
        except ValueError as error:
            name, result = None, Fault(f"the call is no JSON object: {error}")
        if isinstance(result, Fault):
            self._fail(result.reason, name)
            return
        self._in_fence = self._in_fence or left_over.has_fence(self._gap)
        self._mark_call()
        self._emit_call(name or "", result)
        self._raw, self._body = [], []
        self._step = self._read_block_end

    def _fail(self, reason: str, name: str | None = None) -> None:
        self._raw.extend(self._body)
        self._body = []
        self._fault = MalformedCall("", reason, name)
        self._step = self._read_block_end

    def _read_block_end(self) -> bool:
        """Reads the closing tag, where there is one, and what was closed once too often before it.

        A block may hold more than one object, in an array too.
        """
        read = self._take(self._end_of(_JUNK))
        rest = self._buffer[self._position : self._position + len(SHUT)]
        if self._fault is not None:
            self._raw.append(read)
        if len(rest) < len(SHUT) and SHUT.startswith(rest):
            return False
        if rest[0] not in "<{":
            self._step = self._read_beside if self._fault is None else self._read_non_object
            return True
        if rest == SHUT:
            tag = self._take(self._position + len(SHUT))
            if self._fault is not None:
                self._raw.append(tag)
        self._step = self._skip_left_over if self._fault is None or self._in_fence else self._resume
        self._emit_fault()
        self._line_due = True
        if rest[0] == "{":
            self._gap = ""
            self._block_start = self._position
            self._begin_object()
        return True

    def _emit_fault(self) -> None:
        if self._fault is not None:
            self._mark_call()
            text = "".join(self._raw).rstrip()
            self._emit_malformed(MalformedCall(text, self._fault.reason, self._fault.name), gap=self._gap)
            self._fault, self._raw = None, []

    def _mark_call(self) -> None:
        """Notes where the call that ends here begins, and its arguments."""
        self._mark("action", self._block_start)
        found = _ARGUMENTS.search(self._buffer, self._block_start, self._position)
        if found:
            self._mark("action_input", found.start())
        self._block_start = self._position

    def _finish(self, rest: str, *, cut: bool) -> None:
        match self._step:
            case self._read_prose:
                self._finish_text(rest)
            case self._read_thought:
                self._think(rest.rstrip())
            case self._skip_left_over | self._read_after_fence:
                self._finish_left_over(rest)
            case self._read_beside:
                self._end_beside(rest)
            case self._read_block_start | self._read_non_object | self._read_object | self._read_after_halt:
                self._raw.extend([*self._body, rest])
                if cut or (self._step == self._read_block_start and not self._is_apart):
                    self._say(self._gap + "".join(self._raw))
                else:
                    self._fault = MalformedCall("", "the call is not complete")
                    self._emit_fault()
            case self._read_block_end:
                if self._fault is not None:
                    self._raw.append(rest)
                self._emit_fault()
            case _:
                pass
