"""Mistral's formats, one for each way in which the models' vocabularies let calls be written.

`mistral_v3`    `[TOOL_CALLS] [{"name": "f", "arguments": {…}, "id": "call00000"}]`     7B v0.3, Nemo, Small 3.1
`mistral_v11`   `[TOOL_CALLS]f[CALL_ID]call00000[ARGS]{…}`                              Small 3.2
`mistral`       `[TOOL_CALLS]f[ARGS]{…}`                                                Ministral 3, Magistral, Devstral
"""

import json
from collections.abc import Sequence
from typing import ClassVar

from callwright.dialects.mistral_stream import ARGS, BEGIN_THINK, CALL_ID, CALLS, END_THINK, MistralStream
from callwright.dialects.native import Native
from callwright.dialects.tools import read_names
from callwright.dialects.types import THINK, THINK_END, CallGrammar, ToolCall, ToolSpec, Turn

_OTHERS = ("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]")


class Mistral(Native):
    """The dialect `mistral`, of vocabularies with `[ARGS]` and without `[CALL_ID]`."""

    name: ClassVar[str] = "mistral"
    markers: ClassVar[tuple[str, ...]] = (CALLS, CALL_ID, ARGS, BEGIN_THINK, END_THINK, *_OTHERS)
    thought_tags: ClassVar[tuple[str, str]] = (BEGIN_THINK, END_THINK)
    call_grammar: ClassVar[CallGrammar] = CallGrammar()

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> MistralStream:
        return MistralStream(read_names(tools), eager=eager, opened=opened, thought_end=self.thought_tags[1])

    def call_id(self, index: int) -> str:
        return f"call{index % 100_000:05d}"

    def call_frame(self, name: str) -> tuple[str, str]:
        return self._frame(name, self.call_id(0))

    def _frame(self, name: str, call_id: str) -> tuple[str, str]:
        return f"{CALLS}{name}{ARGS}", ""

    def may_call(self, text: str) -> bool:
        return "{" in text or super().may_call(text)

    def write(self, turn: Turn, tools: Sequence[ToolSpec] | None = None) -> str:
        before, after = self.thought_tags
        thought = f"{before}{turn.thought}{after}" if turn.thought else ""
        frames = [
            (self._frame(call.name, self.call_id(index)), call.arguments)
            for index, call in enumerate(call for call in turn.calls if isinstance(call, ToolCall))
        ]
        _, opening, separator, closing = self.call_grammar if frames else CallGrammar()
        calls = separator.join(f"{begin}{arguments}{end}" for (begin, end), arguments in frames)
        return f"{thought}{turn.content or ''}{opening}{calls}{closing}"


class MistralV11(Mistral):
    """The dialect `mistral_v11`, of vocabularies with `[CALL_ID]`."""

    name: ClassVar[str] = "mistral_v11"
    thought_tags: ClassVar[tuple[str, str]] = (THINK, THINK_END)

    def _frame(self, name: str, call_id: str) -> tuple[str, str]:
        return f"{CALLS}{name}{CALL_ID}{call_id}{ARGS}", ""


class MistralV3(MistralV11):
    """The dialect `mistral_v3`, of vocabularies without `[ARGS]`."""

    name: ClassVar[str] = "mistral_v3"
    call_grammar: ClassVar[CallGrammar] = CallGrammar("json", f"{CALLS} [", ", ", "]")

    def _frame(self, name: str, call_id: str) -> tuple[str, str]:
        return f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ', f', "id": "{call_id}"}}'
