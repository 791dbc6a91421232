"""Alpaca rows: `instruction`, `input`, `output`, and optionally `system`, `history` of earlier pairs, and `tools`."""

from callwright.datasets.conversation import JSON
from callwright.datasets.formats.openai import tools_of
from callwright.datasets.formats.react import read_text
from callwright.datasets.formats.row import Messages, ParsedRow, RowError
from callwright.dialects.tools import Toolbox


def matches(row: JSON) -> bool:
    """Return whether a row looks like this format."""
    return isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str)


def read(row: JSON) -> ParsedRow:
    """Messages and tools of one row. Raises `RowError`."""
    tools = tools_of(row, ())
    box = Toolbox(tools)
    messages = Messages()
    if row.get("system"):
        messages.append({"role": "system", "content": str(row["system"])})
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise RowError("messages", "history: got no list of pairs; expected [[question, answer], …]")
    asked = "\n".join(part for part in (row["instruction"], str(row.get("input") or "")) if part)
    for question, answer in [*history, (asked, row["output"])]:
        messages.append({"role": "user", "content": str(question)})
        messages += read_text(str(answer), box, messages.calls)
    return ParsedRow(tuple(messages), tools)
