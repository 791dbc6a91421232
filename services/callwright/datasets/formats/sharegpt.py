"""ShareGPT rows and the two corpora built on it, ms_agent and ms_bench: `conversations` of `from` and `value`.

Tools stand in the system text (ms_agent) or in `tools`; calls stand in assistant text or in `function_call` turns.
"""

from typing import Any

from callwright.datasets.conversation import JSON
from callwright.datasets.formats.openai import read_tools
from callwright.datasets.formats.react import read_loop
from callwright.datasets.formats.row import ParsedRow, RowError, call_turn, calls_before, next_unanswered
from callwright.dialects import ms_agent
from callwright.dialects.tools import Toolbox

_BEGIN = "Begin!"
_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "function_call": "call",
    "tool_call": "call",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
    "tool_response": "tool",
    "tool": "tool",
}


def matches(row: JSON) -> bool:
    """Whether a row looks like this format."""
    return isinstance(row.get("conversations"), list)


def read(row: JSON) -> ParsedRow:
    """Messages and tools of one row. Raises `RowError`."""
    tools = read_tools(row.get("tools") or [])
    box = Toolbox(tools)
    messages: list[JSON] = []
    for role, value in turns(row):
        match role:
            case "system":
                found, rest = _system(value)
                tools += found
                box = Toolbox(tools)
                if rest:
                    messages.append({"role": "system", "content": rest})
            case "user":
                messages.append({"role": "user", "content": value})
            case "assistant":
                messages += read_loop(value, box, calls_before(messages)) if tools else [_plain(value)]
            case "call":
                messages.append(call_turn(value, messages))
            case "tool":
                messages.append({"role": "tool", "tool_call_id": next_unanswered(messages), "content": value})
    return ParsedRow(tuple(messages), tools)


def turns(row: JSON) -> list[tuple[str, str]]:
    """The turns of one row as (role, text): system, user, assistant, call or tool. Raises `RowError`."""
    read = [_turn(turn, index) for index, turn in enumerate(row["conversations"])]
    system = row.get("system")
    if isinstance(system, str) and system and (not read or read[0][0] != "system"):
        return [("system", system), *read]
    return read


def _turn(turn: Any, index: int) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise RowError("messages", f"conversations[{index}]: got {type(turn).__name__}; expected an object")
    name = turn.get("from", turn.get("role"))
    role = _ROLES.get(str(name).lower())
    if role is None:
        raise RowError("role", f"conversations[{index}]: got from {name!r}; expected one of {', '.join(_ROLES)}")
    value = turn.get("value", turn.get("content"))
    if not isinstance(value, str):
        raise RowError("content", f"conversations[{index}]: got value {type(value).__name__}; expected text")
    return role, value


def _system(text: str) -> tuple[tuple[JSON, ...], str]:
    """The tools that an ms_agent system text declares, and what else it says."""
    split = ms_agent.split_system(text)
    if split is None:
        return (), text
    before, tools = split
    after = text.rpartition(_BEGIN)[2].strip() if _BEGIN in text else ""
    return tuple(tools), "\n\n".join(part for part in (before, after) if part.strip())


def _plain(text: str) -> JSON:
    return {"role": "assistant", "content": text}
