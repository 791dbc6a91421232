"""OpenAI chat messages read into plain items, and the page that a dialect writes them to.

`read_messages` checks what clients send; `Page` makes messages and segments from the same text, so that the segments of
a message concatenate to its content.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callwright.dialects.literals import encodable, read_literal, write_json
from callwright.dialects.types import REASONING, THINK_END, THOUGHT, Kind, Message, Rendered, Segment
from callwright.errors import InvalidInput

_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of content parts that are text, and the field that has it."""
_REASONING_PARTS = ("reasoning", "reasoning_content", "reasoning_text", "thinking", "thought")
"""Types of content parts that are reasoning; its text is in the field `text`, or in that of the type's name."""
_LEFT_OUT_PARTS = frozenset((*_REASONING_PARTS, "summary_text", "redacted_thinking", "tool_reference"))
"""Types of parts that are no text: reasoning, and names of tools, which the prompt lists anyway."""
LONGEST_PROMPT = 64 * 1024**2
"""Characters of all messages; a dialect that names the tools before each user's text makes much of little."""
_REASONING_KEYS = (REASONING, "reasoning", "thinking")
"""Keys of a message under which clients send back its reasoning."""


@dataclass(frozen=True, slots=True)
class System:
    """A system or developer message."""

    text: str


@dataclass(frozen=True, slots=True)
class User:
    """A user message; `content` is the original where it holds more than text (images)."""

    text: str
    content: object


@dataclass(frozen=True, slots=True)
class Call:
    """A call that an earlier turn made; `arguments` is one line of JSON, or what the model wrote where that is none."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Assistant:
    """An assistant's turn with the results that came back, ordered as its calls."""

    text: str
    calls: tuple[Call, ...]
    results: tuple[str, ...]
    index: int
    """Of its message in the conversation."""
    reasoning: str = ""
    """What it thought before, as far as it is not in the text."""
    thought: str = ""
    """What a ReAct corpus says before an answer, in its `Thought:` line; reasoning in a dialect without such lines."""


Item = System | User | Assistant


def read_messages(messages: Sequence[Message], default_system: str | None = None) -> tuple[Item, ...]:
    """Reads a conversation; a system message of `default_system` stands first where none is.

    Raises InvalidInput with the index of the message that is wrong.
    """
    items: list[Item] = []
    position = 0
    while position < len(messages):
        message = messages[position]
        where = f"messages[{position}]"
        role = message.get("role") if isinstance(message, Mapping) else None
        position += 1
        match role:
            case "system" | "developer":
                items.append(System(_text(message, where)))
            case "user":
                items.append(User(_text(message, where), message.get("content")))
            case "assistant":
                first = position
                while position < len(messages) and _is_result(messages[position]):
                    position += 1
                items.append(_assistant(message, messages[first:position], first, where))
            case "tool" | "function":
                raise InvalidInput(
                    f"{where}: got a tool's result; expected an assistant message before it; send it too"
                )
            case _:
                raise InvalidInput(
                    f"{where}.role: got {str(role)[:40]!r}; expected system, user, assistant or tool; correct it"
                )
    if default_system is not None and not (items and isinstance(items[0], System)):
        items.insert(0, System(default_system))
    return tuple(items)


def with_tools(system: str, tools_text: str) -> str:
    """Return the system text with `tools_text` at its end, once."""
    if tools_text.strip() in system:
        return system
    return f"{system}\n\n{tools_text}" if system.strip() else tools_text


def text_of_part(part: object) -> str | None:
    """Return the text of a part of some content, empty for a part that is left out; None where the part is no text."""
    if isinstance(part, str):
        return part
    kind = part.get("type") or "text" if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        return None
    text = "" if kind in _LEFT_OUT_PARTS else part.get(_TEXT_PARTS.get(kind, ""))
    return text if isinstance(text, str) else None


def only_text(content: object) -> bool:
    """Return whether content holds nothing but text: no images."""
    return not isinstance(content, list | tuple) or all(text_of_part(part) is not None for part in content)


def reasoning_of(message: Message) -> str:
    """Return the reasoning that a client sends back of a message: under its keys, or else in parts of its content."""
    for key in _REASONING_KEYS:
        said = message.get(key)
        if isinstance(said, str) and said.strip():
            return said.strip()
    content = message.get("content")
    if not isinstance(content, list | tuple):
        return ""
    return "\n".join(filter(None, map(_reasoning_of_part, content))).strip()


def without_reasoning(message: Message) -> dict[str, Any]:
    """Return the message without the keys that a client sends reasoning back under."""
    return {key: value for key, value in message.items() if key not in _REASONING_KEYS}


def _reasoning_of_part(part: object) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in _REASONING_PARTS:
        return ""
    told = part.get(kind) or part.get("text")
    return _text({"content": told}, "") if isinstance(told, str | list) else ""


def _is_result(message: Message) -> bool:
    return isinstance(message, Mapping) and message.get("role") in ("tool", "function")


