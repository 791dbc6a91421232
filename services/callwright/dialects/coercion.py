"""Converts values to the types that a tool's JSON Schema asks for: `"5"` to 5, `"true"` to True.

Nothing gets lost: a value that could only be kept by guessing, such as `"05"` for an integer, stays as it is.
"""

import re
from collections.abc import Mapping
from typing import Any

from callwright.dialects.literals import MAX_DEPTH, Json, literal_or_text, write_json
from callwright.dialects.schema_types import ANY, JSON_TYPE_OF, json_type

_MOST = 32
"""References that are followed, and alternatives that are looked at."""
_COMBINING = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
Schema = Mapping[str, Any]


def _resolve(schema: object, root: Schema) -> Schema:
    """Follows local `$ref`s, a bounded number of them."""
    for _ in range(_MOST):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        target: object = root
        for part in reference[2:].split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        schema = target
    return schema if isinstance(schema, Mapping) else {}


def alternatives(schema: object, root: Schema) -> list[Schema]:
    """Return the schemas of which a value has to satisfy one: `anyOf` and `oneOf` taken apart, a bounded number of
    them.
    """
    if isinstance(schema, dict) and _COMBINING.isdisjoint(schema):
        return [schema]
    found: list[Schema] = []
    waiting: list[object] = [schema]
    for _ in range(_MOST):
        if not waiting:
            break
        resolved = _resolve(waiting.pop(0), root)
        options = resolved.get("anyOf") or resolved.get("oneOf") or resolved.get("allOf")
        if isinstance(options, list) and (len(options) == 1 or "allOf" not in resolved):
            waiting.extend(options[:_MOST])
        else:
            found.append(resolved)
    return found


def _types(schema: Schema) -> tuple[str, ...]:
    declared = schema.get("type")
    types = declared if isinstance(declared, list) else [declared]
    names = [json_type(name) for name in types if isinstance(name, str)]
    if names and schema.get("nullable") is True:
        names.append("null")
    return () if ANY in names else tuple(names)


def _types_of(value: Json) -> tuple[str, ...]:
    name = JSON_TYPE_OF[type(value)]
    return (name, "number") if name == "integer" else (name,)


def fits(value: Json, schemas: list[Schema]) -> bool:
    """Return whether the value has a type that one of the schemas allows."""
    own = _types_of(value)
    return any(not types or any(name in types for name in own) for types in map(_types, schemas))


def coerce(value: Json, schemas: list[Schema], root: Schema, depth: int = 0) -> Json:
    """Converts a value, and those inside it, to a type that one of the schemas asks for.

    `root` is the schema that `$ref`s point into.
    """
    if depth > MAX_DEPTH:
        return value
    if not fits(value, schemas):
        value = _convert(value, schemas)
    if isinstance(value, str):
        return _choose(value, schemas)
    if isinstance(value, dict):
        return _coerce_members(value, schemas, root, depth)
    if isinstance(value, list):
        items = next((s["items"] for s in schemas if isinstance(s.get("items"), Mapping)), None)
        inner = alternatives(items, root)
        return [coerce(item, inner, root, depth + 1) for item in value] if items is not None else value
    return value


def _coerce_members(value: dict[str, Json], schemas: list[Schema], root: Schema, depth: int) -> Json:
    for schema in schemas:
        members = schema.get("properties")
        if isinstance(members, Mapping):
            return {
                key: coerce(inner, alternatives(members[key], root), root, depth + 1) if key in members else inner
                for key, inner in value.items()
            }
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping):
            inner_schemas = alternatives(others, root)
            return {key: coerce(inner, inner_schemas, root, depth + 1) for key, inner in value.items()}
    return value


def _choose(value: str, schemas: list[Schema]) -> Json:
    """Return the member of an `enum` of numbers that was written as a string."""
    choices = [c for s in schemas if isinstance(s.get("enum"), list) for c in s["enum"]]
    if value in choices:
        return value
    return next((c for c in choices if isinstance(c, int | float) and str(c) == value), value)


def _convert(value: Json, schemas: list[Schema]) -> Json:
    for schema in schemas:
        for kind in _types(schema):
            converted = _convert_to(value, kind)
            if converted is not value:
                return converted
    return value


def _convert_to(value: Json, kind: str) -> Json:
    """Return the same value in another type, or the very same object where there is none."""
    match kind, value:
        case "integer", float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case (("integer" | "number"), str()) if re.fullmatch(r"-?(?:0|[1-9]\d{0,17})", value.strip()):
            return int(value)
        case "number", str() if re.fullmatch(r"-?(?:0|[1-9]\d*)\.\d+", value.strip()):
            number = float(value)
            return number if str(number) == value.strip() else value
        case "boolean", str() if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case "string", bool():
            return value
        case "string", int():
            return str(value)
        case "string", float():
            return write_json(value)
        case "null", str() if value.strip().lower() in ("null", "none"):
            return None
        case (("array" | "object"), str()) if value.strip()[:1] in ("[", "{"):
            parsed = literal_or_text(value.strip())
            expected = list if kind == "array" else dict
            return parsed if isinstance(parsed, expected) else value
        case _:
            return value
