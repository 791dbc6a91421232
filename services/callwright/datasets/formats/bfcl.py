"""BFCL rows (`question`, `function`), with the gold calls of `possible_answer/` where that folder stands beside.

Types are put into JSON schema's names. The gold call takes the first accepted value of every argument.
"""

import json
from pathlib import Path
from typing import Any

from callwright.datasets.conversation import JSON, tool_call
from callwright.datasets.formats.openai import read_tools
from callwright.datasets.formats.row import Parts, RowError
from callwright.errors import InvalidInput

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "list": "array", "int": "integer", "str": "string"}


def matches(row: JSON) -> bool:
    """Whether a row looks like this format."""
    return isinstance(row.get("question"), list) and isinstance(row.get("function"), list)


def gold_of(path: Path) -> dict[str, list[JSON]]:
    """Gold calls by row id, from `possible_answer/<name>` beside `path`; empty without. Raises `InvalidInput`."""
    answers = path.parent / "possible_answer" / path.name
    if not answers.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {row["id"]: row["ground_truth"] for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"reading {answers}: not BFCL's form: {error}; expected id and ground_truth") from None


def read(row: JSON, gold: dict[str, list[JSON]]) -> Parts:
    """Messages and tools of one row; it ends with the gold calls where there are any. Raises `RowError`."""
    turns = row["question"][0] if row["question"] and isinstance(row["question"][0], list) else row["question"]
    messages: list[JSON] = []
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ("system", "user", "assistant"):
            raise RowError("messages", "question: got no turn with a role; expected system, user or assistant")
        messages.append({"role": turn["role"], "content": turn.get("content")})
    tools = tuple(_in_json_types(tool) for tool in read_tools(row["function"]))
    calls = [
        tool_call(index, name, json.dumps(_first(arguments), ensure_ascii=False))
        for index, (name, arguments) in enumerate(
            pair for call in gold.get(str(row.get("id")), ()) for pair in call.items()
        )
    ]
    if calls:
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    return Parts(tuple(messages), tools)


def _first(accepted: Any) -> Any:
    """Of every argument the first accepted value; one whose first is empty may be left out, and is."""
    if not isinstance(accepted, dict):
        return accepted
    chosen = {name: values[0] for name, values in accepted.items() if isinstance(values, list) and values}
    return {name: _nested(value) for name, value in chosen.items() if value != ""}


def _nested(value: Any) -> Any:
    if isinstance(value, list):
        return [_nested(item) for item in value]
    return _first(value)


def _in_json_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_in_json_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _in_json_types(value) for key, value in schema.items()}
    if isinstance(made.get("type"), str):
        name = made["type"].lower()
        if name == "any":
            del made["type"]
        else:
            made["type"] = _TYPES.get(name, made["type"])
    return made
