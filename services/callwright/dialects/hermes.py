"""Hermes: calls as JSON in `<tool_call>` tags, laid out as in Qwen's chat templates.

The tools and the calls are written into the messages' text, so the base's chat template needs roles only. Results stand
in a user message in `<tool_response>` tags; those of one turn share a message.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from callwright.dialects.hermes_stream import HermesStream, find_tag
from callwright.dialects.history import Piece, learn_calls, read_said, with_calls
from callwright.dialects.left_over import OPEN, SHUT
from callwright.dialects.messages import Assistant, Page, System, User, open_user, read_messages, with_tools
from callwright.dialects.tools import Names, Tool, choose, read_names, read_tools
from callwright.dialects.types import CallGrammar, Message, Rendered, Segment, ToolSpec, Turn

_PROMPT = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def call_frame(name: str) -> tuple[str, str]:
    """Return what stands before and after a call's arguments."""
    return f'{OPEN}\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ', f"}}\n{SHUT}"


class Hermes:
    """The dialect `hermes`; its methods are documented in `Dialect`."""

    name: ClassVar[str] = "hermes"
    stop: ClassVar[tuple[str, ...]] = ()
    marker_in_result: ClassVar[re.Pattern[str] | None] = None
    markers: ClassVar[tuple[str, ...]] = ()
    call_grammar: ClassVar[CallGrammar] = CallGrammar()

    def call_frame(self, name: str) -> tuple[str, str]:
        return call_frame(name)

    def answer_frame(self) -> tuple[str, str]:
        return "", ""

    def thought_frame(self) -> tuple[str, str]:
        return "", ""

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> HermesStream:
        return HermesStream(read_names(tools), eager=eager, opened=opened)

    def parse(self, text: str, tools: Sequence[ToolSpec] | None, *, cut: bool = False, opened: bool = False) -> Turn:
        return self.parser(tools, opened=opened).read(text, cut=cut)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] | None = None,
        tool_choice: object = "auto",
        default_system: str = "",
    ) -> Rendered:
        declared = read_tools(tools)
        shown = choose(declared, tool_choice)
        items = read_messages(messages, default_system if shown else None)
        names = Names(declared or None)
        page = Page()
        for index, item in enumerate(items):
            match item:
                case System(text):
                    page.open("system")
                    page.write("system", with_tools(text, _tools_text(shown)) if shown and index == 0 else text)
                case User(text):
                    open_user(page, item)
                case Assistant():
                    learn_calls(names, item)
                    self._write_turn(page, item, names)
        return page.render()

    def _write_turn(self, page: Page, turn: Assistant, names: Names) -> None:
        if turn.thought:
            turn = replace(turn, reasoning=f"{turn.reasoning}\n{turn.thought}".strip())
        new_stream = partial(HermesStream, names, eager=False)
        said = read_said(new_stream, turn, find_tag)
        page.open("assistant")
        page.reason(said.reasoning)
        page.turn = turn.index
        text = said.pieces
        if turn.calls:
            calls = self._calls(turn)
            text = with_calls(turn, said, calls, _orders(text, calls), new_stream) or text
        for kind, written in text:
            page.write(kind, written)
        if turn.results:
            page.open("user")
            page.write("user", "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in turn.results))

    def _calls(self, turn: Assistant) -> list[Piece]:
        pieces: list[Piece] = []
        for call in turn.calls:
            before, after = self.call_frame(call.name)
            head, key, colon = before.rpartition('"arguments"')
            pieces.append(("action", f"\n{head}" if pieces else head))
            pieces.append(("action_input", f"{key}{colon}{call.arguments}{after}"))
        return pieces

    def segment(self, text: str, tools: Sequence[ToolSpec] | None = None) -> tuple[Segment, ...]:
        stream = self.parser(tools)
        stream.read(text)
        return stream.segments(text)


def _orders(text: list[Piece], calls: list[Piece]) -> Iterator[list[Piece]]:
    yield [*text, *_on_a_line(calls)] if text else calls
    yield [*calls, *_on_a_line(text)]


def _on_a_line(pieces: list[Piece]) -> list[Piece]:
    """Return the pieces behind others, on lines of their own."""
    return [(kind, text if n else f"\n{text}") for n, (kind, text) in enumerate(pieces)]


def _tools_text(tools: tuple[Tool, ...]) -> str:
    declared = ({"type": "function", "function": dict(tool.function)} for tool in tools)
    return _PROMPT.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in declared))
