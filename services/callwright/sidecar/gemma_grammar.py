"""The arguments of Gemma's calls as a grammar: `city:<|"|>Oslo<|"|>,days:3`, by the tool's schema.

Members stand in the order of their names, as the chat templates write them, and text between two tokens, without any
other token of the format, or any `<` where its length is held to. A value that the schema says nothing of has one of
JSON's types, in the same writing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from callwright.dialects.gemma_literal import write_gemma
from callwright.sidecar.grammar_forms import Form, between, constant, either, json_value, optional, repeated, row

UNHELD = ("format", "uniqueItems", "minProperties", "maxProperties", "patternProperties", "multipleOf")
"""Keywords of a schema that the grammar says nothing of."""
_MOST_OPTIONAL = 8
"""Parameters that keep their order where none is required: each of them may be the first, so their square counts."""
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OPTIONS = ("anyOf", "oneOf")
_FREE = """root ::= %s
value ::= text | word | object | array
word ::= "true" | "false" | "null" | "-"? [0-9]+ ("." [0-9]+)?
object ::= "{" members "}"
members ::= (member ("," member)*)?
array ::= "[" (value ("," value)*)? "]"
member ::= [^:=,{}\\[\\]()"'<>\\r\\n ]+ ":" value
text ::= "%s" [^<]* "%s"
"""
"""A grammar of any value; a text in it has no `<`, with which every token of the formats begins."""


@dataclass(frozen=True)
class GemmaArguments:
    """Writes the grammar of one family, whose text stands between two `quote`, and holds none of the `markers`."""

    quote: str
    markers: Sequence[str]
    root: Mapping[str, Any] = field(default_factory=dict)
    """The schema in which references are looked up."""

    def members(self, schema: Mapping[str, Any], within: frozenset[str] = frozenset()) -> Form:
        """Return what stands between the braces of an object; `within` are the references that led here."""
        declared = schema.get("properties")
        if not isinstance(declared, dict) or (not declared and schema.get("additionalProperties") is not False):
            return self._free("members")
        listed = schema.get("required")
        names = sorted(declared, key=str.lower)
        needed = [name for name in names if isinstance(listed, list) and name in listed]
        given = {name: row([constant(f"{name}:"), self.value(declared[name], within)]) for name in names}
        if not names:
            return constant("")
        if not needed:
            are_few = schema is self.root and len(names) <= _MOST_OPTIONAL
            return optional((_in_order if are_few else _separated)(list(given.values())))
        first = names.index(needed[0])
        before = [optional(row([given[name], constant(",")])) for name in names[:first]]
        behind = [row([constant(","), given[name]]) for name in names[first + 1 :]]
        held = (
            form if name in needed else optional(form) for name, form in zip(names[first + 1 :], behind, strict=True)
        )
        return row([*before, given[needed[0]], *held])

    def value(self, schema: Any, within: frozenset[str] = frozenset()) -> Form:
        """Return a value; within itself it is any."""
        if not isinstance(schema, dict):
            return self._free("value")
        if isinstance(reference := schema.get("$ref"), str):
            target = None if reference in within else _target(self.root, reference)
            return self.value(target, within | {reference})
        if isinstance(values := schema.get("enum", [schema["const"]] if "const" in schema else None), list) and values:
            return either([constant(write_gemma(value, self.quote)) for value in values])
        for options in (schema[key] for key in _OPTIONS if isinstance(schema.get(key), list) and schema[key]):
            rest = {key: part for key, part in schema.items() if key not in _OPTIONS}
            return either([self.value(rest | each if isinstance(each, dict) else each, within) for each in options])
        kinds = schema.get("type", _implied(schema))
        kinds = kinds if isinstance(kinds, list) else [kinds]
        kinds = [*kinds, "null"] if schema.get("nullable") is True and "null" not in kinds else kinds
        return either([self._typed(kind, schema, within) for kind in kinds] or [self._free("value")])

    def _typed(self, kind: Any, schema: Form, within: frozenset[str]) -> Form:
        match kind:
            case "string":
                return self._text(schema)
            case "boolean":
                return either([constant("true"), constant("false")])
            case "null":
                return constant("null")
            case "integer" | "number":
                return json_value({"type": kind} | {key: schema[key] for key in _NUMBERS if key in schema})
            case "object":
                return row([constant("{"), self.members(schema, within), constant("}")])
            case "array":
                return self._array(schema, within)
            case _:
                return self._free("value")

    def _text(self, schema: Form) -> Form:
        least, most = schema.get("minLength", 0), schema.get("maxLength", "")
        if isinstance(pattern := schema.get("pattern"), str):
            content: Form = {"type": "regex", "pattern": pattern}
        elif least or most:
            content = {"type": "regex", "pattern": f"[^<]{{{int(least)},{most and int(most)}}}"}
        else:
            content = {"type": "any_text", "excludes": list(self.markers)}
        return between(self.quote, content, self.quote)

    def _array(self, schema: Form, within: frozenset[str]) -> Form:
        item, least, most = (
            self.value(schema.get("items", {}), within),
            schema.get("minItems", 0),
            schema.get("maxItems"),
        )
        if most == 0:
            return constant("[]")
        items = _separated([item])
        if least > 1 or most is not None:
            more = repeated(row([constant(","), item]), max(int(least) - 1, 0), -1 if most is None else int(most) - 1)
            items = row([item, more])
        return row([constant("["), items if least else optional(items), constant("]")])

    def _free(self, rule: str) -> Form:
        quote = self.quote.replace('"', '\\"')
        return {"type": "grammar", "grammar": _FREE % (rule, quote, quote)}


def _in_order(members: list[Form]) -> Form:
    """Return one or more of the members, in their order."""
    behind = [optional(row([constant(","), member])) for member in members]
    return either([row([member, *behind[place + 1 :]]) for place, member in enumerate(members)])


def _separated(forms: list[Form]) -> Form:
    """Return one or more of the forms, each as often as may be, in any order."""
    form = either(forms)
    return row([form, repeated(row([constant(","), form]))])


def _implied(schema: Form) -> str | None:
    """Return the type that a schema without one means."""
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else None


def _target(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference within the schema leads to; nothing where it leads nowhere."""
    found: Any = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
