"""From what stands after a tool's name to its arguments: a JSON object as a string, or the reason why not.

Owns the repair of arguments and the coercion to a tool's schema, which never loses anything: where a value could only
be kept by guessing, it stays as written. Knows no marker and no stream.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from callwright.dialects.literals import MAX_DEPTH, Json, read_literal, write_json
from callwright.dialects.schema_types import ANY, json_type
from callwright.dialects.tools import Tool

_NOTHING = frozenset({"", "none", "null", "n/a", "na", "nil", "无", "无参数", "空", "{}", "()", '""', "''"})
_FENCE = re.compile(r"\A\s*+`{1,3}(?:\w{1,12}[ \t]*+\n)?(.*?)\s*`{0,3}\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text holds no arguments."""

    reason: str


def read_value(value: Json, tool: Tool) -> str | Fault:
    """Reads arguments that stand inside an object which was read already."""
    if isinstance(value, dict):
        return _finish(value, tool)
    return read_bare(value if isinstance(value, str) else write_json(value), tool)


def read_object(text: str, tool: Tool) -> str | Fault:
    """Reads what stands between two braces."""
    try:
        value = read_literal(text)
    except ValueError as error:
        return Fault(f"the arguments are no JSON object: {error}")
    if not isinstance(value, dict):
        return Fault("the arguments are no JSON object")
    return _finish(value, tool)


def read_bare(text: str, tool: Tool) -> str | Fault:
    """Reads an input that does not open with a brace: nothing, a bare value, or prose around an object."""
    stripped = _unfence(text).strip()
    if stripped.lower().strip(" .。") in _NOTHING and not tool.required:
        return "{}"
    if stripped.lower().strip(" .。") in _NOTHING:
        return Fault(f"no arguments; expected {', '.join(tool.required)}")
    value = _read_or_keep(stripped)
    if isinstance(value, dict):
        return _finish(value, tool)
    if isinstance(value, str):
        inner = _read_or_keep(value.strip()) if value != stripped else value
        if isinstance(inner, dict):
            return _finish(inner, tool)
        embedded = _embedded_object(value, tool)
        if embedded is not None:
            return _finish(embedded, tool)
    name = _sole_parameter(tool)
    if name is None:
        return Fault(f"the arguments are no JSON object: got {stripped[:40]!r}")
    schemas = _alternatives(tool.properties[name], tool.parameters)
    if isinstance(value, str):
        named = re.match(rf"[\"']?{re.escape(name)}[\"']?\s*[=:]\s*(.+)", value, re.DOTALL)
        value = _read_or_keep(named[1].strip()) if named else value
    elif not _fits(value, schemas) and _fits("", schemas):
        value = stripped
    coerced = _coerce(value, schemas, tool.parameters, 0)
    if not _fits(coerced, schemas):
        return Fault(f"the arguments are no JSON object: got {stripped[:40]!r}")
    return write_json({name: coerced})


def _finish(value: dict[str, Json], tool: Tool) -> str | Fault:
    schemas = _alternatives(tool.parameters, tool.parameters)
    coerced = _coerce(value, schemas, tool.parameters, 0) if tool.properties else value
    try:
        return write_json(coerced)
    except ValueError as error:
        return Fault(f"the arguments are no strict JSON: {error}")


def _unfence(text: str) -> str:
    found = _FENCE.match(text)
    return found[1] if found else text


def _read_or_keep(text: str) -> Json:
    if not text or text[0] not in "{[\"'-+.0123456789tTfFnN“(":
        return text
    try:
        return read_literal(text)
    except ValueError:
        return text


def _embedded_object(text: str, tool: Tool) -> dict[str, Json] | None:
    """The object in `Here is the input: {"image": "a.jpg"}`, where its keys are the tool's."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        return None
    try:
        value = read_literal(text[start : end + 1])
    except ValueError:
        return None
    if isinstance(value, dict) and value and all(key in tool.properties for key in value):
        return value
    return None


def _sole_parameter(tool: Tool) -> str | None:
    if len(tool.required) == 1 and tool.required[0] in tool.properties:
        return tool.required[0]
    return next(iter(tool.properties)) if len(tool.properties) == 1 and not tool.required else None


_MOST = 32
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


def _alternatives(schema: object, root: Schema) -> list[Schema]:
    """The schemas of which a value has to satisfy one: `anyOf` and `oneOf` taken apart, a bounded number of them."""
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


def _kinds(value: Json) -> tuple[str, ...]:
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case int():
            return ("integer", "number")
        case float():
            return ("number",)
        case str():
            return ("string",)
        case list():
            return ("array",)
        case _:
            return ("object",)


def _fits(value: Json, schemas: list[Schema]) -> bool:
    kinds = _kinds(value)
    return any(not types or any(kind in types for kind in kinds) for types in map(_types, schemas))


def _coerce(value: Json, schemas: list[Schema], root: Schema, depth: int) -> Json:
    """The value in a type that the schema asks for, or the value itself where that would lose something."""
    if depth > MAX_DEPTH:
        return value
    if not _fits(value, schemas):
        value = _convert(value, schemas)
    if isinstance(value, str):
        return _choose(value, schemas)
    if isinstance(value, dict):
        return _coerce_members(value, schemas, root, depth)
    if isinstance(value, list):
        items = next((s["items"] for s in schemas if isinstance(s.get("items"), Mapping)), None)
        inner = _alternatives(items, root)
        return [_coerce(item, inner, root, depth + 1) for item in value] if items is not None else value
    return value


def _coerce_members(value: dict[str, Json], schemas: list[Schema], root: Schema, depth: int) -> Json:
    for schema in schemas:
        members = schema.get("properties")
        if isinstance(members, Mapping):
            return {
                key: _coerce(inner, _alternatives(members[key], root), root, depth + 1) if key in members else inner
                for key, inner in value.items()
            }
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping):
            inner_schemas = _alternatives(others, root)
            return {key: _coerce(inner, inner_schemas, root, depth + 1) for key, inner in value.items()}
    return value


def _choose(value: str, schemas: list[Schema]) -> Json:
    """The member of an `enum` of numbers that was written as a string."""
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
    """The same value in another type, or the very same object where there is none."""
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
            parsed = _read_or_keep(value.strip())
            expected = list if kind == "array" else dict
            return parsed if isinstance(parsed, expected) else value
        case _:
            return value
