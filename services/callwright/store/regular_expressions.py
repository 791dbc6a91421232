"""Whether a regular expression is matched in a time that can be told, where it has to be matched by Python's `re`.

`re` tries one way to part a text after the other: with a repeat within a repeat there are more of them than anybody
waits for. Leans on `re._parser`, Python's own reader of regular expressions: look at it when Python moves.
"""

import math
from re import _constants as kind  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_OPTIONAL, _REPEAT = 1.0, 5.0
"""By how many powers of two there are more ways to part a text."""
_MOST = 22.0


def ends_soon(pattern: str) -> bool:
    """Return whether a text of some hundred characters is matched within a second.

    Raises `re.error` for what is no regular expression.
    """
    return _freedom(_parser.parse(pattern)) <= _MOST


def _freedom(row: Any) -> float:
    return sum(_part(*part) for part in row)


def _part(name: Any, value: Any) -> float:
    match name:
        case kind.LITERAL | kind.NOT_LITERAL | kind.ANY | kind.IN | kind.AT:
            return 0
        case kind.SUBPATTERN:
            return _freedom(value[-1])
        case kind.ATOMIC_GROUP:
            return _freedom(value)
        case kind.ASSERT | kind.ASSERT_NOT:
            return _freedom(value[1])
        case kind.BRANCH:
            return max(map(_freedom, value[1])) + (0 if _is_told_at_once(value[1]) else _OPTIONAL)
        case kind.MAX_REPEAT | kind.MIN_REPEAT | kind.POSSESSIVE_REPEAT:
            return _repeat(*value)
    return math.inf  # what refers back


def _repeat(fewest: int, most: Any, body: Any) -> float:
    inner = _freedom(body)
    if inner and most > 1:
        return math.inf
    if fewest == most:
        return inner
    return inner + (_OPTIONAL if most == 1 else _REPEAT)


def _is_told_at_once(alternatives: list[Any]) -> bool:
    """Return whether the first character tells which of the alternatives it is."""
    first: list[Any] = [row[0] if len(row) else (None, None) for row in alternatives]
    letters = {chr(value).casefold() for name, value in first if name is kind.LITERAL}
    return len(letters) == len(first)
