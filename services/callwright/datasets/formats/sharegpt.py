"""ShareGPT rows and the two corpora built on it, ms_agent and ms_bench: `conversations` of `from` and `value`.

Tools stand in the system text (ms_agent) or in `tools`; calls stand in assistant text or in `function_call` turns.
"""

from typing import Any, Literal, NamedTuple

from callwright.datasets.conversation import JSON
from callwright.datasets.formats.openai import tools_of
from callwright.datasets.formats.react import read_text
from callwright.datasets.formats.row import (
    Messages,
    ParsedRow,
    RowError,
    add_calls,
    call_turn,
    results,
)
from callwright.datasets.formats.weights import read_weight, weighted, weighted_turn
from callwright.dialects import ms_agent
from callwright.dialects.tools import Toolbox

_BEGIN = "Begin!"
_Role = Literal["system", "user", "assistant", "call", "tool"]
_ROLES: dict[str, _Role] = {
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
    """Return whether a row looks like this format."""
    return isinstance(row.get("conversations"), list)


def read(row: JSON) -> ParsedRow:
    """Messages and tools of one row. Raises `RowError`."""
    tools = tools_of(row, row["conversations"])
    box = Toolbox(tools)
    messages = Messages()
    for turn in turns(row):
        match turn.role:
            case "system":
                found, rest = _system(turn.text)
                tools += found
                box = Toolbox(tools)
                made = [{"role": "system", "content": rest}] if rest else []
            case "assistant":
                made = read_text(turn.text, box, messages.calls)
            case "call":
                add_calls(weighted(call_turn(turn.text, messages), turn.weight), messages)
                made = []
            case "tool":
                made = results(turn.text, messages)
            case role:
                made = [{"role": role, "content": turn.text}]
        messages += weighted_turn(made, turn.role, turn.weight)
    return ParsedRow(tuple(messages), tools)


class ShareGptTurn(NamedTuple):
    """One turn of a row."""

    role: _Role
    text: str
    weight: float | None = None
    """What it says of its loss."""


def turns(row: JSON) -> list[ShareGptTurn]:
    """Return the turns of one row. Raises `RowError`."""
    read = [_turn(turn, index) for index, turn in enumerate(row["conversations"])]
    system = row.get("system")
    if isinstance(system, str) and system and (not read or read[0].role != "system"):
        return [ShareGptTurn("system", system), *read]
    return read


def _turn(turn: Any, index: int) -> ShareGptTurn:
    if not isinstance(turn, dict):
        raise RowError("messages", f"conversations[{index}]: got {type(turn).__name__}; expected an object")
    name = turn.get("from", turn.get("role"))
    role = _ROLES.get(str(name).lower())
    if role is None:
        raise RowError("role", f"conversations[{index}]: got from {name!r}; expected one of {', '.join(_ROLES)}")
    value = turn.get("value", turn.get("content"))
    if not isinstance(value, str):
        raise RowError("content", f"conversations[{index}]: got value {type(value).__name__}; expected text")
    return ShareGptTurn(role, value, read_weight(turn, f"conversations[{index}]."))


def _system(text: str) -> tuple[tuple[JSON, ...], str]:
    """Return the tools that an ms_agent system text declares, and what else it says."""
    split = ms_agent.split_system(text)
    if split is None:
        return (), text
    before, tools = split
    after = text.rpartition(_BEGIN)[2].strip() if _BEGIN in text else ""
    return tuple(tools), "\n\n".join(part for part in (before, after) if part.strip())
