"""Reads pythonic formats as a stream: lists of Python's calls, `[f(a='x', n=3), g()]`, bare or in a wrapper.

A bare list is one only at the head of a line, outside of code blocks, and where its first item is a call of a tool; so
`[1] see` and `[a link](…)` are prose.
"""

import re
from typing import ClassVar

from callwright.dialects.arguments import Fault
from callwright.dialects.call_stream import CallStream, outside
from callwright.dialects.literals import read_call_arguments
from callwright.dialects.tools import Names
from callwright.dialects.types import THINK

WRAPPERS = {
    "<|tool_call_start|>": "<|tool_call_end|>",
    "<function_calls>": "</function_calls>",
    "<|python_start|>": "<|python_end|>",
    "<|python_tag|>": "<|eom_id|>",
}
"""What opens a list, and what ends it: LFM2's, Olmo 3's, Llama 4's and Llama 3's."""
_LLAMA4_END = "<|python_end|>"
_TAGS = (*WRAPPERS, *WRAPPERS.values())
_NAME = r"[^\W\d][\w.\-]{0,127}"
_CALLED = re.compile(rf"({_NAME})\s{{0,8}}(?=\()")
_MAY_BE_CALLED = re.compile(rf"{_NAME}\s{{0,8}}")
_BARE = re.compile(rf"\[\s{{0,64}}{_NAME}\s{{0,8}}\(")
_MAY_BE_BARE = re.compile(rf"\[\s{{0,64}}(?:{_NAME}\s{{0,8}})?")
_NAMED = re.compile(r"\(\s*(?:[^\W\d]\w*\s*=|\*\*)")
_SPACE = re.compile(r"\s*")
_COMMAS = re.compile(r"[\s,;]*")
_LONGEST_NAME = 160
"""Characters in which a name and its bracket stand, or a tag."""
_SEPARATORS = re.compile(r"[\s,;\[\]]*")
_OPENS = "|".join(map(re.escape, WRAPPERS))
_ANYWHERE = re.compile(rf"(?P<marker>{_OPENS})|^[ \t]{{0,8}}(?:(?P<think>{THINK})|(?P<bare>\[))", re.MULTILINE)
_HERE = re.compile(rf"(?P<marker>{_OPENS})|[ \t]{{0,8}}(?:(?P<think>{THINK})|(?P<bare>\[))")


