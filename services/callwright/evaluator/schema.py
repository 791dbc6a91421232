"""Calls against the tools' JSON schemas.

Knows JSON schema through `jsonschema`; never fetches a schema that a tool refers to.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jsonschema
import referencing

from callwright.evaluator.rows import Tool


def accepts(tools: Sequence[Tool], name: str, arguments: dict[str, Any]) -> bool:
    """Whether `name` is one of the tools and its schema accepts the arguments. A broken schema accepts anything."""
    parameters = _parameters(tools, name)
    if parameters is None:
        return False
    try:
        return bool(_validator(json.dumps(parameters, sort_keys=True)).is_valid(arguments))
    except (jsonschema.SchemaError, jsonschema.exceptions.UnknownType, referencing.exceptions.Unresolvable):
        return True


def defaults(tools: Sequence[Tool], name: str) -> dict[str, Any]:
    """The default values that a tool's schema declares."""
    properties = (_parameters(tools, name) or {}).get("properties")
    if not isinstance(properties, dict):
        return {}
    return {key: part["default"] for key, part in properties.items() if isinstance(part, dict) and "default" in part}


def _parameters(tools: Sequence[Tool], name: str) -> dict[str, Any] | None:
    for tool in tools:
        function = tool.get("function", tool)
        if function.get("name") == name:
            parameters = function.get("parameters") or {}
            return parameters if isinstance(parameters, dict) else {}
    return None


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    parameters = json.loads(schema)
    if isinstance(parameters.get("properties"), dict):
        # A model that makes an argument up is wrong, also where the schema forgets to say so.
        parameters.setdefault("additionalProperties", False)
    jsonschema.Draft202012Validator.check_schema(parameters)
    return jsonschema.Draft202012Validator(parameters, registry=referencing.Registry())