def _assistant(message: Message, results: Sequence[Message], first: int, where: str) -> Assistant:
    calls = tuple(_calls(message, where)) if message.get("tool_calls") or message.get("function_call") else ()
    texts = [_text(result, f"messages[{first + index}]") for index, result in enumerate(results)]
    ordered = _in_order(calls, [str(result.get("tool_call_id")) for result in results], texts)
    reasoning = reasoning_of(message)
    if THINK_END in reasoning:
        raise InvalidInput(
            f"{where}.{REASONING}: got {THINK_END}, which ends it; expected reasoning without that tag; take it out"
        )
    thought = message.get(THOUGHT)
    thought = thought.strip() if isinstance(thought, str) else ""
    return Assistant(_text(message, where), calls, ordered, first - 1, reasoning, thought)


def _in_order(calls: Sequence[Call], ids: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Return the results ordered as their calls: what has no call's id takes the next place that is free.

    A call without a result has an empty one where a later call has its own, which must not stand for it.
    """
    if ids == [call.id for call in calls]:
        return tuple(texts)
    free: dict[str, list[int]] = {}
    for place, call in reversed(list(enumerate(calls))):
        free.setdefault(call.id, []).append(place)
    placed: dict[int, str] = {}
    others: list[str] = []
    for identity, text in zip(ids, texts, strict=True):
        if free.get(identity):
            placed[free[identity].pop()] = text
        else:
            others.append(text)
    rest = (place for place in range(len(calls) + len(others)) if place not in placed)
    placed |= dict(zip(rest, others, strict=False))
    return tuple(placed.get(place, "") for place in range(max(placed, default=-1) + 1))


def _calls(message: Message, where: str) -> Iterator[Call]:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list | tuple):
        raise InvalidInput(f"{where}.tool_calls: got {type(calls).__name__}; expected a list; correct the request")
    if not calls and isinstance(message.get("function_call"), Mapping):
        calls = [{"function": message["function_call"]}]
    for index, call in enumerate(calls):
        place = f"{where}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
            raise InvalidInput(f"{place}: got no function with a name; expected one; correct the request")
        yield Call(str(call.get("id") or ""), name, _arguments(function.get("arguments")))


def _arguments(given: object) -> str:
    """Return one line of JSON, whatever spacing the client chose, so that every way to the same call gives the same
    bytes.

    What is no object, such as arguments that the length has cut, stays as the model wrote it.
    """
    if given is None:
        return "{}"
    written = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    try:
        value = read_literal(written) if written.strip() else {}
        value = read_literal(value) if isinstance(value, str) else value  # some clients write the string as JSON again
        if isinstance(value, dict):
            return write_json(value)
    except ValueError:
        pass
    return encodable(written)


def _text(message: Message, where: str) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "".join(text_of_part(part) or "" for part in content)
    raise InvalidInput(
        f"{where}.content: got {type(content).__name__}; expected a string or parts; correct the request"
    )


class Page:
    """Collects segments into messages; a message's content is by construction what its segments concatenate to."""

    def __init__(self) -> None:
        self._roles: list[str] = []
        self._contents: list[object] = []
        self._segments: list[Segment] = []
        self._length = 0
        self._reasoning: dict[int, str] = {}
        self.turn: int | None = None
        """Index of the assistant's message that is being written; segments bear it."""

    def open(self, role: str, content: object = None) -> None:
        """Begins a message; `content`, with parts that are no text, replaces what its segments would give."""
        self._roles.append(role)
        self._contents.append(content)
        self.turn = None

    def write(self, kind: Kind, text: str) -> None:
        """Adds to the message that was opened last."""
        self._length += len(text)
        if self._length > LONGEST_PROMPT:
            raise InvalidInput(f"messages: got a prompt of over {LONGEST_PROMPT} characters with its tools; send less")
        if text:
            self._segments.append(Segment(kind, text, len(self._roles) - 1, self.turn))

    def reason(self, reasoning: str) -> None:
        """Adds reasoning to the message that was opened last, beside its text."""
        if reasoning:
            self._reasoning[len(self._roles) - 1] = reasoning

    @property
    def text(self) -> str:
        """What was written to the message that was opened last."""
        last = len(self._roles) - 1
        return "".join(segment.text for segment in self._segments if segment.message == last)

    def render(self, *, continue_final: bool = False) -> Rendered:
        """Return what was written so far."""
        texts: list[list[str]] = [[] for _ in self._roles]
        for segment in self._segments:
            texts[segment.message].append(segment.text)
        messages: list[dict[str, Any]] = []
        for index, (role, written, content) in enumerate(zip(self._roles, texts, self._contents, strict=True)):
            text = "".join(written)
            messages.append({"role": role, "content": text if content is None else content})
            if index in self._reasoning or (role == "assistant" and THINK_END in text):
                messages[-1][REASONING] = self._reasoning.get(index, "")
        return Rendered(tuple(messages), continue_final, tuple(self._segments))


def open_user(page: Page, item: User, prefix: str = "") -> None:
    """Begins a user message with what the dialect writes before the user's text, once, keeping parts that are no
    text.
    """
    before = [{"type": "text", "text": prefix}] if prefix and not item.text.startswith(prefix) else []
    page.open("user", None if only_text(item.content) else [*before, *item.content])  # type: ignore[misc]
    page.write("system", prefix)
    page.write("user", item.text.removeprefix(prefix))
