"""Hermes: Qwen's layout of `<tool_call>` blocks, as its chat templates write it, so any template with roles will do.

Results stand in user messages between `<tool_response>` tags; those of one turn share a message.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from callwright.dialects.conversation import Assistant, Page, System, User, open_user, read_messages
from callwright.dialects.hermes_stream import OPEN, SHUT, HermesStream
from callwright.dialects.literals import find_object_end
from callwright.dialects.tools import Tool, choose, read_names, read_tools
from callwright.dialects.types import Message, Rendered, Segment, StreamParser, ToolSpec, Turn, accumulate

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

_ARGUMENTS = re.compile(r'"arguments"\s*:')


class Hermes:
    """The dialect `hermes`."""

    name: ClassVar[str] = "hermes"
    stop: ClassVar[tuple[str, ...]] = ()

    def call_frame(self, name: str) -> tuple[str, str]:
        """What stands before and after the JSON arguments of a call."""
        return f'{OPEN}\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ', f"}}\n{SHUT}"

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False) -> StreamParser:
        """A parser for one turn."""
        return HermesStream(read_names(tools), eager=eager)

    def parse(self, text: str, tools: Sequence[ToolSpec] | None, *, cut: bool = False) -> Turn:
        """Reads a whole turn: the stream, fed in one piece and accumulated."""
        parser = self.parser(tools)
        return accumulate([*parser.feed(text), *parser.close(cut=cut)])

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None = None, tool_choice: object = "auto"
    ) -> Rendered:
        """Writes a conversation for the chat template. Raises InvalidInput on what is no conversation."""
        shown = choose(read_tools(tools), tool_choice)
        items = read_messages(messages)
        page = Page()
        if shown and not (items and isinstance(items[0], System)):
            items = (System(""), *items)
        for index, item in enumerate(items):
            match item:
                case System(text):
                    page.open("system")
                    page.write("system", _system_text(text, shown) if shown and index == 0 else text)
                case User(text):
                    open_user(page, item, text)
                case Assistant():
                    self._write_turn(page, item)
        return page.render()

    def _write_turn(self, page: Page, turn: Assistant) -> None:
        page.open("assistant")
        for segment in self.segment(turn.text):
            page.write(segment.kind, segment.text)
        lead = "\n" if turn.text else ""
        for call in turn.calls if OPEN not in turn.text else ():
            before, after = self.call_frame(call.name)
            head, arguments = before[: before.rindex('"arguments"')], before[before.rindex('"arguments"') :]
            page.write("action", lead + head)
            page.write("action_input", f"{arguments}{call.arguments}{after}")
            lead = "\n"
        if turn.results:
            page.open("user")
            page.write("user", "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in turn.results))

    def segment(self, text: str) -> tuple[Segment, ...]:
        """Splits an assistant's text at its blocks."""
        segments: list[Segment] = []
        position = 0
        closes = True
        while (start := text.find(OPEN, position)) >= 0:
            inner = find_object_end(text, start + len(OPEN)) if closes else None
            closes = inner is not None  # one that never ends is looked for once: time stays linear
            shut = text.find(SHUT, inner or start)
            end = shut + len(SHUT) if shut >= 0 else len(text)
            start -= text.startswith("\n", start - 1) and start > position
            segments.append(Segment("text", text[position:start]))
            arguments = _ARGUMENTS.search(text, start, end)
            middle = arguments.start() if arguments else end
            segments.append(Segment("action", text[start:middle]))
            segments.append(Segment("action_input", text[middle:end]))
            position = end
        segments.append(Segment("text", text[position:]))
        return tuple(segment for segment in segments if segment.text)


def _system_text(given: str, tools: tuple[Tool, ...]) -> str:
    lines = "\n".join(json.dumps(_declaration(tool), ensure_ascii=False) for tool in tools)
    block = _PROMPT.format(tools=lines)
    if block in given:
        return given
    return f"{given}\n\n{block}" if given.strip() else block


def _declaration(tool: Tool) -> dict[str, Any]:
    function: Mapping[str, Any] = tool.function
    return {"type": "function", "function": dict(function)}
