"""Rows of the Berkeley Function Calling Leaderboard (BFCL v4), with their gold from `possible_answer/` beside the file.

A row holds a `question` (turns) and the `function`s on offer; its gold gives each argument of each call a list of
accepted values, where "" among them marks an argument that may be left out:

    {"id": "simple_0", "question": [[{"role": "user", "content": "Area?"}]], "function": [{"name": "area", …}]}
    {"id": "simple_0", "ground_truth": [{"area": {"base": [10, 10.0], "unit": ["", "m"]}}]}

Tools come out in JSON Schema's terms and with `_` for the dots in names, as BFCL sends them to OpenAI endpoints.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from callwright.datasets import files
from callwright.datasets.conversation import JSON, tool_call
from callwright.datasets.formats.openai import read_tools, text_of
from callwright.datasets.formats.row import ParsedRow, RowError
from callwright.dialects.schema_types import ANY, JSON_TYPES, json_type
from callwright.errors import InvalidInput

_SUBSCHEMAS = ("items", "additionalProperties", "anyOf", "oneOf", "allOf")


class GoldCall(NamedTuple):
    """A call that is due."""

    name: str
    accepted: dict[str, list[Any]]
    """Accepted values by argument; an object among them has a list of accepted values for each key again."""
    required: tuple[str, ...]
    """Parameters that the function requires; "" is a value of theirs, not leave to leave them out."""

    def arguments(self) -> JSON:
        """Return the shortest right arguments: each one's first accepted value, without those that may be left out."""
        return {
            name: next((_plain(value) for value in values if value != ""), "")
            for name, values in self.accepted.items()
            if "" not in values or name in self.required
        }


class BfclRow(NamedTuple):
    """A row whose form has been checked; only what its functions say of types has not."""

    messages: tuple[JSON, ...]
    tools: tuple[JSON, ...]
    functions: dict[str, JSON]
    """The functions by name, in BFCL's own terms; the first of two that share a name."""
    gold: tuple[GoldCall, ...]


def matches(row: JSON) -> bool:
    """Return whether a row looks like this format."""
    return isinstance(row.get("question"), list) and isinstance(row.get("function"), list)


def gold_path(path: Path) -> Path:
    """Return where the gold of the rows at `path` stands."""
    return path.parent / "possible_answer" / path.name


def gold_of(path: Path, on_fault: Callable[[str, str], None] | None = None) -> dict[str, Any]:
    """Return the gold of the rows at `path` by their ids; empty where there is no file of it.

    A line of it that cannot be read is told to `on_fault`, as `file:line` and what is wrong, and left out. Raises
    `InvalidInput` as `files.rows` does, and for such a line where `on_fault` is None.
    """
    gold: dict[str, Any] = {}
    if not gold_path(path).is_file():
        return gold
    for line, row, problem in files.rows(gold_path(path)):
        fault = problem
        if row is not None and not {"id", "ground_truth"} <= row.keys():
            fault = f"got {', '.join(row) or 'no keys'}"
        elif row is not None and str(row["id"]) in gold:
            fault = f"got the id {row['id']} again"
        if row is not None and fault is None:
            gold[str(row["id"])] = row["ground_truth"]
            continue
        where, fault = f"{gold_path(path)}:{line}", f"{fault}; expected id and ground_truth, each id once"
        if on_fault is None:
            raise InvalidInput(f"reading BFCL's gold: {where}: {fault}")
        on_fault(where, fault)
    return gold


def read(row: JSON, gold: dict[str, Any]) -> ParsedRow:
    """Messages and tools of one row; it ends with the gold calls where there are any. Raises `RowError`."""
    found = read_row(row, gold)
    calls = [
        tool_call(index, call.name, json.dumps(call.arguments(), ensure_ascii=False))
        for index, call in enumerate(found.gold)
    ]
    answer = ({"role": "assistant", "content": None, "tool_calls": calls},) if calls else ()
    return ParsedRow((*found.messages, *answer), found.tools)


