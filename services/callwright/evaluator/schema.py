"""Calls against the tools that a row declares: whether a tool's schema accepts one, and the defaults it declares."""

from collections.abc import Sequence
from typing import Any

from callwright.datasets.schemas import violations
from callwright.evaluator.rows import Tool


def accepts(tools: Sequence[Tool], name: str, arguments: dict[str, Any]) -> bool:
    """Whether `name` is one of the tools and its schema accepts the arguments."""
    parameters = _parameters(tools, name)
    return parameters is not None and next(violations(arguments, parameters), None) is None


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
