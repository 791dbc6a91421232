"""OpenAI fine-tuning rows: `messages`, `tools`, `tool_calls`; already the neutral form, so only its faults are mended.

Reads the older `functions` / `function_call` spelling too.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from callwright.datasets.conversation import JSON
from callwright.datasets.formats.react import read_text
from callwright.datasets.formats.row import Messages, ParsedRow, RowError, read_calls, read_id, results
from callwright.datasets.formats.weights import read_weight, weighted_turn
from callwright.dialects.declarations import list_tools, openai_tool, unread_parameters
from callwright.dialects.messages import reasoning_of, text_of_part
from callwright.dialects.tools import Toolbox
from callwright.dialects.types import REASONING, THOUGHT

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_CALLS = ("tool_calls", "function_call", "function_calls")


def matches(row: JSON) -> bool:
    """Return whether a row looks like this format."""
    return isinstance(row.get("messages"), list)


def read(row: JSON) -> ParsedRow:
    """Messages and tools of one row. Raises `RowError`."""
    tools = tools_of(row, row["messages"])
    box = Toolbox(tools)
    messages = Messages()
    for index, message in enumerate(row["messages"]):
        messages += read_message(message, index, messages, box)
    return ParsedRow(tuple(messages), tools)


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
    """Return the tools that a row declares, itself and in its turns, a system message for one; each once."""
    holders = [row, *(turn for turn in turns if isinstance(turn, dict))]
    listed = [
        read_tools(written) for holder in holders for key in ("tools", "functions") if (written := holder.get(key))
    ]
    return listed[0] if len(listed) == 1 else distinct(chain(*listed))


def distinct(tools: Iterable[JSON]) -> tuple[JSON, ...]:
    """Return the tools, each once."""
    found: dict[str, JSON] = {}
    for tool in tools:
        found.setdefault(json.dumps(tool, sort_keys=True), tool)
    return tuple(found.values())


def read_message(message: Any, index: int, before: Messages, tools: Toolbox) -> list[JSON]:
    """Return the messages that one of a row makes: several where an assistant's text holds calls and results.

    `before` are the messages already read. Raises `RowError`.
    """
    if not isinstance(message, dict):
        raise RowError("messages", f"messages[{index}]: got {type(message).__name__}; expected an object")
    role = "tool" if message.get("role") == "function" else _ROLES.get(str(message.get("role")))
    if role is None:
        raise RowError("role", f"messages[{index}]: got role {message.get('role')!r}; expected {', '.join(_ROLES)}")
    text = text_of(message.get("content"), index)
    calls = next((message[key] for key in _CALLS if message.get(key)), None)
    made: list[JSON] = [{"role": role, "content": text}]
    if role == "assistant" and calls:
        made = [{**made[0], "content": text or None, "tool_calls": read_calls(calls, before, f"messages[{index}]: ")}]
    elif role == "assistant" and text:
        made = read_text(text, tools, before.calls)
    elif role == "tool":
        made = results(text or "", before, read_id(message.get("tool_call_id")))
    if reasoning := reasoning_of(message):
        if role != "assistant":
            told = f"messages[{index}]: got reasoning beside a message of the {role}; expected it beside an assistant's"
            raise RowError(REASONING, told)
        made[0][REASONING] = "\n".join(dict.fromkeys(filter(None, (reasoning, made[0].get(REASONING)))))
    thought = message.get(THOUGHT)
    if role == "assistant" and isinstance(thought, str) and thought.strip():
        made[-1][THOUGHT] = thought
    return weighted_turn(made, role, read_weight(message, f"messages[{index}]."))


def text_of(content: Any, index: int) -> str | None:
    """Return a message's text: a string, nothing, or a list of text parts, thoughts left out. Raises `RowError` for
    images.
    """
    if content is None or isinstance(content, str):
        return content
    texts = [text_of_part(part) for part in content] if isinstance(content, list) else [None]
    if None not in texts:
        return "".join(text or "" for text in texts)
    raise RowError("content", f"messages[{index}]: got content of {type(content).__name__}; expected text")
