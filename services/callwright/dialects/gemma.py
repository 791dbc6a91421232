"""Calls as Gemma 4 and FunctionGemma write them: results stand in the model's own turn, which calls hand over to."""

import json
from collections.abc import Sequence
from typing import ClassVar

from callwright.dialects.gemma_literal import write_members
from callwright.dialects.gemma_stream import FunctionGemmaStream, GemmaStream
from callwright.dialects.gemma_tokens import FUNCTION_GEMMA, GEMMA_4, Tokens
from callwright.dialects.native import Native
from callwright.dialects.tools import read_names
from callwright.dialects.types import THINK, THINK_END, CallGrammar, ToolCall, ToolSpec, Turn


class Gemma(Native):
    """The dialect `gemma`, of Gemma 4."""

    name: ClassVar[str] = "gemma"
    tokens: ClassVar[Tokens] = GEMMA_4
    stream: ClassVar[type[GemmaStream]] = GemmaStream
    thought_tags: ClassVar[tuple[str, str]] = ("<|channel>thought\n", "<channel|>")
    markers: ClassVar[tuple[str, ...]] = (
        *(GEMMA_4.open, GEMMA_4.shut, GEMMA_4.quote, GEMMA_4.result, "<tool_response|>", "<|channel>", "<channel|>"),
        *("<|tool>", "<tool|>", "<|turn>", GEMMA_4.turn_end, "<|think|>"),
    )
    hand_over: ClassVar[str | None] = GEMMA_4.result
    call_grammar: ClassVar[CallGrammar] = CallGrammar("gemma")

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> GemmaStream:
        return self.stream(read_names(tools), eager=eager, opened=opened)

    def call_frame(self, name: str) -> tuple[str, str]:
        return f"{self.tokens.open}call:{name}{{", f"}}{self.tokens.shut}"

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        calls = "".join(self._write_call(call, tools) for call in turn.calls if isinstance(call, ToolCall))
        thought = f"{self.thought_tags[0]}{turn.thought}\n{self.thought_tags[1]}" if turn.thought else ""
        return f"{thought}{calls}{turn.content or ''}"

    def _write_call(self, call: ToolCall, tools: Sequence[ToolSpec] | None) -> str:
        before, after = self.call_frame(call.name)
        written = before + write_members(json.loads(call.arguments), self.tokens.quote) + after
        self.check_held(call, written, tools)
        return written


class FunctionGemma(Gemma):
    """The dialect `functiongemma`, which has no thoughts."""

    name: ClassVar[str] = "functiongemma"
    tokens: ClassVar[Tokens] = FUNCTION_GEMMA
    stream: ClassVar[type[GemmaStream]] = FunctionGemmaStream
    thought_tags: ClassVar[tuple[str, str]] = (THINK, THINK_END)
    markers: ClassVar[tuple[str, ...]] = (
        *(FUNCTION_GEMMA.open, FUNCTION_GEMMA.shut, FUNCTION_GEMMA.quote, FUNCTION_GEMMA.result),
        *("<end_function_response>", "<start_function_declaration>", "<end_function_declaration>"),
        *("<start_of_turn>", FUNCTION_GEMMA.turn_end),
    )
    hand_over: ClassVar[str | None] = FUNCTION_GEMMA.result
