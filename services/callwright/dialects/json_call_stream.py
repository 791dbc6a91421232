"""The base of streams in formats whose calls are JSON objects with the tool's name inside, behind a marker or bare.

A bare object is a call only at the head of a line, outside of code blocks, and where it names arguments beside a tool:
what opens as one is held back until that is known.
"""

import re
from typing import ClassVar

from callwright.dialects.call_stream import CallStream
from callwright.dialects.left_over import has_fence
from callwright.dialects.markers import prefixes
from callwright.dialects.types import THINK

_SPACE = re.compile(r"\s*")
_FENCE = re.compile(r"\s*(?:`{1,3}[a-z]{0,8}\s{0,256})?(?:\[\s{0,64}(?=\{|\Z))?")
_EMPTY = re.compile(r"\[\s{0,64}\]")
_KEYS = ("type", "function", "name", "id", "parameters", "arguments")
_ALLOWED = frozenset((*_KEYS, "index"))
_PIECES = [[r"(?:\[\s{0,64})?\{", r"\s{0,64}", "[\"']", *key, "[\"']", r"\s{0,64}", ":"] for key in _KEYS]
_head = re.compile("|".join("".join(pieces) for pieces in _PIECES)).match
"""Matches how a call opens: with one of its keys."""
_may_be_head = re.compile("|".join([r"\[\s{0,64}", *map(prefixes, _PIECES)])).fullmatch
_ARRAY = re.compile(r"(?:\[\s{0,64})?")
_NAMES = re.compile(r"""["'](?:name|function)["']\s*:\s*["']([^"']{1,128})["']""")
_GIVES = re.compile(r"""["'](?:arguments|parameters)["']\s*:""")


def opening(markers: tuple[str, ...], thoughts: str = "") -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Make the patterns of what leads out of prose: anywhere, and right where a line or another call has ended.

    `thoughts` is a pattern of what opens a thought within a line too.
    """
    within = "|".join([f"(?P<marker>{'|'.join(map(re.escape, markers))})", *([thoughts] if thoughts else [])])
    at_head = rf"[ \t]{{0,8}}(?:(?P<think>{THINK})|(?P<bare>\[(?=\s{{0,64}}(?:\{{|\Z))|\{{))"
    return re.compile(f"{within}|^{at_head}", re.MULTILINE), re.compile(f"{within}|{at_head}")


class JsonCallStream(CallStream):
    """Reads one turn; a subclass has the markers, and what else than an object may follow one."""

    markers: ClassVar[tuple[str, ...]]
    """What a call, or a list of calls, may stand behind."""
    soft_markers: ClassVar[tuple[str, ...]] = ()
    """Those of the markers that text may follow as well, and which are left out then."""
    held: ClassVar[tuple[str, ...]]
    """What may have begun where the text ends: the markers, and what opens a thought."""
    openings: ClassVar[tuple[re.Pattern[str], re.Pattern[str]]]

    def _read_name(self) -> bool | None:
        """Read a tool's name that follows a marker; False where more text is needed, None where there is none."""
        raise NotImplementedError

    def _read_prose(self) -> bool:
        found = self._next_opening()
        if found is None:
            end = self._before_part_of(*self.held)
            within_line = not self._begins_line() and self._buffer.find("\n", self._position - 1) < 0
            self._say_until(self._before_gap(end) if within_line else self._before_lead(end))
            return False
        if found.lastgroup == "bare":
            return self._at_bare(found.start("bare"))
        if found.lastgroup != "marker":
            self._open_block(found)
            return True
        self._open_call(found.start(), found.end(), marked=True)
        self._step = self._read_marked
        return True

    def _next_opening(self) -> re.Match[str] | None:
        buffer, start = self._buffer, self._position
        if not any(buffer.find(character, start) >= 0 for character in "<[{"):
            return None  # much quicker asked first
        anywhere, here = self.openings
        is_here = self._at_line_start or self._line_due
        return (here.match(buffer, start) if is_here else None) or anywhere.search(buffer, start)

    def _open_block(self, found: re.Match[str]) -> None:
        """Opens a block of reasoning."""
        self._at_think(found.start(), found.end())

    def _find_marker(self, start: int, end: int) -> int:
        found = self.openings[0].search(self._buffer, start, end)
        return found.start() if found else -1

    def _is_prose(self, chunk: str) -> bool:
        is_plain = not any(character in chunk for character in "<[{`~") and not chunk[-1].isspace()
        return is_plain and self._step == self._read_prose

    def _at_bare(self, start: int) -> bool:
        """Reads what may be an object at the head of a line: a call, or prose after all."""
        opens = self._opens_bare(start, _head, _may_be_head, *self.held)
        if opens:
            array = _ARRAY.match(self._buffer, start)
            self._open_call(start, array.end() if array else start, marked=False)
            self._begin("object")
        return opens is not None

    def _read_marked(self) -> bool:
        """Reads what a marker leads to."""
        start = self._end_of(_FENCE)
        if start == len(self._buffer):
            self._raw.append(self._take(self._end_of(_SPACE)))
            return False
        if self._buffer[start] == "{":
            self._in_fence = self._in_fence or has_fence(self._buffer[self._position : start])
            self._raw.append(self._take(start))
            self._begin("object")
            return True
        self._raw.append(self._take(self._end_of(_SPACE)))
        if (empty := _EMPTY.match(self._buffer, self._position)) is not None:
            self._position = empty.end()
            self._after_call()
            return True
        if self._before_part_of(*self.markers) == self._position:
            return False
        if marker := next((m for m in self.markers if self._buffer.startswith(m, self._position)), ""):
            self._raw.append(self._take(self._position + len(marker)))  # the same once more
            return True
        read = self._read_name()
        if read is not None:
            return read
        if self._raw[0] in self.soft_markers:
            self._say(self._gap)
            self._raw, self._at_line_start = [], True
            self._step = self._read_prose
        elif self._is_apart():
            self._step = self._read_no_call
        else:
            self._be_prose()
        return True

    def _read_no_call(self) -> bool:
        """What a marker leads to and is no call ends at the next marker."""
        found = self._next_marker()
        if found < 0:
            self._raw.append(self._take(self._before_part_of(*self.markers)))
            return False
        self._raw.append(self._take(found))
        self._fail("no call follows the marker")
        return True

    def _next_marker(self) -> int:
        places = [self._buffer.find(marker, self._position) for marker in self.markers]
        return min((place for place in places if place >= 0), default=-1)

    def _finish_other(self, rest: str, *, cut: bool) -> None:
        match self._step:
            case self._read_marked | self._read_no_call:
                self._raw.append(rest)
                if self._raw[0] in self.soft_markers:
                    self._raw[0] = ""
                    self._be_prose()
                elif cut or (self._step == self._read_marked and not self._is_apart()):
                    self._be_prose()
                else:
                    self._fail("no call follows the marker")
                    self._emit_fault()

    def _is_call(self, value: object) -> bool:
        inner = value.get("function", value) if isinstance(value, dict) else value
        call = inner if isinstance(inner, dict) else value
        if not isinstance(value, dict) or not isinstance(call, dict) or not value.keys() <= _ALLOWED:
            return False
        named = isinstance(call.get("name"), str) or isinstance(call.get("function"), str)
        return named and call.keys() <= _ALLOWED and not call.keys().isdisjoint(("arguments", "parameters"))

    def _is_begun_call(self, text: str) -> bool:
        named = _NAMES.search(text)
        return bool(named and self._names.exact(named[1]) and _GIVES.search(text))
