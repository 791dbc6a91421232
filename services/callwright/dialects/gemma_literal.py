"""Reads and writes lists and objects as Gemma does: bare keys, and text between delimiters that no escape can hold.

read_gemma('{a:<|"|>x<|"|>,b:[1,true]}', '<|"|>')      {"a": "x", "b": [1, True]}

Plain quotes, `=` for a colon, and text without any quotes are read too.
"""

import json
import re
from functools import cache

from callwright.dialects.literals import MAX_DEPTH, Json, literal_or_text, read_literal

_SPACE = re.compile(r"\s*")
_BARE = re.compile(r"[^,}\])]*")
_KEY = re.compile(r"[^:=,{}\[\]]+")
_AFTER = r"\s{0,64}(?:[,:=}\])]|\Z)"
_QUOTED = {mark: re.compile(rf"{mark}(?:[^{mark}\\]|\\.|{mark}(?!{_AFTER}))*+{mark}", re.DOTALL) for mark in "\"'"}


def read_gemma(text: str, quote: str) -> Json:
    """Reads one value, whose text stands between two `quote`. Raises ValueError."""
    reader = _Reader(text, quote)
    value = reader.value(0)
    reader.end()
    return value


def write_gemma(value: Json, quote: str) -> str:
    """Writes one value, as the chat templates do."""
    match value:
        case str():
            return f"{quote}{value}{quote}"
        case dict():
            return f"{{{write_members(value, quote)}}}"
        case list():
            return f"[{','.join(write_gemma(each, quote) for each in value)}]"
        case None | bool():
            return json.dumps(value)
        case _:
            return str(value)


def write_members(members: dict[str, Json], quote: str) -> str:
    """Writes the members of an object, in the order of their names."""
    ordered = sorted(members.items(), key=lambda member: member[0].lower())
    return ",".join(f"{key}:{write_gemma(value, quote)}" for key, value in ordered)


@cache
def _text_end(quote: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(quote)}(?={_AFTER})")


class _Reader:
    def __init__(self, text: str, quote: str) -> None:
        self._text = text
        self._quote = quote
        self._position = 0

    def end(self) -> None:
        """Raises ValueError where text is left."""
        self._skip()
        if self._position < len(self._text):
            raise ValueError(f"text after the value: {self._text[self._position :][:40]!r}")

    def value(self, depth: int) -> Json:
        """Reads a value from here."""
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        first = self._skip()
        if self._text.startswith(self._quote, self._position):
            return self._delimited()
        if first in _QUOTED:
            return self._quoted(first)
        if first == "{":
            return self._object(depth)
        if first in ("[", "("):
            return self._array("]" if first == "[" else ")", depth)
        return literal_or_text(self._match(_BARE).strip())

    def _object(self, depth: int) -> Json:
        members: dict[str, Json] = {}
        self._position += 1
        while not self._take("}"):
            first = self._skip()
            if self._text.startswith(self._quote, self._position):
                key = self._delimited()
            else:
                key = str(self._quoted(first)) if first in _QUOTED else self._match(_KEY).strip()
            if not self._take(":") and not self._take("="):
                raise ValueError(f"expected a colon after {key[:40]!r}")
            members[key] = self.value(depth + 1)
            if not self._take(",") and not self._is_next("}"):
                raise ValueError(f"expected a comma after the value of {key[:40]!r}")
        return members

    def _array(self, closing: str, depth: int) -> Json:
        items: list[Json] = []
        self._position += 1
        while not self._take(closing):
            items.append(self.value(depth + 1))
            if not self._take(",") and not self._is_next(closing):
                raise ValueError(f"expected a comma after item {len(items)}")
        return items

    def _delimited(self) -> str:
        start = self._position + len(self._quote)
        found = _text_end(self._quote).search(self._text, start)
        if found is None:
            raise ValueError("a text does not end")
        self._position = found.end()
        return self._text[start : found.start()]

    def _quoted(self, mark: str) -> Json:
        return read_literal(self._match(_QUOTED[mark]))

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._position)
        if found is None:
            raise ValueError(f"not readable at {self._text[self._position :][:40]!r}")
        self._position = found.end()
        return found[0]

    def _skip(self) -> str:
        found = _SPACE.match(self._text, self._position)
        assert found is not None
        self._position = found.end()
        return self._text[self._position : self._position + 1]

    def _is_next(self, mark: str) -> bool:
        return self._skip() == mark

    def _take(self, mark: str) -> bool:
        if not self._is_next(mark):
            if self._position == len(self._text):
                raise ValueError("the value ends too early")
            return False
        self._position += 1
        return True
