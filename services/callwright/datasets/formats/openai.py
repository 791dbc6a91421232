"""OpenAI fine-tuning rows: `messages`, `tools`, `tool_calls`; already the neutral form, so only its faults are mended.

Reads the older `functions` / `function_call` spelling too.
"""

from collections.abc import Sequence
from typing import Any

from callwright.datasets.conversation import JSON
from callwright.datasets.formats.row import ParsedRow, RowError, next_unanswered, read_calls
from callwright.datasets.formats.weights import read_weight, weighted
from callwright.dialects.declarations import list_tools, openai_tool, unread_parameters

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_CALLS = ("tool_calls", "function_call", "function_calls")


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
    return ParsedRow(tuple(messages), tools_of(row, row["messages"]))


def read_tools(value: Any) -> tuple[JSON, ...]:
    """OpenAI tools from tools in any words that `declarations` reads, their JSON text too. Raises `RowError`."""
    try:
        tools = tuple(dict(openai_tool(tool)) for tool in list_tools(value))
    except (ValueError, RecursionError) as error:
        raise RowError("tools", f"tools: {error}") from None
    for tool in tools:
        key = unread_parameters(tool)
        if key is not None:
            name = tool["function"]["name"]
            raise RowError("tools", f"tools: {name}: got no parameters, and a schema in {key}; expected parameters")
    return tools


def tools_of(row: JSON, turns: Sequence[Any]) -> tuple[JSON, ...]:
    """The tools that a row declares, itself and in its turns, a system message for one; each once."""
    holders = [row, *(turn for turn in turns if isinstance(turn, dict))]
    found: list[JSON] = []
    for holder in holders:
        for key in ("tools", "functions"):
            listed = read_tools(holder.get(key))
            found += listed if not found else [tool for tool in listed if tool not in found]
    return tuple(found)


def _message(message: JSON, index: int, before: list[JSON]) -> JSON:
    role = "tool" if message.get("role") == "function" else _ROLES.get(str(message.get("role")))
    if role is None:
        raise RowError("role", f"messages[{index}]: got role {message.get('role')!r}; expected {', '.join(_ROLES)}")
    made: JSON = {"role": role, "content": text_of(message.get("content"), index)}
    calls = next((message[key] for key in _CALLS if message.get(key)), None)
    if role == "assistant" and calls:
        made["tool_calls"] = read_calls(calls, before, f"messages[{index}]: ")
        made["content"] = made["content"] or None
    if role == "tool":
        made["tool_call_id"] = message.get("tool_call_id") or next_unanswered(before)
        made["content"] = made["content"] or ""
    return weighted(made, read_weight(message, f"messages[{index}]."))


def text_of(content: Any, index: int) -> str | None:
    """A message's text: a string, nothing, or a list of text parts. Raises `RowError` for images and the like."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        return "".join(part["text"] for part in content)
    raise RowError("content", f"messages[{index}]: got content of {type(content).__name__}; expected text")
