"""Reads Mistral's formats as a stream: `[TOOL_CALLS]` with an array of objects, or with a name, `[ARGS]` and an object.

Older models write arrays, newer ones names, some of them with a `[CALL_ID]`; each is read, whatever the model. Where
the engine left the markers out, a call is still one at the head of a turn.
"""

import re
from typing import ClassVar

from callwright.dialects.call_stream import outside
from callwright.dialects.json_call_stream import JsonCallStream, opening
from callwright.dialects.tools import Names
from callwright.dialects.types import THINK, THINK_END

CALLS, CALL_ID, ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
BEGIN_THINK, END_THINK = "[THINK]", "[/THINK]"
_ENDS = (CALLS, "</s>")
_NAMED = re.compile(
    r"(?P<name>[\w.\-/]{1,128})\s{0,8}(?:\[CALL_ID\]\s{0,8}[^\s\[\]{}]{0,64}\s{0,8})?"
    r"(?P<args>(?:\[ARGS\]\s{0,64}){0,2})"
)
_SPACE = re.compile(r"\s*")


class MistralStream(JsonCallStream):
    """Reads one turn."""

    markers: ClassVar[tuple[str, ...]] = (CALLS,)
    held: ClassVar[tuple[str, ...]] = (CALLS, BEGIN_THINK, THINK)
    openings: ClassVar[tuple[re.Pattern[str], re.Pattern[str]]] = opening(markers, r"(?P<block>\[THINK\])")
    ends: ClassVar[tuple[str, ...]] = _ENDS
    outside: ClassVar[re.Pattern[str]] = outside(*_ENDS)

    def __init__(self, names: Names, *, eager: bool, opened: bool, thought_end: str = END_THINK) -> None:
        super().__init__(names, eager=eager, opened=opened)
        self.thought_end = thought_end

    def _open_block(self, found: re.Match[str]) -> None:
        self.thought_end = END_THINK if found.lastgroup == "block" else THINK_END
        super()._open_block(found)

    def _read_prose(self) -> bool:
        if self._line_due or not self._last_said:
            start = self._end_of(_SPACE)
            read = self._match_name(start, marked=False)
            if read is False:
                return False
            if isinstance(read, re.Match):
                self._open_call(start, read.end(), marked=True)
                self._begin_named(read)
                return True
        return super()._read_prose()

    def _is_prose(self, chunk: str) -> bool:
        return bool(self._last_said) and super()._is_prose(chunk)

    def _read_name(self) -> bool | None:
        found = self._match_name(self._position, marked=True)
        if not isinstance(found, re.Match):
            return found
        self._raw.append(self._take(found.end()))
        self._begin_named(found)
        return True

    def _match_name(self, start: int, *, marked: bool) -> re.Match[str] | bool | None:
        """Match a name and its markers, behind which arguments stand; False where more text may make it one."""
        buffer = self._buffer
        found = _NAMED.match(buffer, start)
        if found is None:
            return None
        rest = buffer[found.end() :]
        if not marked and self._names.known and not self._names.begins(found["name"]):
            return None
        if not rest or CALL_ID.startswith(rest) or ARGS.startswith(rest):
            return False
        if not marked and self._names.known and self._names.exact(found["name"]) is None:
            return None
        is_sure = found["args"] or (rest[0] == "{" and (marked or self._names.known))
        return found if is_sure else None

    def _begin_named(self, found: re.Match[str]) -> None:
        if self._buffer[self._position] == "{":
            self._begin("arguments", found["name"])
        else:
            self._prepare("arguments", found["name"])
            self._step = self._read_bare

    def _read_bare(self) -> bool:
        """What stands behind `[ARGS]` and is no object ends at the next marker."""
        found = self._next_marker()
        self._body.append(self._take(found if found >= 0 else self._before_part_of(*self.markers)))
        if found < 0:
            return False
        self._conclude_bare()
        return True

    def _finish_other(self, rest: str, *, cut: bool) -> None:
        named = _NAMED.fullmatch(rest) if self._step == self._read_marked else None
        if named and named["args"] and not cut:
            self._raw.append(rest)
            self._prepare("arguments", named["name"])
        elif self._step == self._read_bare:
            self._body.append(rest)
        else:
            super()._finish_other(rest, cut=cut)
            return
        if cut:
            self._be_prose()
        else:
            self._conclude_bare()
            self._emit_fault()
