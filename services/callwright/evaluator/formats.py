"""Rows of files as requests: the OpenAI form with `expected`, conversations, BFCL's rows, ToolAlpaca's own files.

Every reader takes one row and raises `RowError` for one that it cannot read; files are opened in
`callwright.evaluator.sets`.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from callwright.datasets import checks, files
from callwright.datasets.conversation import JSON, Conversation, tool_names
from callwright.datasets.formats import bfcl, openai
from callwright.datasets.formats.row import RowError, arguments_text
from callwright.dialects.literals import read_unambiguous
from callwright.dialects.ms_agent import read_schema
from callwright.evaluator.bfcl_rule import AcceptedCall
from callwright.evaluator.row import Call, Row, Tool

_GOLD_ALL_THE_SAME = ("schema", "empty_turn", "no_assistant")
"""Kinds of `checks.check`'s findings that leave a conversation's turns gold."""
_TOOLALPACA = {"Function_Description", "Instructions", "Golden_Answers"}
_PARAMETERS = "\nParameters: "
_REQUIRED = "Required."


def read_openai(document: JSON, *, set: str, id: str) -> list[Row]:
    """Make the requests of one OpenAI-form row; `id` serves where the row has none. Raises `RowError`.

    With `expected`, a list of `{name, arguments}`, the row is one request. Without, each assistant turn is the gold of
    the request before it.
    """
    if not openai.matches(document):
        raise RowError("format", f"got {', '.join(document) or 'no keys'}; expected messages, and expected beside them")
    messages, tools = openai.read(document)
    row_id = str(document.get("id", id))
    if "expected" not in document:
        return split(Conversation(row_id, messages, tools), set=set)
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise RowError("messages", "messages must end in a user or tool turn where `expected` is given")
    reference = document.get("reference")
    if not isinstance(reference, str | None):
        raise RowError("reference", f"reference: got {type(reference).__name__}; expected text")
    return [Row(set, row_id, messages, tools, _expected(document["expected"], tools), reference)]


def split(conversation: Conversation, *, set: str) -> list[Row]:
    """Make a request of each assistant turn of a conversation; of one without tools, only of the last.

    A turn of weight 0, which nobody is to learn, is gold of nothing. Raises `RowError` where a turn is no gold: a call
    that cannot be read or has no tool, turns out of order. Gold that strays from its tool's schema is gold all the
    same.
    """
    for kind, detail in checks.check(conversation):
        if kind not in _GOLD_ALL_THE_SAME:
            raise RowError(kind, detail)
    messages, tools = conversation.messages, conversation.tools
    rows = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant" or place == 0 or messages[place - 1]["role"] not in ("user", "tool"):
            continue
        if message.get("weight") == 0:
            continue
        expected = _expected([call["function"] for call in message.get("tool_calls") or ()], tools)
        reference = message.get("content") or None
        if expected or reference:
            rows.append(Row(set, f"{conversation.id}:{place}", messages[:place], tools, expected, reference))
    return rows if tools else rows[-1:]


def read_bfcl(document: JSON, gold: dict[str, Any], *, set: str, id: str) -> list[Row]:
    """Make the request of one BFCL row; `gold` is `bfcl.gold_of`'s. Raises `RowError`.

    Where calls are due, every parameter of theirs must have a type that BFCL's rule for Python knows.
    """
    row = bfcl.read_row(document, gold)
    try:
        accepted = tuple(AcceptedCall.read(call, row.functions.get(call.name)) for call in row.gold)
    except ValueError as error:
        raise RowError("gold", str(error)) from None
    expected = tuple(Call(call.name, call.arguments()) for call in row.gold)
    return [Row(set, str(document.get("id", id)), row.messages, row.tools, expected, bfcl=accepted)]


def is_toolalpaca(document: JSON) -> bool:
    """Return whether a row is an API of ToolAlpaca's `eval_simulated.json` or `eval_real.json`."""
    return document.keys() >= _TOOLALPACA


def toolalpaca_in_openai_form(apis: Iterable[files.Row]) -> Iterator[files.Row]:
    """Turn ToolAlpaca's APIs (Tang et al., 2023, arXiv:2306.05301) into a row for each instruction.

    Gold of several calls becomes a fault: later ones depend on what ToolAlpaca's simulator answers to the first. An
    empty string in the gold means that the parameter is not given.
    """
    for api in apis:
        if api.value is None:
            yield api
            continue
        try:
            name, described = api.value["Name"], api.value["Function_Description"].items()
            tools = [_toolalpaca_tool(function, text) for function, text in described if function != "components"]
            pairs = list(zip(api.value["Instructions"], api.value["Golden_Answers"], strict=True))
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            yield files.Row(api.line, None, f"no API in ToolAlpaca's form: {type(error).__name__}: {error}")
            continue
        for index, (instruction, gold) in enumerate(pairs):
            try:
                expected = _toolalpaca_gold(gold)
            except RowError as error:
                yield files.Row(api.line, None, f"instruction {index}: {error}")
                continue
            messages = [{"role": "user", "content": instruction}]
            request = {"id": f"{name}:{index}", "messages": messages, "tools": tools, "expected": expected}
            yield files.Row(api.line, request)


def _toolalpaca_gold(gold: Any) -> list[JSON]:
    if not isinstance(gold, list) or len(gold) != 1:
        found = f"{len(gold)} calls" if isinstance(gold, list) else type(gold).__name__
        raise RowError("gold", f"got gold of {found}; expected one, the rest need a simulator")
    call = gold[0] if isinstance(gold[0], dict) else {}
    given = {key: value for key, value in _arguments(call.get("Action_Input")).items() if value != ""}
    return [{"name": call.get("Action"), "arguments": given}]


def _toolalpaca_tool(name: str, text: str) -> Tool:
    """Return a function described in prose with an object of parameters: `"Required. string. One of: [a, b]. What it
    is"`.
    """
    description, _, rest = text.partition(_PARAMETERS)
    described: dict[str, str] = json.JSONDecoder().raw_decode(rest)[0] if rest else {}
    parameters = {
        "type": "object",
        "properties": {name: read_schema(value) for name, value in described.items()},
        "required": [name for name, value in described.items() if value.startswith(_REQUIRED)],
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description.strip(), "parameters": parameters},
    }


def _expected(calls: Any, tools: Iterable[Tool]) -> tuple[Call, ...]:
    if not isinstance(calls, list | tuple):
        raise RowError("expected", f"expected: got {type(calls).__name__}; expected a list of calls")
    declared = tool_names(tools)
    for call in calls:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise RowError("expected", f"got the gold call {call!r:.80}; expected name and arguments")
        if call["name"] not in declared:
            known = ", ".join(declared) or "no tools"
            raise RowError("undeclared_tool", f"got the gold call {call['name']!r:.80}; expected one of {known[:200]}")
    return tuple(Call(call["name"], _arguments(call.get("arguments"))) for call in calls)


def _arguments(value: Any) -> dict[str, Any]:
    """Arguments given as an object or as its JSON text. Raises `RowError`."""
    try:
        found = read_unambiguous(arguments_text(value))
    except ValueError as error:
        raise RowError("arguments", f"got arguments {value!r:.80}: {error}; expected a JSON object") from None
    if not isinstance(found, dict):
        raise RowError("arguments", f"got arguments {value!r:.80}; expected a JSON object")
    return found
