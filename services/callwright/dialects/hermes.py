"""Hermes: calls as JSON in `<tool_call>` tags, laid out as in Qwen's chat templates.

The tools and the calls are written into the messages' text, so the base's chat template needs roles only. Results stand
in a user message in `<tool_response>` tags; those of one turn share a message.
"""

import json
import re
from collections.abc import Sequence
from typing import ClassVar

from callwright.dialects.hermes_stream import HermesStream
from callwright.dialects.left_over import OPEN, SHUT
from callwright.dialects.messages import Assistant, Page, System, User, open_user, read_messages, with_tools
from callwright.dialects.tools import Tool, choose, read_names, read_tools
from callwright.dialects.types import Message, Rendered, Segment, ToolSpec, Turn

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


class Hermes:
    """The dialect `hermes`; its methods are documented in `Dialect`."""

    name: ClassVar[str] = "hermes"
    stop: ClassVar[tuple[str, ...]] = ()
    marker_in_result: ClassVar[re.Pattern[str] | None] = None

    def call_frame(self, name: str) -> tuple[str, str]:
        return f'{OPEN}\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ', f"}}\n{SHUT}"

    def answer_frame(self) -> tuple[str, str]:
        return "", ""

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> HermesStream:
        return HermesStream(read_names(tools), eager=eager, opened=opened)

    def parse(self, text: str, tools: Sequence[ToolSpec] | None, *, cut: bool = False, opened: bool = False) -> Turn:
        return self.parser(tools, opened=opened).read(text, cut=cut)

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None = None, tool_choice: object = "auto"
    ) -> Rendered:
        shown = choose(read_tools(tools), tool_choice)
        page = Page()
        for index, item in enumerate(read_messages(messages, with_system=bool(shown))):
            match item:
                case System(text):
                    page.open("system")
                    page.write("system", with_tools(text, _tools_text(shown)) if shown and index == 0 else text)
                case User(text):
                    open_user(page, item, text)
                case Assistant():
                    self._write_turn(page, item)
        return page.render()

    def _write_turn(self, page: Page, turn: Assistant) -> None:
        page.open("assistant")
        page.reason(turn.reasoning)
        page.turn = turn.index
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

    def segment(self, text: str, tools: Sequence[ToolSpec] | None = None) -> tuple[Segment, ...]:
        stream = self.parser(tools)
        stream.read(text)
        return stream.segments(text)


def _tools_text(tools: tuple[Tool, ...]) -> str:
    declared = ({"type": "function", "function": dict(tool.function)} for tool in tools)
    return _PROMPT.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in declared))
