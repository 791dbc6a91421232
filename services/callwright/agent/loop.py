"""`run`: ask the model, do what it calls, give it the results, until it answers or may not go on.

Knows the OpenAI protocol through its SDK; nothing of dialects, servers or what the tools do. A tool that fails is
told to the model, which may try again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai import OpenAI

from callwright.errors import StageFailed

Message = dict[str, Any]
CallTool = Callable[[str, Mapping[str, Any]], object]
"""Gets a tool's name and arguments; returns its result, text or what JSON can hold. May raise `ToolError`."""


class ToolError(Exception):
    """A tool could not do what it was asked; the model is told the message."""


@dataclass(frozen=True)
class Step:
    """Something that happened, for who watches: text that came in, a call that was made, or its result."""

    kind: str
    """`text`, `call` or `result`."""
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
    on_step: Callable[[Step], None] = lambda step: None,
    **options: Any,
) -> list[Message]:
    """The conversation with everything that was said and done added, the model's answer last.

    `options` go into each request (`temperature`, `max_tokens`, …). Raises `StageFailed` when the model still calls
    tools after `max_turns` turns, and what the SDK raises when the endpoint fails.
    """
    conversation = [dict(message) for message in messages]
    for _ in range(max_turns):
        answer = _ask(client, model, conversation, tools, on_step, options)
        conversation.append(answer)
        if not answer.get("tool_calls"):
            return conversation
        for call in answer["tool_calls"]:
            function = call["function"]
            on_step(Step("call", function["arguments"], function["name"]))
            result = _result(call_tool, function["name"], function["arguments"])
            on_step(Step("result", result, function["name"]))
            conversation.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    raise StageFailed(f"running the agent: the model still calls tools after {max_turns} turns; raise max_turns")


def _ask(
    client: OpenAI,
    model: str,
    conversation: list[Message],
    tools: Sequence[Mapping[str, Any]],
    on_step: Callable[[Step], None],
    options: Mapping[str, Any],
) -> Message:
    """One streamed turn of the model, as a message."""
    request: dict[str, Any] = {"model": model, "messages": conversation, "stream": True, **options}
    if tools:
        request["tools"] = list(tools)
    text: list[str] = []
    calls: dict[int, Message] = {}
    for chunk in client.chat.completions.create(**request):
        if not chunk.choices:
            continue
        delta = chunk.choices[0].delta
        if delta.content:
            text.append(delta.content)
            on_step(Step("text", delta.content))
        for part in delta.tool_calls or ():
            call = calls.setdefault(
                part.index, {"id": part.id, "type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["function"]["name"] += (part.function and part.function.name) or ""
            call["function"]["arguments"] += (part.function and part.function.arguments) or ""
    message: Message = {"role": "assistant", "content": "".join(text) or None}
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def _result(call_tool: CallTool, name: str, arguments: str) -> str:
    """What the model is told: the result, or why there is none."""
    try:
        given = json.loads(arguments)
        result = call_tool(name, given) if isinstance(given, dict) else "error: the arguments are no JSON object"
    except ToolError as error:
        result = f"error: {error}"
    except ValueError as error:
        result = f"error: the arguments are not JSON: {error}"
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
