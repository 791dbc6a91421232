"""Custom tools, whose input is any text: functions with one parameter, and calls of these in the clients' words again.

Knows how OpenAI's two APIs write them.
"""

import json
from typing import Any

from callwright.sidecar.errors import Refused

Json = dict[str, Any]
_INPUT = "input"


def custom_function(tool: Json, where: str) -> tuple[Json, bool]:
    """Return the function for a custom tool, and whether its grammar is one that is only told to the model."""
    text: Json = {"type": "string"}
    described = [tool.get("description")]
    form, is_told = tool.get("format"), False
    match form.get("grammar", form) if isinstance(form, dict) and form.get("type") == "grammar" else form:
        case None | {"type": "text"}:
            pass
        case {"syntax": "regex", "definition": str(pattern)}:
            text["pattern"] = pattern
        case {"syntax": str(syntax), "definition": str(grammar)}:
            described.append(f"The input follows this {syntax} grammar:\n{grammar}")
            is_told = True
        case _:
            raise Refused(f"{where}.format: expected text or a grammar with its syntax", param=f"{where}.format")
    parameters = {"type": "object", "properties": {_INPUT: text}, "required": [_INPUT]}
    told = "\n\n".join(part for part in described if isinstance(part, str) and part)
    return {"name": tool.get("name"), "description": told, "parameters": parameters}, is_told


def written_input(text: object) -> str:
    """Return the arguments of a function for the input of a custom tool."""
    return json.dumps({_INPUT: text}, ensure_ascii=False)


def read_input(arguments: str) -> str:
    """Return the input of a custom tool for a function's arguments; these themselves where they are others."""
    try:
        with_input = json.loads(arguments)
    except (ValueError, RecursionError):  # the length has cut them
        return arguments
    text = with_input.get(_INPUT) if isinstance(with_input, dict) else None
    return text if isinstance(text, str) else arguments
