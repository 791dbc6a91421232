"""Whether arguments fit a tool's JSON schema, as far as tool schemas go: types, enums, required, properties, items.

Lenient where schemas are loose: an unknown type or keyword never counts against a row. Python's and BFCL's names of
types are understood beside JSON's.
"""

import json
from collections.abc import Iterator
from typing import Any

from callwright.dialects.schema_types import PYTHON_TYPES, json_type

_MAX_DEPTH = 32


def violations(value: Any, schema: Any, path: str = "arguments", depth: int = 0) -> Iterator[str]:
    """Yield what in `value` the schema does not allow, each with its path."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return
    if not _is_of_type(value, schema.get("type")):
        yield f"{path}: got {_shown(value)}; expected {_names(schema['type'])}"
        return
    allowed = schema.get("enum")
    if isinstance(allowed, list) and allowed and value not in allowed:
        yield f"{path}: got {_shown(value)}; expected one of {_shown(allowed)}"
    if isinstance(value, dict):
        yield from _object(value, schema, path, depth)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from violations(item, schema.get("items"), f"{path}[{index}]", depth + 1)


def _object(value: dict[str, Any], schema: dict[str, Any], path: str, depth: int) -> Iterator[str]:
    properties = schema.get("properties")
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield f"{path}: got no {name}; expected it, as it is required"
    if not isinstance(properties, dict):
        return
    for name, item in value.items():
        if name in properties:
            yield from violations(item, properties[name], f"{path}.{name}", depth + 1)
        elif depth == 0 and not schema.get("additionalProperties"):
            yield f"{path}: got the unknown parameter {name}; expected {', '.join(properties) or 'none'}"


def _is_of_type(value: Any, declared: Any) -> bool:
    names = [declared] if isinstance(declared, str) else declared
    if not isinstance(names, list):
        return True
    types = [PYTHON_TYPES.get(json_type(str(name))) for name in names]
    if None in types:
        return True
    if isinstance(value, int) and not isinstance(value, bool):
        return int in types or float in types
    return type(value) in types or (isinstance(value, float) and value.is_integer() and int in types)


def _names(declared: Any) -> str:
    return declared if isinstance(declared, str) else " or ".join(map(str, declared))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"
