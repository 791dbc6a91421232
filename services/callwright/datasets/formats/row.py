"""What the formats' readers share: what they return for a row, what they raise for one, and how they number calls."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from callwright.datasets.conversation import JSON, tool_call
from callwright.dialects.literals import read_unambiguous

_NO_ARGUMENTS: tuple[Any, ...] = (None, [], "", "null")


class ParsedRow(NamedTuple):
    """The neutral content of one row."""

    messages: tuple[JSON, ...]
    tools: tuple[JSON, ...]


class RowError(Exception):
    """A row that can't be read: a short kind to count by, and what exactly is wrong."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(detail)


def call_turn(text: str, before: Sequence[JSON]) -> JSON:
    """The assistant turn that a JSON text of one call or a list of calls makes. Raises `RowError`."""
    try:
        value: Any = read_unambiguous(text)
    except ValueError as error:
        raise RowError("tool_calls", f"got a call that is not JSON: {error}: {text[:80]!r}") from None
    made = []
    for index, call in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise RowError("tool_calls", f"got a call without a name: {text[:80]!r}; expected name and arguments")
        arguments = call.get("arguments", call.get("parameters", {}))
        made.append(tool_call(calls_before(before) + index, call["name"], arguments_text(arguments)))
    return {"role": "assistant", "content": None, "tool_calls": made}


def arguments_text(arguments: Any) -> str:
    """A call's arguments as JSON text; `{}` where none are given: nothing, null, or the empty list that PHP writes."""
    if (arguments.strip() if isinstance(arguments, str) else arguments) in _NO_ARGUMENTS:
        return "{}"
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def add_calls(turn: JSON, messages: list[JSON]) -> None:
    """Add a turn of calls to `messages`: as one with the assistant's turn before it, if there is. Raises `RowError`."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append(turn)
        return
    before = messages.pop()
    weights = before.get("weight", 1.0), turn.get("weight", 1.0)
    if weights[0] != weights[1]:
        raise RowError(
            "weight", f"got a text and its call with weights {weights[0]:g} and {weights[1]:g}; expected one"
        )
    calls = [*before.get("tool_calls", ()), *turn["tool_calls"]]
    messages.append({**before, "content": before["content"] or None, "tool_calls": calls})


def calls_before(messages: Sequence[JSON]) -> int:
    """How many calls the messages make, which numbers the next one."""
    return sum(len(message.get("tool_calls") or ()) for message in messages)


def next_unanswered(messages: Sequence[JSON]) -> str:
    """Id of the first call that has no result yet, for results that don't name theirs; empty when there is none."""
    answered = {message.get("tool_call_id") for message in messages}
    calls = (call["id"] for message in messages for call in message.get("tool_calls") or ())
    return next((str(identity) for identity in calls if identity not in answered), "")
