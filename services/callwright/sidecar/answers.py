"""The engine's answer becomes the client's: dialect text in, content and tool calls out.

Pure: knows the OpenAI protocol and dialect parsers, nothing of HTTP. Streams are `callwright.sidecar.streams`'.
"""

from collections.abc import Sequence
from typing import Any

from callwright.dialects.types import MalformedCall, ToolCall, ToolSpec
from callwright.sidecar.requests import Plan

Json = dict[str, Any]


class Observed:
    """What an answer held, for the metrics: overridden by who counts."""

    def call(self, name: str) -> None:
        """A call of the tool `name` was sent."""

    def malformed(self, call: MalformedCall) -> None:
        """A call that could not be read was sent as content."""

    def usage(self, usage: object) -> None:
        """The engine's `usage` object, if it sent one."""


def translate(answer: Json, plan: Plan, observed: Observed) -> Json:
    """A whole answer, changed in place."""
    for choice in answer.get("choices") or ():
        message = choice.get("message")
        if not isinstance(message, dict):
            continue
        cut = choice.get("finish_reason") == "length"
        turn = plan.dialect.parse(message.get("content") or "", tools_to_call(plan), cut=cut)
        calls = [call for call in turn.calls if isinstance(call, ToolCall)]
        malformed = [call for call in turn.calls if isinstance(call, MalformedCall)]
        calls = calls[:1] if plan.single else calls
        message["content"] = turn.content if turn.content or calls else ""
        message.pop("tool_calls", None)
        if malformed and plan.callable:
            message["malformed_tool_calls"] = [malformed_entry(n, call) for n, call in enumerate(malformed)]
            for bad in malformed:
                observed.malformed(bad)
        for call in calls:
            observed.call(call.name)
        if not calls:
            continue
        if plan.legacy:
            message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        else:
            message["tool_calls"] = [_call(call) for call in calls]
        if choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "function_call" if plan.legacy else "tool_calls"
    return answer


def is_malformed(answer: Json) -> bool:
    """Whether a translated answer holds a malformed call."""
    return any("malformed_tool_calls" in (choice.get("message") or ()) for choice in answer.get("choices") or ())


def cached_tokens(usage: Json) -> int:
    """Tokens of the prompt that were read from the cache, by an OpenAI `usage` object."""
    return (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


def tools_to_call(plan: Plan) -> Sequence[ToolSpec] | None:
    """The tools that the parser is to know; with none it takes no text for a call."""
    return plan.tools if plan.callable else []


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def malformed_entry(index: int, call: MalformedCall) -> Json:
    """What the extension field says of a malformed call."""
    return {"index": index, "name": call.name, "reason": call.reason}
