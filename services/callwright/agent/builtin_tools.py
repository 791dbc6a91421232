"""The tools of `callwright chat`: a calculator and a clock, safe to call with whatever a model writes.

A tool is a declaration in `TOOLS` and a function that `call` finds by its name.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from callwright.agent.conversation import ToolError

_LARGEST = 10**12
_OPERATORS: Mapping[type[ast.operator | ast.unaryop], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def _declared(name: str, description: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS: tuple[dict[str, Any], ...] = (
    _declared("calculate", "Compute an arithmetic expression.", expression="Such as (3 + 4) * 2."),
    _declared("current_time", "Tell date and time in a time zone.", timezone="IANA name, such as Asia/Shanghai."),
)


def call(name: str, arguments: Mapping[str, Any]) -> object:
    """Calls the tool `name`. Raises `ToolError`, whose message is for the model."""
    match name:
        case "calculate":
            return calculate(str(arguments.get("expression", "")))
        case "current_time":
            return current_time(str(arguments.get("timezone", "UTC")))
        case _:
            raise ToolError(f"there is no tool {name!r}; expected calculate or current_time")


def calculate(expression: str) -> float:
    """Evaluates an arithmetic expression of numbers, + - * / // % and parentheses."""
    try:
        return _value(ast.parse(expression[:1000], mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError(f"{expression[:80]!r} is no arithmetic expression") from None
    except (ZeroDivisionError, OverflowError) as error:
        raise ToolError(str(error)) from None


def current_time(timezone: str) -> str:
    """Returns date and time in `timezone`, in ISO 8601."""
    try:
        return datetime.now(ZoneInfo(timezone)).isoformat(timespec="seconds")
    except (OSError, ValueError):
        raise ToolError(f"there is no time zone {timezone[:80]!r}") from None


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) <= _LARGEST:
            return value
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case _:
            raise ValueError
