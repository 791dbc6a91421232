"""What the formats' readers share: what they return for a row, what they raise for one, and how they number calls."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from callwright.datasets.conversation import JSON, tool_call
from callwright.dialects.declarations import decode
from callwright.dialects.literals import read_unambiguous

_ARGUMENTS = ("arguments", "parameters", "args", "input")
_RESPONSE = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)
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


def call_turn(text: str, before: Sequence[JSON], where: str = "") -> JSON:
    """The assistant turn that a JSON text of one call or a list of calls makes. Raises `RowError`."""
    return {"role": "assistant", "content": None, "tool_calls": read_calls(text, before, where)}


def read_calls(value: Any, before: Sequence[JSON], where: str = "") -> list[JSON]:
    """OpenAI's calls from a call or a list of them, with or without `function` around each, or from the JSON text.

    `before` are the messages already read. Raises `RowError`.
    """
    value = _decoded(value, where)
    calls = value if isinstance(value, list) else [value]
    if not isinstance(value, dict | list):
        raise RowError("tool_calls", f"{where}got {type(value).__name__}; expected a list of calls")
    first = calls_before(before)
    return [_call(_decoded(call, where), first + index, where) for index, call in enumerate(calls)]


def _call(call: Any, number: int, where: str) -> JSON:
    function = _decoded(call.get("function", call), where) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        got = f"{where}got a call without a name: {str(call)[:80]!r}"
        raise RowError("tool_calls", f"{got}; expected name and arguments")
    name = function["name"]
    key = next((key for key in _ARGUMENTS if function.get(key) is not None), None)
    if key is None and (unread := [other for other, value in {**call, **function}.items() if _may_hold(other, value)]):
        raise RowError("tool_calls", f"{where}{name}: got no arguments, and {unread[0]}; expected arguments")
    made = tool_call(number, name, arguments_text(function[key]) if key else "{}")
    return {**made, "id": identity} if (identity := read_id(call.get("id"))) else made


def read_id(value: object) -> str | None:
    """A call's id, a number too; None where it has none."""
    return str(value) if value == 0 or (value and isinstance(value, str | int)) else None


def _may_hold(key: str, value: Any) -> bool:
    """Whether a call's arguments may stand there under a name that is not read."""
    return key != "function" and (
        value.lstrip()[:1] in ("{", "[") if isinstance(value, str) else isinstance(value, dict | list)
    )


def _decoded(value: Any, where: str) -> Any:
    try:
        return decode(value)
    except (ValueError, RecursionError) as error:
        raise RowError("tool_calls", f"{where}got a call that is {error}: {value[:80]!r}") from None


def arguments_text(arguments: Any) -> str:
    """A call's arguments as JSON text; `{}` where none are given: nothing, null, or the empty list that PHP writes.

    Of text that holds their JSON text in turn, that one.
    """
    while isinstance(arguments, str):
        inner = _text_within(arguments)
        if inner is None:
            break
        arguments = inner
    if (arguments.strip() if isinstance(arguments, str) else arguments) in _NO_ARGUMENTS:
        return "{}"
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _text_within(text: str) -> str | None:
    try:
        value = read_unambiguous(text) if text.lstrip().startswith('"') else None
    except ValueError:
        return None
    return value if isinstance(value, str) else None


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


def results(text: str, before: Sequence[JSON], identity: str | None = None) -> list[JSON]:
    """The result messages of a text: one, or one for each of the `<tool_response>` blocks that it consists of.

    `identity` is the call's that the first answers; the next that have no result yet go with the others.
    """
    texts = [text] if _RESPONSE.sub("", text).strip() else _RESPONSE.findall(text) or [text]
    made: list[JSON] = []
    for content in texts:
        made.append({"role": "tool", "tool_call_id": identity or next_unanswered([*before, *made]), "content": content})
        identity = None
    return made


def next_unanswered(messages: Sequence[JSON]) -> str:
    """Id of the first call that has no result yet, for results that don't name theirs; empty when there is none."""
    answered = {message.get("tool_call_id") for message in messages}
    calls = (call["id"] for message in messages for call in message.get("tool_calls") or ())
    return next((str(identity) for identity in calls if identity not in answered), "")
