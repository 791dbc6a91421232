"""What the formats' readers share: what they return for a row, what they raise for one, and how they number calls."""

import json
import re
from collections.abc import Iterator
from itertools import chain
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


class Messages(list[JSON]):
    """The messages of a row as they are read, and what they call: each is looked through once, the last one again."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0
        self._ids: list[str] = []
        """Of the calls of the messages that were looked through, and which result is due first."""
        self._first = 0
        self._answered: set[object] = set()

    @property
    def calls(self) -> int:
        """How many calls the messages make, which numbers the next one."""
        self._look()
        return len(self._ids) + (len(self[-1].get("tool_calls") or ()) if self else 0)

    def unanswered(self) -> Iterator[str]:
        """Yield the ids of the calls that have no result yet, for results that don't name theirs."""
        self._look()
        last = self[-1] if self else {}
        while self._first < len(self._ids) and self._ids[self._first] in self._answered:
            self._first += 1
        seen = (self._ids[index] for index in range(self._first, len(self._ids)))
        for identity in chain(seen, (str(call["id"]) for call in last.get("tool_calls") or ())):
            if identity not in self._answered and identity != last.get("tool_call_id"):
                yield identity

    def _look(self) -> None:
        for message in self[self._seen : -1]:  # calls may still be added to the last
            self._ids += (str(call["id"]) for call in message.get("tool_calls") or ())
            self._answered.add(message.get("tool_call_id"))
        self._seen = max(self._seen, len(self) - 1)


class RowError(Exception):
    """A row that can't be read: a short kind to count by, and what exactly is wrong."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(detail)


def call_turn(text: str, before: Messages, where: str = "") -> JSON:
    """Return the assistant turn that a JSON text of one call or a list of calls makes. Raises `RowError`."""
    return {"role": "assistant", "content": None, "tool_calls": read_calls(text, before, where)}


def read_calls(value: Any, before: Messages, where: str = "") -> list[JSON]:
    """OpenAI's calls from a call or a list of them, with or without `function` around each, or from the JSON text.

    `before` are the messages already read. Raises `RowError`.
    """
    value = _decoded(value, where)
    calls = value if isinstance(value, list) else [value]
    if not isinstance(value, dict | list):
        raise RowError("tool_calls", f"{where}got {type(value).__name__}; expected a list of calls")
    first = before.calls
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
    """Return a call's id, a number too; None where it has none."""
    return str(value) if value == 0 or (value and isinstance(value, str | int)) else None


def _may_hold(key: str, value: Any) -> bool:
    """Return whether a call's arguments may stand there under a name that is not read."""
    return key != "function" and (
        value.lstrip()[:1] in ("{", "[") if isinstance(value, str) else isinstance(value, dict | list)
    )


def _decoded(value: Any, where: str) -> Any:
    try:
        return decode(value)
    except (ValueError, RecursionError) as error:
        raise RowError("tool_calls", f"{where}got a call that is {error}: {value[:80]!r}") from None


def arguments_text(arguments: Any) -> str:
    """Return a call's arguments as JSON text; `{}` where none are given: nothing, null, or the empty list that PHP
    writes.

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


def add_calls(turn: JSON, messages: Messages) -> None:
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
    calls = before.get("tool_calls", [])  # this reader's own, and long where a row has one call after the other
    calls += turn["tool_calls"]
    messages.append({**before, "content": before["content"] or None, "tool_calls": calls})


def results(text: str, before: Messages, identity: str | None = None) -> list[JSON]:
    """Return the result messages of a text: one, or one for each of the `<tool_response>` blocks that it consists of.

    `identity` is the call's that the first answers; the next that have no result yet go with the others, and none where
    there is no such.
    """
    texts = [text] if _RESPONSE.sub("", text).strip() else _RESPONSE.findall(text) or [text]
    waiting, made = before.unanswered(), list[JSON]()
    taken: set[str] = set()
    for content in texts:
        identity = identity or next((each for each in waiting if each not in taken), "")
        taken.add(identity)
        made.append({"role": "tool", "tool_call_id": identity, "content": content})
        identity = None
    return made
