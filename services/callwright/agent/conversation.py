"""Lets a model call tools until it answers: asks it, makes its calls, sends the results back.

    run(OpenAI(), "m", [{"role": "user", "content": "6 * 7?"}], builtin_tools.TOOLS, builtin_tools.call)[-1]["content"]

Speaks the OpenAI protocol through its SDK. The model gets a tool's error message and may try again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from openai import OpenAI

from callwright.errors import StageFailed

Message = dict[str, Any]
CallTool = Callable[[str, Mapping[str, Any]], object]
"""Gets a tool's name and arguments; returns its result, text or what JSON can hold. May raise `ToolError`."""

_REASONING = "reasoning_content"
"""What the model thought: the sidecar has it in its deltas, and puts it back before the turn."""


class ToolError(Exception):
    """Raised by a tool that cannot do what it was asked; the model gets the message."""


@dataclass(frozen=True)
class AgentEvent:
    """What happens in a conversation, as it happens: a thought or text arrives, a call is made, its result is there."""

    kind: Literal["thought", "text", "call", "result"]
    text: str
    name: str = ""
    """The tool, for a call or result."""


def run(
    client: OpenAI,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    call_tool: CallTool,
    *,
    max_turns: int = 10,
    on_event: Callable[[AgentEvent], None] = lambda event: None,
    **options: Any,
) -> list[Message]:
    """Returns the messages with those of the conversation that follows added; the last is the model's answer.

    `options` go into each request (`temperature`, `max_tokens`, …). Raises `StageFailed` when the model still calls
    tools after `max_turns` turns, and the SDK's errors when a request fails.
    """
    conversation = [dict(message) for message in messages]
    for _ in range(max_turns):
        answer = _ask(client, model, conversation, tools, on_event, options)
        conversation.append(answer)
        if not answer.get("tool_calls"):
            return conversation
        for call in answer["tool_calls"]:
            function = call["function"]
            on_event(AgentEvent("call", function["arguments"], function["name"]))
            result = _result(call_tool, function["name"], function["arguments"])
            on_event(AgentEvent("result", result, function["name"]))
            conversation.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    raise StageFailed(f"running the agent: the model still calls tools after {max_turns} turns; raise max_turns")


def _ask(
    client: OpenAI,
    model: str,
    conversation: list[Message],
    tools: Sequence[Mapping[str, Any]],
    on_event: Callable[[AgentEvent], None],
    options: Mapping[str, Any],
) -> Message:
    """Streams one turn of the model; returns it as a message."""
    request: dict[str, Any] = {"model": model, "messages": conversation, "stream": True, **options}
    if tools:
        request["tools"] = list(tools)
    text: list[str] = []
    thought: list[str] = []
    calls: dict[int, Message] = {}
    for chunk in client.chat.completions.create(**request):
        if not chunk.choices:
            continue
        delta = chunk.choices[0].delta
        if reasoning := getattr(delta, _REASONING, None):
            thought.append(reasoning)
            on_event(AgentEvent("thought", reasoning))
        if delta.content:
            text.append(delta.content)
            on_event(AgentEvent("text", delta.content))
        for part in delta.tool_calls or ():
            call = calls.setdefault(
                part.index, {"id": part.id, "type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["function"]["name"] += (part.function and part.function.name) or ""
            call["function"]["arguments"] += (part.function and part.function.arguments) or ""
    message: Message = {"role": "assistant", "content": "".join(text) or None}
    if thought:
        message[_REASONING] = "".join(thought)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def _result(call_tool: CallTool, name: str, arguments: str) -> str:
    """Makes the call; returns the result as text, or `error: ` and the reason, for the model to read."""
    try:
        given = json.loads(arguments)
        result = call_tool(name, given) if isinstance(given, dict) else "error: the arguments are no JSON object"
    except ToolError as error:
        result = f"error: {error}"
    except ValueError as error:
        result = f"error: the arguments are not JSON: {error}"
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
