"""Answer against gold: which calls were due, which came, and argument by argument what is equal.

Owns every rule of comparison but BFCL's. Knows nothing of endpoints, files or totals.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callwright.evaluator import bfcl, schema, statistics
from callwright.evaluator.answers import Answer
from callwright.evaluator.rows import Call, Message, Row, arguments

_TOKEN = re.compile(r"[a-z0-9]+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is right and wrong with one answer. `None` is what the row does not ask for."""

    called: bool
    correct: bool
    """What was due and nothing else: the calls, tool and every argument; or no call."""
    normalised: bool
    """Correct when case, spaces, outer punctuation, numbers as text and defaults do not matter."""
    right_tools: bool
    arguments_equal: int
    arguments_expected: int
    schema_valid: bool | None
    malformed: str | None
    repeated: bool | None
    """A call equal to one whose result is already there; None where no result is."""
    overlap: float | None
    """ROUGE-L with the reference answer, in 0..1."""


def score(row: Row, answer: Answer) -> Verdict:
    """Compare an answer with its row's gold."""
    got, due = answer.calls, row.expected
    clean = not answer.malformed
    pairs = _paired(due, got)
    earlier = _earlier(row.messages)
    correct = clean and _correct(row, got)
    alike = clean and len(got) == len(due) and all(_alike(want, have, row) for want, have in pairs)
    return Verdict(
        called=bool(got),
        correct=correct,
        normalised=correct or alike,
        right_tools=clean and Counter(c.name for c in got) == Counter(c.name for c in due),
        arguments_equal=sum(_equal_arguments(row, place, *pair) for place, pair in enumerate(pairs)),
        arguments_expected=sum(len(call.arguments) for call in due),
        schema_valid=clean and all(schema.accepts(row.tools, c.name, c.arguments) for c in got) if got else None,
        malformed=answer.malformed[0] if answer.malformed else None,
        repeated=any(_same(a, b) for a in got for b in earlier) if earlier else None,
        overlap=overlap(answer.content or "", row.reference or "") if row.kind in ("answer", "general") else None,
    )


def _correct(row: Row, got: Sequence[Call]) -> bool:
    if row.bfcl and row.expected:
        return bfcl.check(row.bfcl, [{call.name: call.arguments} for call in got]) is None
    left = list(got)
    for want in row.expected:
        match next((have for have in left if _same(want, have)), None):
            case None:
                return False
            case have:
                left.remove(have)
    return not left


def _same(first: Call, second: Call) -> bool:
    return first.name == second.name and equal(first.arguments, second.arguments)


def equal(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal: 5 is 5.0, true is not 1, the order of keys does not matter."""
    match first, second:
        case bool(), _:
            return isinstance(second, bool) and first == second
        case _, bool():
            return False
        case dict(), dict():
            return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
        case list(), list():
            return len(first) == len(second) and all(map(equal, first, second))
        case _:
            return bool(first == second)


def _paired(due: Sequence[Call], got: Sequence[Call]) -> list[tuple[Call, Call | None]]:
    """Give each due call an unused call of its tool, in any order: equal ones first, then the most alike."""
    left, pairs = list(got), dict[int, Call]()
    for only_equal in (True, False):
        for place, want in enumerate(due):
            fit = [c for c in left if place not in pairs and c.name == want.name and (not only_equal or _same(c, want))]
            if fit:
                pairs[place] = max(fit, key=lambda have: _shared(want, have))
                left.remove(pairs[place])
    return [(want, pairs.get(place)) for place, want in enumerate(due)]


def _shared(want: Call, have: Call) -> int:
    return sum(equal(value, have.arguments[name]) for name, value in want.arguments.items() if name in have.arguments)


def _equal_arguments(row: Row, place: int, want: Call, have: Call | None) -> int:
    given = have.arguments if have else {}
    return sum(
        bfcl.argument_right(row.bfcl, place, name, given[name]) if row.bfcl else equal(value, given[name])
        for name, value in want.arguments.items()
        if name in given
    )


def _alike(want: Call, have: Call | None, row: Row) -> bool:
    if have is None:
        return False
    defaults = schema.defaults(row.tools, want.name)
    return equal(_normalised(want.arguments, defaults), _normalised(have.arguments, defaults))


def _normalised(arguments: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        name: normalise(value)
        for name, value in arguments.items()
        if value not in (None, "") and not (name in defaults and equal(normalise(value), normalise(defaults[name])))
    }


def normalise(value: Any) -> Any:
    """Strip what should not matter from a JSON value: case, width, spaces, outer punctuation, numbers as text."""
    match value:
        case str():
            text = _SPACE.sub(" ", unicodedata.normalize("NFKC", value).casefold()).strip(" .,;:!?'\"")
            try:
                number = float(text)
            except ValueError:
                return text
            return number if number == number and abs(number) != float("inf") else text
        case dict():
            return {key: normalise(item) for key, item in value.items()}
        case list():
            return [normalise(item) for item in value]
        case _:
            return value


def _earlier(messages: Sequence[Message]) -> list[Call]:
    calls = []
    for message in messages:
        for call in message.get("tool_calls") or ():
            try:
                calls.append(Call(call["function"]["name"], arguments(call["function"]["arguments"])))
            except (ValueError, KeyError, TypeError):
                continue
    return calls


def overlap(text: str, reference: str) -> float:
    """ROUGE-L's F1 of two texts over lower-case words, and over single characters where CJK is written."""
    return statistics.rouge_l(tokens(text), tokens(reference))


def tokens(text: str) -> list[str]:
    """Split text into lower-case words and CJK characters."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())
