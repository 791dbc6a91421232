"""Reads values that stand in the text without quotes, as formats with a tag for each parameter write them.

read_member("5", "days", tool)      5, where the schema says integer; "5", where it says string

Nothing in such a text tells 5 from "5": the tool's schema does. Where it allows text and more, or says nothing, a value
is no text if it is spelled just as JSON or Python would spell it.
"""

from callwright.dialects.coercion import Alternatives
from callwright.dialects.literals import Json, literal_or_text, write_json
from callwright.dialects.tools import Tool

_WORDS = frozenset({"true", "false", "null", "True", "False", "None"})
_OTHERS: tuple[Json, ...] = (None, True, 1.5, [], {})
"""Values that are no text, one of each type."""


def is_text(key: str, tool: Tool) -> bool:
    """Return whether the parameter can be nothing but text."""
    schemas = _schemas_of(key, tool)
    others = any(map(schemas.fits, _OTHERS)) or any("enum" in schema for schema in schemas.schemas)
    return schemas.fits("") and not others


def read_member(text: str, key: str, tool: Tool) -> Json:
    """Return the value of a tool's parameter; text stays as it is where the schema asks for what it is not."""
    schemas = _schemas_of(key, tool)
    return schemas.coerce(_read_raw(text, schemas))


def convert_member(value: Json, key: str, tool: Tool) -> Json:
    """Return the value of a tool's parameter, which was read, in a type that the schema asks for."""
    return _schemas_of(key, tool).coerce(value)


def _read_raw(text: str, schemas: Alternatives) -> Json:
    allows_text = schemas.fits("")
    if allows_text and schemas.lists(text):
        return text
    stripped = text.strip()
    value = literal_or_text(stripped)
    if not allows_text or (not isinstance(value, str) and schemas.fits(value) and _is_spelled_so(value, stripped)):
        return text if isinstance(value, str) and value == stripped else value
    return text


def _is_spelled_so(value: Json, text: str) -> bool:
    match value:
        case bool() | None:
            return text in _WORDS
        case int() | float():
            return write_json(value) == text
        case _:
            return text[0] in "[{"


def _schemas_of(key: str, tool: Tool) -> Alternatives:
    if key in tool.properties:
        return tool.schemas.of(tool.properties[key])
    return tool.schemas.of(tool.parameters.get("additionalProperties"))
