"""What a model marks as its thought, as ReAct's `Thought:`: reasoning to clients, and a thought again in the prompt.

Where a think block may stand too, the thought keeps its marker in the reasoning, by which the two are told apart when
they come back.
"""

import re
from collections.abc import Sequence
from typing import Any

from callwright.dialects.messages import reasoning_of, without_reasoning
from callwright.dialects.react import ReactDialect
from callwright.dialects.react_thoughts import MarkedThoughts
from callwright.dialects.types import REASONING, THINK_END, THOUGHT, Dialect
from callwright.store import Template

Json = dict[str, Any]


def marked_thoughts(dialect: Dialect, template: Template | None) -> MarkedThoughts | None:
    """Return how the dialect's marked thoughts are read as reasoning; None where it marks none."""
    marker, _ = dialect.thought_frame()
    if not marker:
        return None
    named = template is not None and (
        template.shows_reasoning or template.opens_reasoning or template.resumes_reasoning
    )
    return MarkedThoughts(marker, named=named)


def put_back(messages: Sequence[Json], dialect: Dialect, thoughts: MarkedThoughts) -> list[Json]:
    """Return a conversation in which an assistant's reasoning is the thought that its turn was written with."""
    assert isinstance(dialect, ReactDialect)
    return [
        _put_back(message, dialect, thoughts) if message["role"] == "assistant" else message for message in messages
    ]


def _put_back(message: Json, dialect: ReactDialect, thoughts: MarkedThoughts) -> Json:
    reasoning = reasoning_of(message)
    if not reasoning or THOUGHT in message or THINK_END in reasoning:
        return message
    block, thought = _parted(reasoning, thoughts)
    if dialect.holds_marker(thought):  # no line of thought could hold it
        return message
    made = without_reasoning(message) | {THOUGHT: thought} | ({REASONING: block} if block else {})
    is_said_twice = thought == (message.get("content") or "").strip() and not message.get("tool_calls")
    return made | {"content": ""} if is_said_twice else made


def _parted(reasoning: str, thoughts: MarkedThoughts) -> tuple[str, str]:
    """Return what stood in a think block, and what behind the marker."""
    *_, found = [None, *re.finditer(rf"^{re.escape(thoughts.marker)}", reasoning, re.MULTILINE)]
    if found is not None:
        return reasoning[: found.start()].strip(), reasoning[found.end() :].strip()
    return (reasoning, "") if thoughts.named else ("", reasoning)
