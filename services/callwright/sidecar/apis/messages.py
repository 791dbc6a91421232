"""`Messages`: Anthropic's `/v1/messages` as a translation in front of chat completions.

Owns that API's requests, answers and errors; its stream is in `callwright.sidecar.apis.message_events`. Text and the
client's own tools only: what else they are asked about is refused.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from callwright.dialects.messages import reasoning_of
from callwright.dialects.types import REASONING, Part, Thought, ToolCall
from callwright.sidecar.apis.base import joined_parts, other_fields, renamed_refusal, same_fields
from callwright.sidecar.apis.message_events import MessageEvents, head, stop, thinking, usage
from callwright.sidecar.apis.message_tools import MessageTools
from callwright.sidecar.chat_request import joined_text
from callwright.sidecar.errors import Refused
from callwright.sidecar.sse import named_event

Json = dict[str, Any]
_REFUSED = ("container", "mcp_servers")
"""Fields that ask for tools which a server would run."""
_READ = (
    "messages", "system", "max_tokens", "stop_sequences", "tools", "tool_choice", "thinking", "output_config",
    "output_format", "thread",
)  # fmt: skip
_WITHOUT_EFFECT = (
    "betas", "cache_control", "context_management", "inference_geo", "metadata", "service_tier", "speed",
)  # fmt: skip
"""Fields that change no answer of an engine."""
_UNTHREADED = "thread_unsupported_request"
"""What makes the SDK's tool runner send the whole conversation instead of what is new in it."""
_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


