"""Alpaca rows: `instruction`, `input`, `output`, and optionally `system` and `history` of earlier pairs."""

from callwright.datasets.conversation import JSON
from callwright.datasets.formats.row import ParsedRow, RowError


def matches(row: JSON) -> bool:
    """Whether a row looks like this format."""
    return isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str)


def read(row: JSON) -> ParsedRow:
    """Messages of one row. Raises `RowError`."""
    messages: list[JSON] = []
    if row.get("system"):
        messages.append({"role": "system", "content": str(row["system"])})
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise RowError("messages", "history: got no list of pairs; expected [[question, answer], …]")
    asked = "\n".join(part for part in (row["instruction"], str(row.get("input") or "")) if part)
    for question, answer in [*history, (asked, row["output"])]:
        messages += ({"role": "user", "content": str(question)}, {"role": "assistant", "content": str(answer)})
    return ParsedRow(tuple(messages), ())
