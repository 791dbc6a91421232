"""Hermes as the base's own template writes it: Qwen2.5, Qwen3, Granite 4 and others."""

from collections.abc import Sequence
from typing import ClassVar

from callwright.dialects.hermes import call_frame
from callwright.dialects.hermes_stream import HermesStream
from callwright.dialects.left_over import OPEN, RESULT, SHUT
from callwright.dialects.native import Native
from callwright.dialects.tools import read_names
from callwright.dialects.types import CallGrammar, ToolCall, ToolSpec, Turn, write_reasoning


class NativeHermes(Native):
    """The dialect `hermes` of a base whose template writes it."""

    name: ClassVar[str] = "hermes"
    markers: ClassVar[tuple[str, ...]] = (OPEN, SHUT, RESULT)
    call_grammar: ClassVar[CallGrammar] = CallGrammar(separator="\n")

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> HermesStream:
        return HermesStream(read_names(tools), eager=eager, opened=opened)

    def call_frame(self, name: str) -> tuple[str, str]:
        return call_frame(name)

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        thought, said = turn.thought, turn.content
        lines = [said] if said else []
        for call in turn.calls:
            if isinstance(call, ToolCall):
                before, after = call_frame(call.name)
                lines.append(f"{before}{call.arguments}{after}")
        return (write_reasoning(thought) if thought else "") + "\n".join(lines)
