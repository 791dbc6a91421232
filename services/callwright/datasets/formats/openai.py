"""OpenAI fine-tuning rows: `messages`, `tools`, `tool_calls`; already the neutral form, so only its faults are mended.

Reads the older `functions` / `function_call` spelling too.
"""

from collections.abc import Sequence
from typing import Any

from callwright.datasets.conversation import JSON, tool_call
from callwright.datasets.formats.row import ParsedRow, RowError, arguments_text, calls_before, next_unanswered
from callwright.datasets.formats.weights import read_weight, weighted
from callwright.dialects.literals import read_unambiguous

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def matches(row: JSON) -> bool:
    """Whether a row looks like this format."""
    return isinstance(row.get("messages"), list)


def read(row: JSON, before: Sequence[JSON] = ()) -> ParsedRow:
    """Messages and tools of one row, `before` being the messages already read. Raises `RowError`."""
    messages: list[JSON] = []
    for index, message in enumerate(row["messages"]):
        if not isinstance(message, dict):
            raise RowError("messages", f"messages[{index}]: got {type(message).__name__}; expected an object")
        messages.append(_message(message, index, [*before, *messages]))
    return ParsedRow(tuple(messages), read_tools(row.get("tools") or row.get("functions") or []))


def read_tools(value: Any) -> tuple[JSON, ...]:
    """OpenAI tools from a list of tools or bare functions, or from that list as a JSON string. Raises `RowError`."""
    if isinstance(value, str):
        try:
            value = read_unambiguous(value)
        except ValueError as error:
            raise RowError("tools", f"tools: not JSON: {error}") from None
    if not isinstance(value, list):
        raise RowError("tools", f"tools: got {type(value).__name__}; expected a list")
    return tuple(_tool(tool, index) for index, tool in enumerate(value))


def _tool(tool: Any, index: int) -> JSON:
    if isinstance(tool, str):
        try:
            tool = read_unambiguous(tool)
        except ValueError as error:
            raise RowError("tools", f"tools[{index}]: not JSON: {error}") from None
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError("tools", f"tools[{index}]: got no function with a name; expected an OpenAI tool")
    return {**(tool if "function" in tool else {}), "type": "function", "function": function}


def _message(message: JSON, index: int, before: list[JSON]) -> JSON:
    role = "tool" if message.get("role") == "function" else _ROLES.get(str(message.get("role")))
    if role is None:
        raise RowError("role", f"messages[{index}]: got role {message.get('role')!r}; expected {', '.join(_ROLES)}")
    made: JSON = {"role": role, "content": text_of(message.get("content"), index)}
    calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    if not isinstance(calls, list):
        raise RowError("tool_calls", f"messages[{index}]: got {type(calls).__name__}; expected a list of calls")
    if role == "assistant" and calls:
        taken = calls_before(before)
        made["tool_calls"] = [_call(call, index, taken + i) for i, call in enumerate(calls)]
        made["content"] = made["content"] or None
    if role == "tool":
        made["tool_call_id"] = message.get("tool_call_id") or next_unanswered(before)
        made["content"] = made["content"] or ""
    return weighted(made, read_weight(message, f"messages[{index}]."))


def _call(call: Any, index: int, number: int) -> JSON:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError("tool_calls", f"messages[{index}]: got a call without a name; expected an OpenAI tool call")
    made = tool_call(number, function["name"], arguments_text(function.get("arguments")))
    return {**made, "id": call["id"]} if isinstance(call.get("id"), str) and call["id"] else made


def text_of(content: Any, index: int) -> str | None:
    """A message's text: a string, nothing, or a list of text parts. Raises `RowError` for images and the like."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        return "".join(part["text"] for part in content)
    raise RowError("content", f"messages[{index}]: got content of {type(content).__name__}; expected text")
