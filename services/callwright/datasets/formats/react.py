"""An assistant text that holds calls, or a whole ReAct loop (Thought, Action, Observation, Final Answer), as messages.

The dialect reads the text; here its segments become messages, calls and results. ms_agent's and ToolBench's rows have
such texts, and others where their tools stand apart.
"""

import functools
import re
from collections.abc import Sequence

from callwright import dialects
from callwright.datasets.conversation import JSON, tool_call
from callwright.datasets.formats.row import RowError
from callwright.dialects.left_over import OPEN
from callwright.dialects.markers import STOCK_THOUGHTS
from callwright.dialects.react import awaits_result
from callwright.dialects.types import (
    REASONING,
    THOUGHT,
    Dialect,
    MalformedCall,
    Segment,
    Text,
    Thought,
    ToolCall,
    ToolSpec,
    Turn,
)

_MARKER = re.compile(r"\A[\s*_#]*\w+[^\S\n]*[:：][*_]*")
_RESULT_TAG = re.compile(r"^Observation: *<result>", re.MULTILINE)
_SAYS_NOTHING = {phrase.lower() for phrase in (*STOCK_THOUGHTS, "I now can give a great answer")}


def read_text(text: str, tools: Sequence[ToolSpec], first_call: int, *, dialect: str = "ms_agent") -> list[JSON]:
    """Messages of one assistant text, which may hold calls as its dialect writes them or in a neighbour's form.

    Text without a marker, and all text where there are no tools, is the answer as it stands. `first_call` numbers the
    calls over the conversation. Raises as `read_loop` does.
    """
    answer: list[JSON] = [{"role": "assistant", "content": text}]
    if not tools:
        return answer
    dialect = "agentfabric" if _RESULT_TAG.search(text) else dialect
    kinds = {segment.kind for segment in _dialect(dialect).segment(text, tools)}
    if OPEN in text and "action_input" not in kinds:
        return [_assistant_message(_dialect("hermes"), [Segment("text", text)], tools, first_call)]
    return answer if kinds <= {"text"} else read_loop(text, tools, first_call, dialect=dialect)


def read_loop(text: str, tools: Sequence[ToolSpec], first_call: int, *, dialect: str = "ms_agent") -> list[JSON]:
    """Messages of one assistant text: assistant turns with their calls, the results, the final answer.

    A thought of substance before the final answer is kept as the turn's `thought`, a think block as its
    `reasoning_content`. Raises `RowError` for calls that cannot be read, results without a call, and a think block that
    stands elsewhere than at a turn's head.
    """
    reader = _dialect(dialect)
    messages: list[JSON] = []
    unanswered: list[JSON] = []
    turn: list[Segment] = []
    number = first_call
    segments = reader.segment(text, tools)
    for segment in segments:
        if segment.kind != "observation":
            turn.append(segment)
            continue
        if segment is segments[-1] and awaits_result(segment.text):
            break  # the engine stopped there
        if turn:
            message = _assistant_message(reader, turn, tools, number)
            unanswered = list(message.get("tool_calls", ()))
            number += len(unanswered)
            messages.append(message)
            turn = []
        result = _MARKER.sub("", segment.text, count=1).strip()
        if dialect == "agentfabric":
            result = result.removeprefix("<result>").removesuffix("</result>")
        if not unanswered:
            raise RowError("observation", f"got a result without a call: {result[:80]!r}; expected a call before it")
        messages.append({"role": "tool", "tool_call_id": unanswered.pop(0)["id"], "content": result})
    if any(segment.text.strip() for segment in turn):
        messages.append(_assistant_message(reader, turn, tools, number))
    return messages


@functools.cache
def _dialect(name: str) -> Dialect:
    return dialects.load(name)


def _assistant_message(reader: Dialect, turn: Sequence[Segment], tools: Sequence[ToolSpec], first_call: int) -> JSON:
    """Return the message of what stands between two results."""
    answer = [segment for segment in turn if segment.kind != "thought"]
    only_says = bool(answer) and all(segment.kind in ("final", "text") for segment in answer)
    parsed = _parse(reader, answer if only_says else turn, tools)
    calls: list[JSON] = []
    for call in parsed.calls:
        match call:
            case MalformedCall(written, reason):
                raise RowError("tool_calls", f"got a call that cannot be read: {reason}: {written[:80]!r}")
            case ToolCall(_, name, arguments):
                calls.append(tool_call(first_call + len(calls), name, arguments))
    message: JSON = {"role": "assistant", "content": parsed.content}
    if calls:
        message["tool_calls"] = calls
    elif answer and len(answer) < len(turn):
        said = parsed.content if only_says else _parse(reader, answer, tools).content
        thought = _thought(turn) if said else ""
        message |= {"content": said, THOUGHT: thought} if thought else {"content": said or parsed.content}
    if reasoning := _head_thought(parsed):
        message[REASONING] = reasoning
    return message


def _head_thought(parsed: Turn) -> str | None:
    """Return the reasoning at a turn's head. Raises `RowError` where it stands elsewhere, which no message can say."""
    parts = [part for part in parsed.parts if not isinstance(part, Text) or part.text.strip()]
    late = next((part for part in parts[1:] if isinstance(part, Thought)), None)
    if late is not None:
        told = f"got a thought behind what the turn says: {late.text[:80]!r}; expected it at the turn's head; move it"
        raise RowError(REASONING, told)
    return parsed.thought


def _parse(reader: Dialect, segments: Sequence[Segment], tools: Sequence[ToolSpec]) -> Turn:
    text = "".join(segment.text for segment in segments).strip()
    parsed = reader.parse(text, tools)
    if any(isinstance(call, MalformedCall) for call in parsed.calls):
        return reader.parse(text, None)  # calls of tools that are not declared can be read all the same
    return parsed


def _thought(turn: Sequence[Segment]) -> str:
    said = "\n".join(_MARKER.sub("", segment.text, count=1).strip() for segment in turn if segment.kind == "thought")
    return "" if said.rstrip(" .。").lower() in _SAYS_NOTHING else said
