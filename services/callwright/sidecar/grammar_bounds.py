"""`GrammarBounds`: how much of a client's schemas goes into a grammar, so that the engine compiles it in seconds.

An engine compiles grammars in a few threads and without a time limit: one that never ends leaves every later request
for a grammar without an answer. So each schema is weighed, in the milliseconds that xgrammar takes on one slow core
with 152,000 tokens, and what does not fit is left out: a text without its pattern, an object of any form. Two budgets,
one for the structure and one for what texts look like, so that a pattern never costs another tool its parameters.
"""

import json
import re
from collections.abc import Collection
from typing import Any

from callwright.sidecar.patterns import pattern_weight

Json = dict[str, Any]
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = (
    "items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties", "unevaluatedProperties",
    "propertyNames", "not", "if", "then", "else",
)  # fmt: skip
_VALUES = ("enum", "const")
_WHOLE = "schema"
_OTHERS = ("additionalProperties", "unevaluatedProperties")
_LENGTHS = ("minLength", "maxLength")
_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")
_RANGES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_KEYWORDS = frozenset(
    (*_MAPS, *_LISTS, *_SINGLES, *_VALUES, *_LENGTHS, *_COUNTS, *_RANGES, "type", "required", "$ref", "pattern",
     "format", "multipleOf", "uniqueItems", "minContains", "maxContains", "nullable")
)  # fmt: skip
"""What a grammar is made of; descriptions and the like are not."""
_REFERENCE = re.compile(
    r"#(?:/(?:{}|items)/[^/]+|/(?:{}))*".format("|".join(map(re.escape, _MAPS + _LISTS)), "|".join(_SINGLES))
)
"""A reference to where schemas stand, which have been weighed."""
_STATE = 11.0
"""Milliseconds for a place where any text may begin or go on."""
_MOST_STATES = 200
"""Above this many characters a length costs no more."""
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
"""An engine counts in 64 bits, which is what other languages' schemas name as the range of their integers."""


