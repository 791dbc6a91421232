"""Llama's JSON format: Llama 3.1, 3.2 and 3.3, and Gemma 3's prompt for JSON.

A call is an object with a name and parameters, and nothing marks it. The models' own templates write one call a turn,
and no text beside it.
"""

import json
from collections.abc import Sequence
from typing import ClassVar

from callwright.dialects.llama_stream import PYTHON_TAG, TEXT_TAGS, LlamaStream
from callwright.dialects.native import Native
from callwright.dialects.tools import read_names
from callwright.dialects.types import CallGrammar, ToolCall, ToolSpec, Turn, write_reasoning


class LlamaJson(Native):
    """The dialect `llama_json`."""

    name: ClassVar[str] = "llama_json"
    markers: ClassVar[tuple[str, ...]] = (PYTHON_TAG, *TEXT_TAGS)
    call_grammar: ClassVar[CallGrammar] = CallGrammar(separator="; ")

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> LlamaStream:
        return LlamaStream(read_names(tools), eager=eager, opened=opened)

    def call_frame(self, name: str) -> tuple[str, str]:
        return f'{{"name": {json.dumps(name, ensure_ascii=False)}, "parameters": ', "}"

    def may_call(self, text: str) -> bool:
        return "{" in text or super().may_call(text)

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        thought, said = turn.thought, turn.content
        calls = [self.call_frame(call.name) for call in turn.calls if isinstance(call, ToolCall)]
        arguments = [call.arguments for call in turn.calls if isinstance(call, ToolCall)]
        written = "; ".join(f"{begin}{given}{end}" for (begin, end), given in zip(calls, arguments, strict=True))
        return (write_reasoning(thought) if thought else "") + "\n".join(filter(None, (said, written)))
