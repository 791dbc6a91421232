"""Calls in tags with a tag for each parameter, as the templates of Qwen3-Coder, Qwen3.5 and later, and Nemotron 3 write
them; results stand in `<tool_response>` tags in a user's turn.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from callwright.dialects.left_over import OPEN, RESULT, SHUT
from callwright.dialects.native import Native
from callwright.dialects.qwen_xml_stream import QwenXmlStream
from callwright.dialects.qwen_xml_values import FUNCTION, FUNCTION_END, PARAMETER, PARAMETER_END
from callwright.dialects.tools import read_names
from callwright.dialects.types import THINK, THINK_END, CallGrammar, ToolCall, ToolSpec, Turn


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between templates; all of them are read alike."""

    python_words: bool = False
    """Whether a value that is no container is written as Python spells it: `True`, `None`."""
    after_thought: str = "\n\n"
    no_thought: str = f"{THINK}\n\n{THINK_END}\n\n"
    """What stands in place of a thought, in the turns in which the template shows thoughts."""
    after_text: str = "\n\n"
    """What stands between text and calls."""
    line_for_calls: bool = False
    """Whether calls stand on lines of their own, also without text, and nothing follows a thought alone."""


QWEN_3_CODER = Layout(no_thought="")
QWEN_3_5 = Layout(python_words=True)
QWEN_3_6 = Layout()
"""Of later ones too."""
NEMOTRON = Layout(
    python_words=True, after_thought="\n", no_thought=f"{THINK}{THINK_END}", after_text="\n", line_for_calls=True
)


class QwenXml(Native):
    """The dialect `qwen_xml`."""

    name: ClassVar[str] = "qwen_xml"
    markers: ClassVar[tuple[str, ...]] = (OPEN, SHUT, FUNCTION, FUNCTION_END, PARAMETER, PARAMETER_END, RESULT)
    call_grammar: ClassVar[CallGrammar] = CallGrammar(style="qwen_xml", separator="\n")

    def __init__(self, layout: Layout = QWEN_3_CODER) -> None:
        self._layout = layout

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> QwenXmlStream:
        return QwenXmlStream(read_names(tools), eager=eager, opened=opened)

    def call_frame(self, name: str) -> tuple[str, str]:
        return f"{OPEN}\n{FUNCTION}{name}>\n", f"\n{FUNCTION_END}\n{SHUT}"

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        layout, said = self._layout, turn.content or ""
        calls = [self._write_call(call, tools) for call in turn.calls if isinstance(call, ToolCall)]
        thought = layout.no_thought
        if turn.thought:
            thought = f"{THINK}\n{turn.thought}\n{THINK_END}{layout.after_thought}"
        head, written = thought + said, "\n".join(calls)
        if layout.line_for_calls:
            return f"{head.strip()}\n{written}\n" if calls else head.strip()
        return f"{head}{layout.after_text}{written}" if said and calls else head + written

    def _write_call(self, call: ToolCall, tools: Sequence[ToolSpec] | None) -> str:
        members = json.loads(call.arguments)
        lines = [f"{PARAMETER}{key}>\n{self._value(value)}\n{PARAMETER_END}\n" for key, value in members.items()]
        written = f"{OPEN}\n{FUNCTION}{call.name}>\n{''.join(lines)}{FUNCTION_END}\n{SHUT}"
        self.check_held(call, written, tools)
        return written

    def _value(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if self._layout.python_words and not isinstance(value, dict | list):
            return str(value)
        return json.dumps(value, ensure_ascii=False)