def read_row(row: JSON, gold: dict[str, Any]) -> BfclRow:
    """Return one row with its part of the `gold` of `gold_of`. Raises `RowError` for one that is not in BFCL's form."""
    if not matches(row):
        raise RowError(
            "format", f"got {', '.join(row) or 'no keys'}; expected a BFCL row: question and function, lists"
        )
    functions: dict[str, JSON] = {}
    for tool in read_tools(row["function"]):
        function = _function(tool["function"])
        functions.setdefault(function["name"], function)
    tools = tuple({"type": "function", "function": _openai(function)} for function in functions.values())
    calls = _gold(gold.get(str(row.get("id")), []), functions)
    return BfclRow(_messages(row["question"]), tools, functions, calls)


def _messages(question: list[Any]) -> tuple[JSON, ...]:
    turns = question[0] if question and isinstance(question[0], list) else question
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ("system", "user", "assistant"):
            raise RowError("messages", "question: got no turn with a role; expected system, user or assistant")
    if not turns:
        raise RowError("messages", "question: got no turn; expected at least a user's")
    return tuple({"role": turn["role"], "content": text_of(turn.get("content"), i)} for i, turn in enumerate(turns))


def _function(declared: JSON) -> JSON:
    name, parameters = declared["name"], declared.get("parameters")
    parameters = {} if parameters is None else parameters
    properties = parameters.get("properties", {}) if isinstance(parameters, dict) else None
    if not isinstance(properties, dict):
        raise RowError("tools", f"function {name}: got parameters without named properties; expected an object of them")
    return {**declared, "name": _dotless(name), "parameters": parameters | {"properties": properties}}


def _openai(function: JSON) -> JSON:
    kept = {key: function[key] for key in ("name", "description") if key in function}
    return kept | {"parameters": {"type": "object"} | _json_schema(function["parameters"])}


def _json_schema(declared: Any) -> Any:
    """Return a parameter as JSON Schema describes it: its names of types, none for `any`, and without BFCL's
    `optional`.
    """
    if isinstance(declared, list):
        return [_json_schema(item) for item in declared]
    if not isinstance(declared, dict):
        return declared
    made = {key: value for key, value in declared.items() if key != "optional"}
    if isinstance(declared.get("properties"), dict):
        made["properties"] = {name: _json_schema(value) for name, value in declared["properties"].items()}
    made |= {key: _json_schema(declared[key]) for key in _SUBSCHEMAS if key in declared}
    name = json_type(declared["type"]) if isinstance(declared.get("type"), str) else None
    if name == ANY:
        del made["type"]
    elif name in JSON_TYPES:
        made["type"] = name
    return made


def _gold(calls: Any, functions: dict[str, JSON]) -> tuple[GoldCall, ...]:
    if not isinstance(calls, list) or not all(isinstance(call, dict) and call for call in calls):
        raise RowError("gold", "ground_truth: got no list of calls; expected [{name: {argument: [accepted values]}}]")
    made = []
    for name, accepted in (pair for call in calls for pair in call.items()):
        if not isinstance(accepted, dict):
            raise RowError("gold", f"ground_truth: {name}: got {accepted!r:.80}; expected lists of accepted values")
        for argument, values in accepted.items():
            if not isinstance(values, list) or not values:
                got = f"{name}: {argument}: got {values!r:.80}"
                raise RowError("gold", f"ground_truth: {got}; expected a list of accepted values")
        required = functions.get(_dotless(name), {}).get("parameters", {}).get("required")
        made.append(GoldCall(_dotless(name), accepted, tuple(required) if isinstance(required, list) else ()))
    return tuple(made)


def _dotless(name: str) -> str:
    return name.replace(".", "_")


def _plain(value: Any) -> Any:
    """Return an accepted value with one value for each key of the objects in it."""
    match value:
        case dict():
            return {k: _plain(v[0]) for k, v in value.items() if isinstance(v, list) and v and "" not in v}
        case list():
            return [_plain(item) if isinstance(item, dict) else item for item in value]
        case _:
            return value
