"""Pythonic formats: calls as Python writes them, with named arguments, in each model's wrapper.

`pythonic`    `[f(a='x', n=3), g()]`                                              Llama 3.2 and 4, ToolACE, Gemma 3
`lfm2`        `<|tool_call_start|>[f(a='x', n=3), g()]<|tool_call_end|>`          LFM2, LFM2.5
`olmo3`       `<function_calls>f(a="x", n=3)⏎g()</function_calls>`                Olmo 3
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from callwright.dialects.literals import is_keyword_name, write_json
from callwright.dialects.native import Native
from callwright.dialects.pythonic_stream import WRAPPERS, PythonicStream
from callwright.dialects.tools import read_names
from callwright.dialects.types import CallGrammar, ToolCall, ToolSpec, Turn, write_reasoning

_TO_ESCAPE = re.compile(r"[\\'\r\n]")


class Pythonic(Native):
    """The dialect `pythonic`, without a wrapper."""

    name: ClassVar[str] = "pythonic"
    markers: ClassVar[tuple[str, ...]] = ("<|python_tag|>", "<|python_start|>", "<|python_end|>")
    call_grammar: ClassVar[CallGrammar] = CallGrammar("python", "[", ", ", "]")

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> PythonicStream:
        return PythonicStream(read_names(tools), eager=eager, opened=opened)

    def call_frame(self, name: str) -> tuple[str, str]:
        return f"{name}(", ")"

    def may_call(self, text: str) -> bool:
        return "[" in text or any(marker in text for marker in (*WRAPPERS, *WRAPPERS.values(), *self.thought_tags))

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        calls = [self._call(call) for call in turn.calls if isinstance(call, ToolCall)]
        thought = write_reasoning(turn.thought) if turn.thought else ""
        return thought + self._beside(turn.content or "", calls)

    def _beside(self, said: str, calls: list[str]) -> str:
        """Return the calls behind what is said."""
        return "\n".join(filter(None, (said, f"[{', '.join(calls)}]" if calls else "")))

    def _call(self, call: ToolCall) -> str:
        given = json.loads(call.arguments)
        if all(map(is_keyword_name, given)):
            return f"{call.name}({', '.join(f'{name}={self._value(value)}' for name, value in given.items())})"
        return f"{call.name}(**{self._value(given)})"  # no other way to write a name with a space in it

    def _value(self, value: Any) -> str:
        return repr(value)


class Lfm2(Pythonic):
    """The dialect `lfm2`, whose template writes strings as they are, and objects as JSON."""

    name: ClassVar[str] = "lfm2"
    markers: ClassVar[tuple[str, ...]] = (
        *("<|tool_call_start|>", "<|tool_call_end|>", "<|tool_response_start|>", "<|tool_response_end|>"),
        *("<|tool_list_start|>", "<|tool_list_end|>"),
    )
    call_grammar: ClassVar[CallGrammar] = CallGrammar("python", "<|tool_call_start|>[", ", ", "]<|tool_call_end|>")

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        calls = [self._call(call) for call in turn.calls if isinstance(call, ToolCall)]
        thought = f"<think>{turn.thought}</think>" if turn.thought else ""
        return thought + self._beside(turn.content or "", calls)

    def _beside(self, said: str, calls: list[str]) -> str:
        return said + (f"<|tool_call_start|>[{', '.join(calls)}]<|tool_call_end|>" if calls else "")

    def _value(self, value: Any) -> str:
        if isinstance(value, Mapping):
            return write_json(dict(value))
        if isinstance(value, str) and not _TO_ESCAPE.search(value):
            return f"'{value}'"
        return repr(value)


class Olmo3(Pythonic):
    """The dialect `olmo3`, with JSON's values."""

    name: ClassVar[str] = "olmo3"
    markers: ClassVar[tuple[str, ...]] = ("<function_calls>", "</function_calls>", "<functions>", "</functions>")
    call_grammar: ClassVar[CallGrammar] = CallGrammar("python", "<function_calls>", "\n", "</function_calls>")

    def _beside(self, said: str, calls: list[str]) -> str:
        written = "\n".join(calls)
        return said + (f"<function_calls>{written}</function_calls>" if calls else "")

    def _value(self, value: Any) -> str:
        return write_json(value)
