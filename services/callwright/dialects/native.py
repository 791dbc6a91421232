"""The base of native dialects: formats that the base's own chat template writes, tools and results included.

Such a dialect renders no text: it gives the template neutral messages and the tools. What the template makes of a turn
is read back by the dialect's parser, in training as in serving.

    class QwenXml(Native):
        name = "qwen_xml"
        def parser(…): …        the reader: the only reading of a turn
        def write(…): …         a turn as the templates write it: parse(write(turn)) == turn
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from callwright.dialects.history import hidden, learn_calls
from callwright.dialects.messages import Assistant, Call, Item, System, User, only_text, read_messages
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Tool, Toolbox, choose, read_tools
from callwright.dialects.types import (
    REASONING,
    THINK,
    THINK_END,
    CallGrammar,
    Message,
    Rendered,
    Segment,
    Text,
    ToolCall,
    ToolSpec,
    Turn,
)
from callwright.errors import InvalidInput

_PLAIN_NAME = re.compile(r"[\w.-]+")
"""Matches a parameter's name that every format can write."""
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class Native:
    """A native dialect; the methods of `Dialect` are documented there."""

    name: ClassVar[str]
    markers: ClassVar[tuple[str, ...]] = ()
    """All tags of calls, results and thoughts, special tokens or not."""
    thought_tags: ClassVar[tuple[str, str]] = (THINK, THINK_END)
    """What opens and what ends reasoning; a prompt that ends with the first has opened it."""
    hand_over: ClassVar[str | None] = None
    """The token that ends a turn which calls, where that is another than ends an answer."""
    call_grammar: ClassVar[CallGrammar]
    marker_in_result: ClassVar[re.Pattern[str] | None] = None

    # What a dialect defines.

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> Stream:
        """Return a parser for one turn."""
        raise NotImplementedError

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        """Write a turn as the base's template does, without the token that ends it; `parse` reads the same turn back.

        The form of a value may depend on the tool's schema. Raises InvalidInput for what the format cannot hold.
        """
        raise NotImplementedError

    def call_frame(self, name: str) -> tuple[str, str]:
        """Return what stands before and after the arguments of a call."""
        raise NotImplementedError

    def call_id(self, index: int) -> str:
        """Return the id of a conversation's call number `index`, from 0; clients' own ids are no part of a prompt."""
        return f"call_{index}"

    def may_call(self, text: str) -> bool:
        """Return whether a text may be read as more than text; where False, it is not read."""
        return any(marker in text for marker in (*self.markers, *self.thought_tags, THINK))

    # What all share.

    def is_special(self, special: Iterable[str]) -> bool:
        """Return whether any of its tags is a special token, which the engine then has to show."""
        return not {*self.markers, *self.thought_tags, *self.stop}.isdisjoint(special)

    @property
    def stop(self) -> tuple[str, ...]:
        return () if self.hand_over is None else (self.hand_over,)

    def answer_frame(self) -> tuple[str, str]:
        return "", ""

    def thought_frame(self) -> tuple[str, str]:
        return "", ""

    def parse(self, text: str, tools: Sequence[ToolSpec] | None, *, cut: bool = False, opened: bool = False) -> Turn:
        return self.parser(tools, opened=opened).read(text, cut=cut)

    def segment(self, text: str, tools: Sequence[ToolSpec] | None = None) -> tuple[Segment, ...]:
        stream = self.parser(tools)
        stream.read(text)
        return stream.segments(text)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] | None = None,
        tool_choice: object = "auto",
        default_system: str = "",
    ) -> Rendered:
        """Return neutral messages, and the tools, for the base's template, which knows its own default system text."""
        shown = choose(read_tools(tools), tool_choice)
        for tool in shown:
            self.check_parameters(tool)
        items = read_messages(messages)
        known = _known(tools, items)
        made: list[dict[str, Any]] = []
        calls = 0
        for item in items:
            match item:
                case System(text):
                    made.append({"role": "system", "content": text})
                case User(text, content):
                    made.append({"role": "user", "content": text if only_text(content) else content})
                case Assistant():
                    if known is not None:
                        learn_calls(known.names, item)
                    turn = self._as_read(item, known)
                    made += self._messages(turn, calls)
                    calls += len(turn.calls)
        return Rendered(tuple(made), False, (), tuple(map(_declared, shown)) or None)

    def check_parameters(self, tool: Tool) -> None:
        """Raise InvalidInput for a tool with a parameter whose name no call in this format can write."""
        untyped = {"type": "object", "properties": dict.fromkeys(tool.properties, True)}
        for name in tool.properties:
            if _PLAIN_NAME.fullmatch(name):
                continue
            call, known = (
                ToolCall("", tool.name, json.dumps({name: True})),
                [{"name": tool.name, "parameters": untyped}],
            )
            try:
                read = _valid(self.parse(self.write(Turn((call,)), known), known))
            except InvalidInput:
                read = []
            if [(each.name, [*json.loads(each.arguments)]) for each in read] != [(tool.name, [name])]:
                raise InvalidInput(
                    f"tools: got the parameter {name[:60]!r} of {tool.name!r}, a name that {self.name} has no way to "
                    "write; expected letters, digits, `_`, `-` and `.`; rename it or leave the tool out"
                )

    def check_held(self, call: ToolCall, written: str, tools: Sequence[ToolSpec] | None) -> None:
        """Raise InvalidInput where a call, as it is written, is read as another."""
        read = self.parse(written, tools).calls
        is_call = len(read) == 1 and isinstance(read[0], ToolCall) and read[0].name == call.name
        given = _in_order(call.arguments)
        found = _in_order(read[0].arguments) if is_call and isinstance(read[0], ToolCall) else {}
        if is_call and given == found:
            return
        key = next((key for key in given if given[key] != found.get(key)), "")
        raise InvalidInput(
            f"tool_calls: got {given.get(key, '')[:60]} for {key[:60]!r} of {call.name!r}, which {self.name} "
            "has no way to write; expected a value of the schema's type, without the format's tags; mend it"
        )

    def _as_read(self, turn: Assistant, tools: Toolbox | None) -> Assistant:
        """Return an earlier turn with what its text holds in its own place: a thought at its head, and calls.

        Raises InvalidInput where the text would hide the turn's calls, or be read as others.
        """
        thoughts = dict.fromkeys((turn.reasoning, turn.thought))
        if self.may_call(turn.text):
            read = self.parse(turn.text, tools)
            said = tuple(Call("", call.name, call.arguments) for call in _valid(read))
            if said and turn.calls and said != tuple(replace(call, id="") for call in turn.calls):
                raise hidden(turn, "tool_calls")
            thoughts |= {(read.thought or "").strip(): None}
            turn = replace(turn, text=read.content or "", calls=turn.calls or said)
        turn = replace(turn, reasoning="\n".join(filter(None, thoughts)), thought="")
        if turn.calls and self.may_call(turn.text):
            calls = [ToolCall("", call.name, call.arguments) for call in turn.calls]
            if _valid(self.parse(self.write(Turn((Text(turn.text), *calls)), tools), tools)) != calls:
                raise hidden(turn, "tool_calls")
        return turn

    def _messages(self, turn: Assistant, first: int) -> Iterator[dict[str, Any]]:
        """Yield a turn and its results; what answers no call is the user's."""
        ids = [self.call_id(first + index) for index in range(len(turn.calls))]
        message: dict[str, Any] = {"role": "assistant", "content": turn.text}
        if turn.reasoning:
            message[REASONING] = turn.reasoning
        if turn.calls:
            message["tool_calls"] = [
                {"id": own, "type": "function", "function": {"name": call.name, "arguments": _object(call, turn.index)}}
                for own, call in zip(ids, turn.calls, strict=True)
            ]
        yield message
        for own, call, result in zip(ids, turn.calls, turn.results, strict=False):
            yield {"role": "tool", "tool_call_id": own, "name": call.name, "content": result}
        for result in turn.results[len(turn.calls) :]:
            yield {"role": "user", "content": result}


