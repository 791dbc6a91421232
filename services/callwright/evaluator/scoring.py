"""One answer against its row's gold: which calls were due, which came, and argument by argument what is equal.

This module has every rule of comparison except BFCL's (`callwright.evaluator.bfcl_rule`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callwright.datasets.schemas import violations
from callwright.dialects.literals import read_json
from callwright.evaluator import bfcl_rule
from callwright.evaluator.answers import Answer
from callwright.evaluator.row import Call, Message, Row, Tool

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
        schema_valid=clean and all(fits_schema(row.tools, call) for call in got) if got else None,
        malformed=answer.malformed[0] if answer.malformed else None,
        repeated=any(_same(a, b) for a in got for b in earlier) if earlier else None,
        overlap=overlap(answer.content or "", row.reference or "") if row.kind in ("answer", "general") else None,
    )


def _correct(row: Row, got: Sequence[Call]) -> bool:
    if row.bfcl:
        return bfcl_rule.accepts(row.bfcl, got)
    left = list(got)
    for want in row.expected:
        found = next((place for place, have in enumerate(left) if _same(want, have)), None)
        if found is None:
            return False
        del left[found]
    return not left


def _same(first: Call, second: Call) -> bool:
    return first.name == second.name and equal(first.arguments, second.arguments)


def equal(first: Any, second: Any) -> bool:
    """Return whether two JSON values are equal: 5 is 5.0, true is not 1, the order of keys does not matter."""
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
        row.bfcl[place].accepts_argument(name, given[name]) if row.bfcl else equal(value, given[name])
        for name, value in want.arguments.items()
        if name in given
    )


def _alike(want: Call, have: Call | None, row: Row) -> bool:
    if have is None:
        return False
    properties = (_parameters(row.tools, want.name) or {}).get("properties")
    declared = properties.items() if isinstance(properties, dict) else ()
    defaults = {name: part["default"] for name, part in declared if isinstance(part, dict) and "default" in part}
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
    for function in (call["function"] for message in messages for call in message.get("tool_calls") or ()):
        try:
            arguments = read_json(function["arguments"])
        except ValueError:
            continue
        if isinstance(arguments, dict):
            calls.append(Call(function["name"], arguments))
    return calls


def fits_schema(tools: Sequence[Tool], call: Call) -> bool:
    """Return whether the call is of one of the tools, and its schema accepts the arguments."""
    parameters = _parameters(tools, call.name)
    return parameters is not None and next(violations(call.arguments, parameters), None) is None


def _parameters(tools: Sequence[Tool], name: str) -> dict[str, Any] | None:
    """Return the schema of a tool's parameters, empty where it is no object; None without such a tool."""
    function = next((tool["function"] for tool in tools if tool["function"]["name"] == name), None)
    if function is None:
        return None
    parameters = function.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def overlap(text: str, reference: str) -> float:
    """ROUGE-L's F1 (Lin, 2004) of two texts, over lower-case words and, where CJK is written, single characters."""
    return rouge_l(tokens(text), tokens(reference))


def tokens(text: str) -> list[str]:
    """Split text into lower-case words and CJK characters."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of two token lists by their longest common subsequence, in 0..1."""
    if not candidate or not reference:
        return float(not candidate and not reference)
    # The usual table has a row for each token; Hyyrö (2004) keeps a row as the bits of one integer.
    masks: dict[str, int] = {}
    for place, token in enumerate(candidate):
        masks[token] = masks.get(token, 0) | 1 << place
    full = (1 << len(candidate)) - 1
    row = full
    for token in reference:
        hits = row & masks.get(token, 0)
        row = ((row + hits) | (row - hits)) & full
    common = len(candidate) - row.bit_count()
    return 2 * common / (len(candidate) + len(reference))
