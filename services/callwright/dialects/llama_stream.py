"""Reads Llama's JSON format as a stream: objects with a name and parameters, bare or behind `<|python_tag|>`.

A built-in tool's call, `<|python_tag|>brave_search.call(query="x")`, is read too.
"""

import re
from typing import ClassVar

from callwright.dialects.call_stream import outside
from callwright.dialects.json_call_stream import JsonCallStream, opening
from callwright.dialects.types import THINK

PYTHON_TAG = "<|python_tag|>"
TEXT_TAGS = ("<|python_start|>", "<|python_end|>")
"""Llama 4's own template has the text of a turn that calls between them."""
_ENDS = (PYTHON_TAG, *TEXT_TAGS, "<|eot_id|>", "<|eom_id|>")
_CALLED = re.compile(r"([^\W\d][\w.\-]{0,127})\s{0,8}(?=\()")
_MAY_BE_CALLED = re.compile(r"[^\W\d][\w.\-]{0,127}\s{0,8}")


class LlamaStream(JsonCallStream):
    """Reads one turn."""

    markers: ClassVar[tuple[str, ...]] = (PYTHON_TAG, *TEXT_TAGS)
    soft_markers: ClassVar[tuple[str, ...]] = TEXT_TAGS
    held: ClassVar[tuple[str, ...]] = (*markers, THINK)
    openings: ClassVar[tuple[re.Pattern[str], re.Pattern[str]]] = opening(markers)
    ends: ClassVar[tuple[str, ...]] = _ENDS
    outside: ClassVar[re.Pattern[str]] = outside(*_ENDS)

    def _read_name(self) -> bool | None:
        found = _CALLED.match(self._buffer, self._position)
        if found is None:
            return False if _MAY_BE_CALLED.fullmatch(self._buffer, self._position) else None
        self._raw.append(self._take(found.end()))
        self._begin("python", found[1].removesuffix(".call"))
        return True