class GrammarBounds:
    """What is left of one request's budgets, and what did not fit."""

    def __init__(self, milliseconds: float, depth: int, *, as_written: bool = False) -> None:
        """`as_written`: what an engine is not held to may stand there, for it answers for that itself."""
        self._as_written = as_written
        self._structure = self._texts = milliseconds
        self._depth = depth
        self._paid: set[Any] = set()
        self._unheld: Collection[str] = ()
        self._root: Json = {}
        self._sizes: dict[int, float] = {}
        self.left_out: list[tuple[str, str]] = []
        """Where, and which keyword, or `schema` for all that it says."""

    def fit(self, schema: Json, where: str, unheld: Collection[str] = ()) -> Json:
        """Return the schema as far as there is room for it: whole, looser, or nothing of it but its type; without the
        keywords that are `unheld` by its grammar.
        """
        self._root, self._sizes, self._unheld = schema, {}, unheld
        told = len(self.left_out)
        try:
            return dict(self._schema(schema, where, 1))
        except (_TooLarge, RecursionError):
            del self.left_out[told:]
            return self._without(schema, where, _WHOLE)

    def fits(self, schema: Json) -> bool:
        """Return whether there is room for the whole schema, and take it."""
        told = len(self.left_out)
        self.fit(schema, "schema")
        return len(self.left_out) == told

    def pay_pattern(self, pattern: object) -> bool:
        """Return whether there is room for a regular expression, and take it."""
        if not isinstance(pattern, str) or not self._pay(len(pattern) / 5):
            return False
        weight = pattern_weight(pattern)
        return (weight.is_held or self._as_written) and self._pay_text(pattern, weight.cost)

    def pay_values(self, values: object) -> bool:
        """Return whether there is room for a choice of values, and take it."""
        count = len(values) if isinstance(values, list) else 1
        return self._pay(count / 20 + len(json.dumps(values)) / 150)

    def _pay(self, cost: float) -> bool:
        if cost > self._structure:
            return False
        self._structure -= cost
        return True

    def _pay_text(self, text: Any, cost: float) -> bool:
        """Take what a text's form costs, unless it has been paid for: an engine compiles equal ones once."""
        if text in self._paid:
            return True
        if cost > self._texts:
            return False
        self._texts -= cost
        self._paid.add(text)
        return True

    def _schema(self, schema: Any, where: str, depth: int) -> Any:
        if not self._pay(_own_cost(schema)):
            raise _TooLarge
        if not isinstance(schema, dict):
            return schema
        if depth > self._depth:
            return self._without(schema, where, _WHOLE)
        for keyword in self._unheld:
            if keyword in schema:
                schema = self._without(schema, where, keyword)
        for keyword in ("$ref", *_VALUES, "pattern", "format", *_LENGTHS, *_COUNTS, *_RANGES):
            if keyword in schema and not self._has_room(keyword, schema):
                schema = self._without(schema, where, keyword)
        return self._with_inner(schema, where, depth + 1)

    def _with_inner(self, schema: Json, where: str, depth: int) -> Json:
        made = {key: value for key, value in schema.items() if key in _KEYWORDS}
        for keyword in _SINGLES:
            if isinstance(schema.get(keyword), dict):
                made[keyword] = self._schema(schema[keyword], f"{where}.{keyword}", depth)
        for keyword in (*_LISTS, "items"):
            if isinstance(inner := schema.get(keyword), list):
                made[keyword] = [self._schema(each, f"{where}.{keyword}[{n}]", depth) for n, each in enumerate(inner)]
        for keyword in _MAPS:
            if isinstance(inner := schema.get(keyword), dict):
                made[keyword] = {
                    name: self._schema(each, f"{where}.{keyword}.{name}", depth) for name, each in inner.items()
                }
        if isinstance(patterns := made.get("patternProperties"), dict) and not all(map(self.pay_pattern, patterns)):
            made = self._without(made, where, "patternProperties")
        return made

    def _without(self, schema: Json, where: str, keyword: str) -> Json:
        """Return the schema without one keyword, or without all but its type."""
        self.left_out.append((where, keyword))
        if keyword == _WHOLE:
            return {key: value for key, value in schema.items() if key == "type"}
        # Where what it declared is gone, others would be refused.
        with_it = (keyword, *_OTHERS) if keyword in ("$ref", "patternProperties") else (keyword,)
        return {key: value for key, value in schema.items() if key not in with_it}

    def _has_room(self, keyword: str, schema: Json) -> bool:
        value = schema[keyword]
        match keyword:
            case "$ref":
                return isinstance(value, str) and bool(_REFERENCE.fullmatch(value)) and self._pay(self._size(schema))
            case "enum" | "const":
                return self.pay_values(value)
            case "pattern":
                return self.pay_pattern(value)
            case "format":
                return isinstance(value, str) and self._pay_text((keyword, value), 3 * _STATE)
        if not _is_number(value):
            return False
        if keyword not in _LENGTHS:
            return True
        lengths = tuple(schema[each] if _is_number(schema.get(each)) else 0 for each in _LENGTHS)
        return self._pay_text(lengths, _STATE * min(max(lengths), _MOST_STATES))

    def _size(self, schema: Any) -> float:
        """Return how many schemas there are, those that references lead to counted each time."""
        if not isinstance(schema, dict | list):
            return 0
        if id(schema) not in self._sizes:
            self._sizes[id(schema)] = 1  # for a circle, which ends here
            size: float = isinstance(schema, dict)
            if isinstance(schema, dict) and isinstance(reference := schema.get("$ref"), str):
                size += self._size(_target(self._root, reference))
            self._sizes[id(schema)] = size + sum(
                map(self._size, schema.values() if isinstance(schema, dict) else schema)
            )
        return self._sizes[id(schema)]


class _TooLarge(Exception):  # noqa: N818
    """There is no room for a schema's structure."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _SMALLEST <= value <= _LARGEST


def _own_cost(schema: Any) -> float:
    """Return what a schema costs without those in it."""
    if not isinstance(schema, dict):
        return 2.0
    kinds, properties, required = schema.get("type"), schema.get("properties"), schema.get("required")
    cost = 2.0 + sum(len(each) / 10 for each in (kinds, required) if isinstance(each, list))
    if not isinstance(properties, dict):
        return cost
    letters = sum(map(len, properties))
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    optional = len(properties.keys() - needed)
    counted = not schema.keys().isdisjoint(("minProperties", "maxProperties"))
    others = bool(schema.get("additionalProperties") or schema.get("patternProperties"))
    cost += letters / 150 + optional * letters / 1000  # where one may be left out, all that may follow it stand again
    return cost + optional**2 / 50 + others * optional * _STATE + counted * optional**2 / 3


def _target(root: Any, reference: str) -> Any:
    """Return what a reference leads to; nothing where it leads nowhere."""
    found = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found
