"""What a model marks as its thought, as ReAct's `Thought:`: reasoning to clients and in corpora, a thought in the text.

Where a think block may stand too, the thought keeps its marker in the reasoning, by which the two are told apart when
they come back.
"""

import re
from collections.abc import Sequence
from typing import Any

from callwright.dialects.messages import reasoning_of, without_reasoning
from callwright.dialects.react import ReactDialect
from callwright.dialects.react_thoughts import MarkedThoughts
from callwright.dialects.types import REASONING, THINK_END, THOUGHT, Dialect, Message


def marked_thoughts(dialect: Dialect, *, think_blocks: bool) -> MarkedThoughts | None:
    """Return how the dialect's marked thoughts are read as reasoning; None where it marks none.

    `think_blocks` tells that the base's chat template has a place for reasoning.
    """
    marker, _ = dialect.thought_frame()
    return MarkedThoughts(marker, named=think_blocks) if marker else None


def reasoning_as_thoughts(messages: Sequence[Message], dialect: Dialect, *, think_blocks: bool) -> Sequence[Message]:
    """Return a conversation in which an assistant's reasoning is the thought that its turn is written with."""
    thoughts = marked_thoughts(dialect, think_blocks=think_blocks)
    if thoughts is None:
        return messages
    assert isinstance(dialect, ReactDialect)
    return [_as_thought(each, dialect, thoughts) if each.get("role") == "assistant" else each for each in messages]


def _as_thought(message: Message, dialect: ReactDialect, thoughts: MarkedThoughts) -> Message:
    reasoning = reasoning_of(message)
    if not reasoning or THOUGHT in message or THINK_END in reasoning:
        return message
    block, thought = _parted(reasoning, thoughts)
    if dialect.holds_marker(thought):  # no line of thought could hold it
        return message
    made: dict[str, Any] = without_reasoning(message) | {THOUGHT: thought} | ({REASONING: block} if block else {})
    is_said_twice = thought == (message.get("content") or "").strip() and not message.get("tool_calls")
    return made | {"content": ""} if is_said_twice else made


def _parted(reasoning: str, thoughts: MarkedThoughts) -> tuple[str, str]:
    """Return what stood in a think block, and what behind the marker."""
    *_, found = [None, *re.finditer(rf"^{re.escape(thoughts.marker)}", reasoning, re.MULTILINE)]
    if found is not None:
        return reasoning[: found.start()].strip(), reasoning[found.end() :].strip()
    return (reasoning, "") if thoughts.named else ("", reasoning)
