"""An assistant text that holds a whole loop of Action, Observation and Final Answer, as neutral messages.

The reading itself is the dialect's; here its segments become messages, calls and results.
"""

import functools
import re
from collections.abc import Sequence

from callwright import dialects
from callwright.datasets.conversation import JSON, tool_call
from callwright.datasets.formats.row import RowError
from callwright.dialects.types import Dialect, MalformedCall, Segment, ToolCall, ToolSpec, Turn

_MARKER = re.compile(r"\A[\s*_#]*\w+[^\S\n]*[:：][*_]*")
_STOCK_THOUGHTS = (
    "i now know the final answer",
    "i now can give a great answer",
    "我现在知道最终答案了",
    "我现在知道最终答案",
)


def read(text: str, tools: Sequence[ToolSpec], first_call: int, *, dialect: str = "ms_agent") -> list[JSON]:
    """Messages of one assistant text: assistant turns with their calls, the results, the final answer.

    `first_call` numbers the calls over the conversation. A thought of substance before the final answer is kept as
    the turn's `reasoning_content`. Raises `RowError` for calls that cannot be read and results without a call.
    """
    reader = _dialect(dialect)
    messages: list[JSON] = []
    unanswered: list[JSON] = []
    step: list[Segment] = []
    number = first_call
    for segment in reader.segment(text):
        if segment.kind != "observation":
            step.append(segment)
            continue
        if step:
            turn = _step(reader, step, tools, number)
            unanswered = list(turn.get("tool_calls", ()))
            number += len(unanswered)
            messages.append(turn)
            step = []
        result = _MARKER.sub("", segment.text, count=1).strip()
        if not unanswered:
            raise RowError("observation", f"got a result without a call: {result[:80]!r}; expected a call before it")
        messages.append({"role": "tool", "tool_call_id": unanswered.pop(0)["id"], "content": result})
    if any(segment.text.strip() for segment in step):
        messages.append(_step(reader, step, tools, number))
    return messages


@functools.cache
def _dialect(name: str) -> Dialect:
    return dialects.load(name)


def _step(reader: Dialect, step: Sequence[Segment], tools: Sequence[ToolSpec], first_call: int) -> JSON:
    """One assistant turn: what stands between two results."""
    answer = [segment for segment in step if segment.kind != "thought"]
    only_says = bool(answer) and all(segment.kind in ("final", "text") for segment in answer)
    turn = _turn(reader, answer if only_says else step, tools)
    calls: list[JSON] = []
    for call in turn.calls:
        match call:
            case MalformedCall(written, reason):
                raise RowError("tool_calls", f"got a call that cannot be read: {reason}: {written[:80]!r}")
            case ToolCall(_, name, arguments):
                calls.append(tool_call(first_call + len(calls), name, arguments))
    if calls:
        return {"role": "assistant", "content": turn.content, "tool_calls": calls}
    if not answer or len(answer) == len(step):
        return {"role": "assistant", "content": turn.content}
    message = {"role": "assistant", "content": (turn if only_says else _turn(reader, answer, tools)).content}
    thought = _thought(step)
    return {**message, "reasoning_content": thought} if thought else message


def _turn(reader: Dialect, step: Sequence[Segment], tools: Sequence[ToolSpec]) -> Turn:
    text = "".join(segment.text for segment in step).strip()
    turn = reader.parse(text, tools)
    if any(isinstance(call, MalformedCall) for call in turn.calls):
        return reader.parse(text, None)  # calls of tools that are not declared can be read all the same
    return turn


def _thought(step: Sequence[Segment]) -> str:
    said = "\n".join(_MARKER.sub("", segment.text, count=1).strip() for segment in step if segment.kind == "thought")
    return "" if said.rstrip(" .。").lower() in _STOCK_THOUGHTS else said
