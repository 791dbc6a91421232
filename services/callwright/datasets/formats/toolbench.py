"""ToolBench rows: ShareGPT's turns, tools as a Python list in the system text, at most one call an assistant turn.

The answer stands in a call of `Finish`; here it becomes the assistant's text.
"""

import re

from callwright.datasets.conversation import JSON
from callwright.datasets.formats import sharegpt
from callwright.datasets.formats.openai import distinct, read_tools, tools_of
from callwright.datasets.formats.react import read_text
from callwright.datasets.formats.row import (
    Messages,
    ParsedRow,
    RowError,
    add_calls,
    call_turn,
    results,
)
from callwright.datasets.formats.weights import weighted, weighted_turn
from callwright.dialects.literals import read_literal
from callwright.dialects.toolbench import without_finish

_TOOLS = re.compile(r"\s*Specifically, you have access to the following APIs:\s*(?=\[)")
_FAMILIES = re.compile(r"You have access of the following tools:.*", re.DOTALL)
_BEGIN = re.compile(r"\s*Begin!\s*\Z")


def matches(row: JSON) -> bool:
    """Return whether a row looks like this format."""
    if not sharegpt.matches(row) or not row["conversations"]:
        return False
    first = row["conversations"][0]
    return isinstance(first, dict) and isinstance(first.get("value"), str) and bool(_TOOLS.search(first["value"]))


def read(row: JSON) -> ParsedRow:
    """Messages and tools of one row. Raises `RowError`."""
    messages = Messages()
    declared = tools = tools_of(row, row["conversations"])
    for turn in sharegpt.turns(row):
        match turn.role:
            case "system":
                listed, kept = _system(turn.text)
                tools = distinct((*declared, *listed))
                made = [{"role": "system", "content": kept}] if kept else []
            case "user":
                made = [{"role": "user", "content": _BEGIN.sub("", turn.text).strip()}]
            case "assistant":
                made = read_text(turn.text, without_finish(tools), messages.calls, dialect="toolbench")
            case "call":
                add_calls(weighted(call_turn(turn.text, messages), turn.weight), messages)
                made = []
            case _:
                made = results(turn.text, messages)
        messages += weighted_turn(made, turn.role, turn.weight)
    return ParsedRow(tuple(messages), tools)


def _system(text: str) -> tuple[tuple[JSON, ...], str]:
    """Return the tools, and the system text's lines on the families of tools; the rest, which all rows share, is
    left out.
    """
    found = _TOOLS.search(text)
    if found is None:
        raise RowError(
            "tools", "system: got no `you have access to the following APIs: [`; expected ToolBench's prompt"
        )
    try:
        listed = read_literal(text[found.end() :].strip())
    except ValueError as error:
        raise RowError("tools", f"system: got a list of APIs that cannot be read: {error}") from None
    families = _FAMILIES.search(text[: found.start()])
    return read_tools(listed), families[0].strip() if families else ""
