"""Converts values to the types that a tool's JSON Schema asks for: `"5"` to 5, `"true"` to True.

    schemas = Schemas(parameters)
    schemas.of(parameters["properties"]["days"]).coerce("5")        5

Nothing gets lost: a value that could only be kept by guessing, such as `"05"` for an integer, stays as it is.
Each schema is looked at once, however many values it has.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from callwright.dialects.literals import MAX_DEPTH, Json, literal_or_text, write_json
from callwright.dialects.schema_types import ANY, JSON_TYPE_OF, PYTHON_TYPES, json_type

_MOST = 32
"""References that are followed, and alternatives that are looked at."""
Schema = Mapping[str, Any]


class Schemas:
    """The schemas that stand in `root`, the one that `$ref`s point into."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._read: dict[int, tuple[object, Alternatives]] = {}
        self._apart: dict[tuple[int, ...], Alternatives] = {}

    def of(self, schema: object) -> "Alternatives":
        """Return what a value of the schema has to satisfy; it must not be changed in place."""
        key = id(schema)
        if key not in self._read:
            apart = self._taken_apart(schema)
            made = self._apart.setdefault(tuple(map(id, apart)), Alternatives(apart, self))
            self._read[key] = schema, made
        return self._read[key][1]

    def _taken_apart(self, schema: object) -> list[Schema]:
        found: list[Schema] = []
        waiting: list[object] = [schema]
        for _ in range(_MOST):
            if not waiting:
                break
            resolved = self._resolved(waiting.pop(0))
            options = resolved.get("anyOf") or resolved.get("oneOf") or resolved.get("allOf")
            if isinstance(options, list) and (len(options) == 1 or "allOf" not in resolved):
                waiting.extend(options[:_MOST])
            else:
                found.append(resolved)
        return found

    def _resolved(self, schema: object) -> Schema:
        """Follow local `$ref`s, a bounded number of them."""
        for _ in range(_MOST):
            reference = schema.get("$ref") if isinstance(schema, Mapping) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            target: object = self._root
            for part in reference[2:].split("/"):
                target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
            schema = target
        return schema if isinstance(schema, Mapping) else {}


class Alternatives:
    """Schemas of which a value has to satisfy one: `anyOf` and `oneOf` taken apart, a bounded number of them."""

    def __init__(self, schemas: list[Schema], among: Schemas) -> None:
        self.schemas, self._among = schemas, among

    def fits(self, value: Json) -> bool:
        """Return whether the value has a type that one of the schemas allows."""
        name = JSON_TYPE_OF[type(value)]
        return self._allows_all or name in self._types or (name == "integer" and "number" in self._types)

    def lists(self, text: str) -> bool:
        """Return whether the text is a member of an `enum`."""
        return text in self._choices[0]

    def coerce(self, value: Json, depth: int = 0) -> Json:
        """Convert a value, and those inside it, to a type that one of the schemas asks for."""
        if depth > MAX_DEPTH:
            return value
        if not self.fits(value):
            value = self._converted(value)
        if isinstance(value, str):
            texts, numbers = self._choices
            return value if value in texts else numbers.get(value, value)
        if isinstance(value, dict):
            members, others = self._members
            return {
                key: schemas.coerce(inner, depth + 1) if (schemas := self._member(key, members, others)) else inner
                for key, inner in value.items()
            }
        if isinstance(value, list) and self._items is not None:
            return [self._items.coerce(item, depth + 1) for item in value]
        return value

    def _member(self, key: str, members: Schema, others: "Alternatives | None") -> "Alternatives | None":
        return self._among.of(members[key]) if key in members else others

    def _converted(self, value: Json) -> Json:
        for kind in self._types:
            converted = _convert_to(value, kind)
            if converted is not value:
                return converted
        return value

    @cached_property
    def _allows_all(self) -> bool:
        """One of the schemas names no type, or any."""
        return any(not _types(schema) for schema in self.schemas)

    @cached_property
    def _types(self) -> dict[str, None]:
        """The types that the schemas name, in order, as far as there are such."""
        return dict.fromkeys(name for schema in self.schemas for name in _types(schema) if name in PYTHON_TYPES)

    @cached_property
    def _choices(self) -> tuple[frozenset[str], dict[str, Json]]:
        """The members of `enum`s that are texts, and the numbers by what they are as a text."""
        choices = [each for schema in self.schemas if isinstance(listed := schema.get("enum"), list) for each in listed]
        numbers: dict[str, Json] = {str(each): each for each in reversed(choices) if isinstance(each, int | float)}
        return frozenset(each for each in choices if isinstance(each, str)), numbers

    @cached_property
    def _items(self) -> "Alternatives | None":
        items = next((each["items"] for each in self.schemas if isinstance(each.get("items"), Mapping)), None)
        return None if items is None else self._among.of(items)

    @cached_property
    def _members(self) -> tuple[Schema, "Alternatives | None"]:
        """The schemas of an object's members by name, or of all of them."""
        for schema in self.schemas:
            if isinstance(members := schema.get("properties"), Mapping):
                return members, None
            if isinstance(others := schema.get("additionalProperties"), Mapping):
                return {}, self._among.of(others)
        return {}, None


def _types(schema: Schema) -> tuple[str, ...]:
    declared = schema.get("type")
    types = declared if isinstance(declared, list) else [declared]
    names = [json_type(name) for name in types if isinstance(name, str)]
    if names and schema.get("nullable") is True:
        names.append("null")
    return () if ANY in names else tuple(names)


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