class Messages:
    """Anthropic's Messages API, for one request."""

    keep_alive = named_event("ping", {"type": "ping"})
    kept = 0

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self.unknown: list[str] = []
        self._stops: list[str] = []
        self._places: dict[str, str] = {}
        self._events: MessageEvents | None = None

    def earlier(self, request: Json) -> bytes:
        """Return nothing: no conversation is kept."""
        return b""

    def chat_request(self, request: Json) -> Json | None:
        """Return the chat request, where there are tools or calls and results of such. Raises `Refused`."""
        if not request.get("tools") and not _has_calls(request.get("messages")):
            return None
        if request.get("thread") is not None:
            raise Refused("thread: nothing is stored here; send all messages", param="thread", code=_UNTHREADED)
        if not isinstance(request.get("max_tokens"), int):
            raise Refused("max_tokens: expected a number", param="max_tokens")
        self._stops = request.get("stop_sequences") or []
        if not isinstance(self._stops, list) or not all(isinstance(s, str) and s for s in self._stops):
            raise Refused("stop_sequences: expected a list of strings", param="stop_sequences")
        made = same_fields(request, refused=_REFUSED)
        made |= {"max_tokens": request["max_tokens"], "stop": self._stops}
        self.unknown = other_fields(request, _READ, _REFUSED, _WITHOUT_EFFECT)
        placed = [*_system(request.get("system")), *_messages(request.get("messages"))]
        self._places = {f"messages[{n}]": where for n, (where, _) in enumerate(placed)}
        made["messages"] = [message for _, message in placed]
        tools = MessageTools(request.get("tools"))
        self._places |= tools.places
        self.left_out = [*tools.left_out, *other_fields(request, _READ, _REFUSED)]
        made["tools"] = tools.functions
        made |= tools.choice(request.get("tool_choice")) | _format(request) | _thinking(request)
        if request.get("stream"):
            made["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        return made

    def refused(self, error: Refused) -> Refused:
        """Return the refusal of the chat request in Anthropic's terms."""
        return renamed_refusal(error, self._places, "input_schema")

    def answer(self, completion: Json, parts: Sequence[Part]) -> Json:
        """Return the message, its blocks in the order in which a stream has them."""
        choice = completion["choices"][0]
        message = choice["message"]
        content = [_block(part) for part in joined_parts(parts)]
        ended = stop(choice.get("finish_reason"), choice.get("stop_reason"), self._stops)
        made = head(completion) | {"content": content, "usage": usage(completion.get("usage"))} | ended
        if malformed := message.get("malformed_tool_calls"):
            made["malformed_tool_calls"] = malformed
        return made

    def event(self, data: bytes) -> bytes:
        """Return the events for one of the chat completion's."""
        if self._events is None:
            self._events = MessageEvents(self._stops)
        found = self._events.feed(data)
        return found if isinstance(found, bytes) else named_event("error", self.error(found, 500))

    def error(self, error: Json, status: int) -> Json:
        """Return the error in Anthropic's words."""
        inner = error.get("error", error)
        told = inner.get("message") if isinstance(inner, dict) else inner
        kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        made: Json = {"type": kind, "message": str(told)}
        if isinstance(inner, dict) and inner.get("code") == _UNTHREADED:
            made["details"] = {"error_code": _UNTHREADED, "unsupported": ["thread"]}
        return {"type": "error", "error": made}

    def error_event(self, error: Json, status: int) -> bytes:
        """Return the same as an event; nothing after the engine's own error."""
        if self._events is not None and self._events.failed:
            return b""
        return named_event("error", self.error(error, status))


def _block(part: Part) -> Json:
    match part:
        case ToolCall(call_id, name, arguments):
            return {"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)}
        case Thought(text):
            return thinking(text)
        case _:
            return {"type": "text", "text": part.text}


def _has_calls(messages: object) -> bool:
    return isinstance(messages, list) and any(
        isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result")
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for block in message["content"]
    )


def _system(system: object) -> list[tuple[str, Json]]:
    if system is None:
        return []
    return [("system", {"role": "system", "content": joined_text(_blocks(system, "system"), "system")})]


def _messages(messages: object) -> Iterator[tuple[str, Json]]:
    """Yield each chat message, and which of `messages` it is of."""
    if not isinstance(messages, list):
        raise Refused("messages: expected a list", param="messages")
    for n, message in enumerate(messages):
        where = f"messages[{n}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant", "system"):
            raise Refused(f"{where}.role: expected user or assistant", param=f"{where}.role")
        blocks = _blocks(message.get("content"), f"{where}.content")
        made = _assistant(blocks, where) if role == "assistant" else _others(blocks, role, where)
        yield from ((where, each) for each in made)


def _assistant(blocks: list[Json], where: str) -> Iterator[Json]:
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": block.get("input")},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    made: Json = {"role": "assistant", "content": joined_text(blocks, f"{where}.content", apart=("tool_use",))}
    if reasoning := reasoning_of({"content": blocks}):
        made[REASONING] = reasoning
    yield made | {"tool_calls": calls} if calls else made


def _others(blocks: list[Json], role: str, where: str) -> Iterator[Json]:
    where = f"{where}.content"
    for n, block in enumerate(blocks):
        if block["type"] == "tool_result":
            place = f"{where}[{n}].content"
            text = joined_text(_blocks(block.get("content") or "", place), place)
            told = text if text or not block.get("is_error") else "Error"
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": told}
    if not blocks or any(block["type"] != "tool_result" for block in blocks):
        yield {"role": role, "content": joined_text(blocks, where, apart=("tool_result",))}


def _blocks(content: object, where: str) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(
        isinstance(b, dict) and isinstance(b.get("type"), str) for b in content
    ):
        raise Refused(f"{where}: expected text or a list of blocks with types", param=where)
    return content


def _format(request: Json) -> Json:
    """Structured outputs, in the field of today or that of the beta before it."""
    config = request.get("output_config")
    if not isinstance(config, dict | None):
        raise Refused("output_config: expected an object", param="output_config")
    where, form = "output_config.format", (config or {}).get("format")
    if form is None:
        where, form = "output_format", request.get("output_format")
    if form is None:
        return {}
    if not isinstance(form, dict) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise Refused(f"{where}: expected a json_schema with its schema", param=where)
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": form["schema"]}}}


def _thinking(request: Json) -> Json:
    """Return how much a model is to think, in the fields that vLLM's own Messages API makes of it."""
    effort = (request.get("output_config") or {}).get("effort")
    made = {} if effort is None else {"reasoning_effort": effort}
    match request.get("thinking"):
        case None | {"type": "adaptive"}:
            return made
        case {"type": "enabled", **rest} if rest.get("budget_tokens") is None:
            return made
        case {"type": "disabled"}:
            return {"reasoning_effort": "none"}
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return made | {"thinking_token_budget": budget}
    raise Refused("thinking: expected enabled with budget_tokens, disabled or adaptive", param="thinking")
