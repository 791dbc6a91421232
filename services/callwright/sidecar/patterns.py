"""What a regular expression costs an engine that makes a grammar of it.

Leans on `re._parser`, Python's own reader of regular expressions: look at it when Python moves.
"""

import math
import re
from functools import lru_cache
from re import _constants as kind  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

_MOST_CHARACTERS = 4000
MOST_REPEATS = 128
"""Of one part: an engine counts more of them anew at each token, for up to 40 ms."""
_LITERAL, _CLASS, _BROAD = 0.1, 3.0, 11.0
"""Milliseconds for a state that takes one character, some, and nearly all of them."""


_LOOKS = (kind.ASSERT, kind.ASSERT_NOT, kind.GROUPREF, kind.GROUPREF_EXISTS)
"""What looks around or back: an engine leaves it out or refuses it at once."""
_javascript_names = re.compile(r"\(\?<(?![=!])").sub


class Weight(NamedTuple):
    """What a pattern costs."""

    cost: float
    """Milliseconds that compiling takes, by a rough estimate; infinite for what can't be read or compiled."""
    is_held: bool
    """Engines hold an answer to all that it says."""


@lru_cache(maxsize=1024)
def pattern_weight(pattern: str) -> Weight:
    """Return what a pattern weighs.

    A repeat multiplies what is in it; where that has several lengths itself, the ways to part a text multiply too.
    """
    if len(pattern) > _MOST_CHARACTERS:
        return Weight(math.inf, False)
    try:
        parsed = _parser.parse(_javascript_names("(?P<", pattern))
        return Weight(_cost(parsed), not _looks(parsed))
    except (re.error, OverflowError, RecursionError):
        return Weight(math.inf, False)


def _looks(row: Any) -> bool:
    """Return whether something in it looks around or back."""
    if isinstance(row, _parser.SubPattern | list | tuple):
        return any(map(_looks, row))
    return any(row is each for each in _LOOKS)


def _cost(row: Any) -> float:
    """Return the cost of parts in a row, which grows with how many of them have one of several lengths."""
    widths = [_parser.SubPattern(row.state, [part]).getwidth() for part in row]
    varying: int = sum(shortest < longest < kind.MAXREPEAT for shortest, longest in widths)
    costs: list[float] = [_part(*part) for part in row]
    return sum(costs) * max(1, varying)


def _part(name: Any, value: Any) -> float:
    match name:
        case kind.LITERAL:
            return _LITERAL
        case kind.NOT_LITERAL | kind.ANY:
            return _BROAD
        case kind.IN:
            return _class(value)
        case kind.AT | kind.ASSERT | kind.ASSERT_NOT | kind.GROUPREF:
            return 0  # no state of its own
        case kind.BRANCH:
            return sum(map(_cost, value[1]))
        case kind.SUBPATTERN:
            return _cost(value[-1])
        case kind.MAX_REPEAT | kind.MIN_REPEAT:
            return _repeat(*value)
    return math.inf


def _repeat(fewest: int, most: Any, body: Any) -> float:
    times = fewest + 2 if most == kind.MAXREPEAT else most
    shortest, longest = body.getwidth()
    return math.inf if times > MOST_REPEATS else _cost(body) * times ** (1 if shortest == longest else 2)


def _class(members: list[tuple[Any, Any]]) -> float:
    if any(name is kind.NEGATE or "NOT" in str(value) for name, value in members):
        return _BROAD
    return _LITERAL * len(members) if all(name is kind.LITERAL for name, _ in members) else _CLASS
