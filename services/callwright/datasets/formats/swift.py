"""ms-swift agent rows: roles `tool_call` and `tool_response` (or `tool`), and `tools` as a JSON string.

Calls in a row become one assistant message with parallel calls; an assistant text right before them its content.
"""

from callwright.datasets.conversation import JSON
from callwright.datasets.formats import openai
from callwright.datasets.formats.row import Messages, ParsedRow, RowError, add_calls, call_turn
from callwright.datasets.formats.weights import read_weight, weighted
from callwright.dialects.tools import Toolbox

_CALL_ROLES = ("tool_call", "tool_calls", "function_call")
_ROLES = {"tool_response": "tool", "observation": "tool"}


def matches(row: JSON) -> bool:
    """Return whether a row looks like this format: a role or a tool list that the OpenAI format doesn't have."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        return False
    roles = {str(message.get("role")) for message in messages if isinstance(message, dict)}
    return not roles.isdisjoint((*_CALL_ROLES, *_ROLES)) or (isinstance(row.get("tools"), str) and bool(row["tools"]))


def read(row: JSON) -> ParsedRow:
    """Messages and tools of one row. Raises `RowError`."""
    tools = openai.tools_of(row, row["messages"])
    box = Toolbox(tools)
    messages = Messages()
    for index, message in enumerate(row["messages"]):
        role = str(message.get("role")) if isinstance(message, dict) else None
        if role in _CALL_ROLES:
            content, weight = message.get("content"), read_weight(message, f"messages[{index}].")
            if not isinstance(content, str):
                found = type(content).__name__
                raise RowError("tool_calls", f"messages[{index}]: got {found}; expected a call as JSON text")
            add_calls(weighted(call_turn(content, messages, f"messages[{index}]: "), weight), messages)
            continue
        if role in _ROLES:
            message = {**message, "role": _ROLES[role]}
        messages += openai.read_message(message, index, messages, box)
    return ParsedRow(tuple(messages), tools)
