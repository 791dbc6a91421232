"""The arguments of Python's calls as a grammar: `city='Oslo', days=3`, by the tool's schema.

Those that are required stand first, in the schema's order, then any of the others. Values are JSON, or strings,
booleans and null as Python writes them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from callwright.dialects.literals import is_keyword_name
from callwright.sidecar.grammar_forms import constant, either, json_value, optional, row

Json = dict[str, Any]
_QUOTED = {"type": "regex", "pattern": r"'[^'\\\n\r]*'"}
_WORDS = {"boolean": ("True", "False"), "null": ("None",)}
_LOOKS = ("enum", "const", "pattern", "format", "minLength", "maxLength")
"""What a string may have to look like; such a one is written as JSON."""
_MOST_OPTIONAL = 8
"""Parameters that are told by name where none is required: each of them may be the first, so their square counts."""


def python_arguments(schema: Mapping[str, Any]) -> Json:
    """Return the form of a call's arguments, as a structural tag writes one."""
    properties, listed = schema.get("properties"), schema.get("required")
    declared: Mapping[str, Any] = properties if isinstance(properties, dict) else {}
    needed = [name for name in declared if isinstance(listed, list) and name in listed]
    others = [name for name in declared if name not in needed]
    are_many = not needed and len(others) > _MOST_OPTIONAL
    if not isinstance(properties, dict) or are_many or not all(map(is_keyword_name, declared)):
        unpacked = row([constant("**"), json_value(dict(schema))])
        return unpacked if needed else optional(unpacked)
    root = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    given = {name: row([constant(f"{name}="), _value(declared[name], root)]) for name in (*needed, *others)}
    behind = [optional(row([constant(", "), given[name]])) for name in others]
    if needed:
        first, *rest = (given[name] for name in needed)
        return row([first, *(each for form in rest for each in (constant(", "), form)), *behind])
    if not others:
        return constant("")
    return optional(either([row([given[name], *behind[place + 1 :]]) for place, name in enumerate(others)]))


def _value(schema: Any, root: Json) -> Json:
    schema = schema if isinstance(schema, dict) else {}
    forms = [json_value(root | schema)]
    options: list[Any] = next((schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list)), [])
    for option in (schema, *options):
        if isinstance(option, dict):
            forms += _as_python(option)
    return either(forms)


def _as_python(schema: Json) -> Iterator[Json]:
    """Yield how Python writes a value of this type, where that is another way than JSON's."""
    if isinstance(choices := schema.get("enum"), list):
        yield from (constant(repr(each)) for each in choices if isinstance(each, str | bool) or each is None)
    if not schema.keys().isdisjoint(_LOOKS):
        return
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind == "string":
            yield _QUOTED
        elif isinstance(kind, str):
            yield from map(constant, _WORDS.get(kind, ()))
