"""What the engine is held to while it decodes, where a request demands a call: a structural tag with the schemas.

Owns the tag's layout (xgrammar's, through vLLM's structured outputs). Knows the frame of a call from the dialect alone.
"""

from collections.abc import Sequence
from typing import Any

from callwright.dialects.types import Dialect, ToolSpec

Json = dict[str, Any]
_ANYTHING: Json = {"type": "object"}


def is_forced(choice: object) -> bool:
    """Whether `tool_choice` demands a call."""
    return choice == "required" or isinstance(choice, dict)


def constraint(
    dialect: Dialect, tools: Sequence[ToolSpec], choice: object, *, single: bool, loose: bool = False
) -> Json | None:
    """The structural tag for `choice`, or None where the model is free.

    `required` and a named tool force the answer to be calls and nothing else. With `auto`, a tool with `strict: true`
    is held to its schema once the model has begun to call it. `loose` asks for JSON objects only, for schemas that the
    engine can't follow.
    """
    functions = [tool.get("function", tool) for tool in tools]
    if is_forced(choice):
        calls = _either([_tag(dialect, function, loose) for function in functions])
        if not single and choice == "required":
            calls = {"type": "plus", "content": calls}
        ends = _ends(dialect, functions[0]["name"])
        form = (
            {"type": "sequence", "elements": [calls, {"type": "optional", "content": _either(ends)}]} if ends else calls
        )
        return {"type": "structural_tag", "format": form}
    strict = [function for function in functions if function.get("strict") is True]
    if choice != "auto" or not strict:
        return None
    tags = [_tag(dialect, function, loose) for function in strict]
    form = {"type": "triggered_tags", "triggers": [tag["begin"] for tag in tags], "tags": tags}
    return {"type": "structural_tag", "format": form}


def _tag(dialect: Dialect, function: Json, loose: bool) -> Json:
    begin, end = dialect.call_frame(function["name"])
    # White space without end is the one way left for a small model to get lost in.
    content = {"type": "json_schema", "json_schema": _ANYTHING if loose else _schema(function), "max_whitespace_cnt": 1}
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _schema(function: Json) -> Json:
    parameters = function.get("parameters")
    return {**parameters, "type": "object"} if isinstance(parameters, dict) else _ANYTHING


def _ends(dialect: Dialect, name: str) -> list[Json]:
    """What a trained model writes after its calls: the stop strings, as far as the frame's end has not said them."""
    _, end = dialect.call_frame(name)
    rests = [stop.removeprefix(end) for stop in dialect.stop if stop.startswith(end)]
    return [{"type": "const_string", "value": rest} for rest in rests if rest]


def _either(forms: list[Json]) -> Json:
    return forms[0] if len(forms) == 1 else {"type": "or", "elements": forms}