class PythonicStream(CallStream):
    """Reads one turn."""

    ends: ClassVar[tuple[str, ...]] = _TAGS
    outside: ClassVar[re.Pattern[str]] = outside(*_TAGS)

    def __init__(self, names: Names, *, eager: bool, opened: bool) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self._closing = ""
        """What ends the wrapper that was opened; empty in a bare list."""
        self._is_listed = False
        """Whether a call of the list that is open was read already."""
        self._wrapped: list[tuple[str, str]] = []
        """Calls of the lists with wrappers so far."""

    def _read_prose(self) -> bool:
        found = self._next_opening()
        if found is None:
            end = self._before_part_of(*WRAPPERS, THINK)
            within_line = not self._begins_line() and self._buffer.find("\n", self._position - 1) < 0
            self._say_until(self._before_gap(end) if within_line else self._before_lead(end))
            return False
        if found.lastgroup == "think":
            self._at_think(found.start(), found.end())
        elif found.lastgroup == "marker":
            self._open_call(found.start(), found.end(), marked=True)
            self._closing, self._is_listed = WRAPPERS[found["marker"]], False
            self._step = self._read_item
        else:
            return self._at_bare(found.start("bare"))
        return True

    def _next_opening(self) -> re.Match[str] | None:
        buffer, start = self._buffer, self._position
        if buffer.find("<", start) < 0 and buffer.find("[", start) < 0:
            return None  # much quicker asked first
        here = _HERE.match(buffer, start) if self._at_line_start or self._line_due else None
        return here or _ANYWHERE.search(buffer, start)

    def _find_marker(self, start: int, end: int) -> int:
        found = _ANYWHERE.search(self._buffer, start, end)
        return found.start() if found else -1

    def _is_prose(self, chunk: str) -> bool:
        is_plain = not any(character in chunk for character in "<[`~") and not chunk[-1].isspace()
        return is_plain and self._step == self._read_prose

    def _at_bare(self, start: int) -> bool:
        """Reads what may be a list at the head of a line: of calls, or prose after all."""
        opens = self._opens_bare(start, _BARE.match, _MAY_BE_BARE.fullmatch)
        if opens:
            self._open_call(start, start + 1, marked=False)
            self._closing, self._is_listed = "", False
            self._step = self._read_item
        return opens is not None

    def _read_item(self) -> bool:
        """Reads what separates two calls, and the next one's name; or the end of the list."""
        self._raw.append(self._take(self._end_of(_SEPARATORS if self._closing else _COMMAS)))
        rest = self._buffer[self._position : self._position + _LONGEST_NAME]
        if not rest or any(len(rest) < len(tag) and tag.startswith(rest) for tag in _TAGS):
            return False
        if rest.startswith(_TAGS) or (rest[0] == "]" and not self._closing):
            self._end_list(rest)
        elif self._is_closed():
            self._step = self._read_beside
        elif (found := _CALLED.match(rest)) is not None:
            self._raw.append(self._take(self._position + found.end()))
            self._begin("python", found[1].removesuffix(".call"))
        elif _MAY_BE_CALLED.fullmatch(rest):
            return False
        elif rest[0] == "{" and self._closing:
            self._begin("object")
        elif self._closing and (self._is_listed or self._is_apart()):
            self._step = self._read_beside
        else:
            self._leave()
        return True

    def _is_closed(self) -> bool:
        """Return whether the bracket of a list in a wrapper is closed, and no other opened."""
        separators = "".join(self._raw) if self._is_listed else ""
        return separators.rfind("]") > separators.rfind("[")

    def _end_list(self, rest: str) -> None:
        """Takes what ends the list; another wrapper begins one of its own."""
        if not rest.startswith(tuple(WRAPPERS)):
            ended = next((tag for tag in _TAGS if rest.startswith(tag)), "]")
            self._position += len(ended)
        self._leave(said="")

    def _leave(self, said: str | None = None) -> None:
        """Goes back to prose; what stands in `_raw` is said where it was no separator."""
        text = self._gap + "".join(self._raw) if said is None and not self._is_listed else ""
        self._gap, self._raw = "", []
        self._say(text)
        self._step = self._read_prose if text else self._read_between

    def _read_beside(self) -> bool:
        """What is no call, in a wrapper, is a malformed one where the wrapper is closed, or holds nothing else."""
        places = [(self._buffer.find(tag, self._position), tag) for tag in _TAGS]
        found, tag = min(((place, tag) for place, tag in places if place >= 0), default=(-1, ""))
        if found < 0:
            self._raw.append(self._take(self._before_part_of(*_TAGS)))
            return False
        self._raw.append(self._take(found))
        if self._closing == _LLAMA4_END and not self._is_listed:
            self._position += len(tag) * (tag == _LLAMA4_END)
            self._raw.pop(0)  # Llama 4's own template has a turn's text in there
            self._say_beside()
        elif self._is_listed and tag in WRAPPERS:
            self._say_beside()
        else:
            self._fail("the list holds more than calls" if self._is_listed else "the list holds no call")
        return True

    def _say_beside(self) -> None:
        self._mark("text", self._call_start)
        text = "".join(self._raw)
        self._say(text[text.find("]") + 1 if self._is_closed() else 0 :].strip())
        self._raw = []
        self._step = self._read_between

    def _after_call(self) -> None:
        self._gap, self._raw = "", []
        self._call_start = self._position
        self._is_listed = self._is_marked = True
        self._step = self._read_item

    def _conclude(self, text: str, missing: str = "") -> None:
        if self._is_marked or missing:
            super()._conclude(text, missing)
        else:
            self._body = [text]
            self._step = self._read_bare_end

    def _read_bare_end(self) -> bool:
        """The first call of a bare list is one where the list goes on, or ends, behind it."""
        end = self._end_of(_SPACE)
        behind = self._buffer[end : end + 2]
        text = "".join(self._body)
        if not behind or (behind == "]" and not self._is_sure(text)):
            return False
        self._end_bare(text, is_call=behind[0] in ",]" and (behind != "](" or self._is_sure(text)))
        return True

    def _end_bare(self, text: str, *, is_call: bool) -> None:
        if is_call and (self._tool is not None or self._is_named(text)):
            super()._conclude(text)
        else:
            self._be_prose()

    def _is_sure(self, text: str) -> bool:
        """Return whether nothing but a call is written so: a tool's name with named arguments."""
        return self._tool is not None and self._is_named(text)

    def _is_begun_call(self, text: str) -> bool:
        return self._tool is not None and _NAMED.match(text) is not None

    def _is_named(self, text: str) -> bool:
        """Return whether all arguments are given by name."""
        try:
            values, named = read_call_arguments(text[1:].removesuffix(")"))
        except ValueError:
            return False
        return bool(named) and not values

    def _end_call(self, name: str, result: str | Fault, offset: int) -> None:
        if isinstance(result, str):
            if self._closing:
                self._wrapped.append((name, result))
            elif (name, result) in self._wrapped:  # a list that the model repeats, without what opens it
                self._body = []
                self._after_call()
                return
        super()._end_call(name, result, offset)

    def _read_fault_end(self) -> bool:
        """Takes what closes a malformed call, its wrapper too, then emits it."""
        self._raw.append(self._take(self._end_of(_SEPARATORS)))
        rest = self._buffer[self._position : self._position + _LONGEST_NAME]
        if not rest or (self._closing and len(rest) < len(self._closing) and self._closing.startswith(rest)):
            return False
        if is_closed := bool(self._closing) and rest.startswith(self._closing):
            self._raw.append(self._take(self._position + len(self._closing)))
        self._emit_fault()
        self._after_call()
        if is_closed:
            self._leave(said="")
        return True

    def _finish_other(self, rest: str, *, cut: bool) -> None:
        self._raw.append(rest)
        match self._step:
            case self._read_bare_end:
                self._raw.pop()
                self._finish_bare(rest, cut=cut)
            case self._read_item if not self._is_listed and self._closing and self._is_apart() and not cut:
                self._fail("the call is not complete")
                self._emit_fault()
            case self._read_item if self._is_listed and any(tag.startswith(rest) for tag in _TAGS):
                pass
            case self._read_beside if not self._is_listed and not cut:
                self._fail("the list holds no call")
                self._emit_fault()
            case self._read_beside | self._read_item if self._is_listed:
                self._say_beside()
            case _:
                self._be_prose()

    def _finish_bare(self, rest: str, *, cut: bool) -> None:
        """Ends the turn behind the first call of a bare list, whose own end may be missing."""
        text = "".join(self._body)
        if cut and not rest.strip():
            self._raw.append(text + rest)
            self._body = []
            self._be_prose()
            return
        self._end_bare(text, is_call=not rest.strip() or rest.strip()[0] in ",]")
        if self._fault is not None:
            self._raw.append(rest)
            self._emit_fault()
        elif self._step == self._read_prose:
            self._say(rest)