def _known(tools: Sequence[ToolSpec] | None, items: Sequence[Item]) -> Toolbox | None:
    """Return the tools that a conversation may call, to which its turns add what they call; any, where none are
    declared.
    """
    if not tools:
        return None
    declared = {tool.name for tool in read_tools(tools)}
    adds = any(call.name not in declared for item in items if isinstance(item, Assistant) for call in item.calls)
    return tools if isinstance(tools, Toolbox) and not adds else Toolbox(tools)


def _valid(turn: Turn) -> list[ToolCall]:
    return [call for call in turn.calls if isinstance(call, ToolCall)]


def _in_order(arguments: str) -> dict[str, str]:
    """Return each member as JSON with its keys in order, which tells 1 from 1.0 and true."""
    return {key: json.dumps(value, sort_keys=True) for key, value in json.loads(arguments).items()}


def _object(call: Call, message: int) -> dict[str, Any]:
    """Return a call's arguments. Raises InvalidInput where they are no object: no template can write those."""
    try:
        value = json.loads(call.arguments)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidInput(
            f"messages[{message}].tool_calls: got the arguments {call.arguments[:60]!r} of {call.name!r}; expected a "
            "JSON object, as the chat template writes one; mend the call or send it as text"
        )
    return value


def _declared(tool: Tool) -> dict[str, Any]:
    """Return a tool with the very keys, and in the order, in which engines hand it to a template."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters or _NO_PARAMETERS}
    return {"type": "function", "function": function}
