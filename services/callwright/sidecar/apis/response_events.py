"""A chat completion as a response of OpenAI's Responses API: whole, or as that API's events, one open item at a time.

Knows both sides' objects; nothing of HTTP.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from callwright.dialects.types import Part, Thought, ToolCall
from callwright.sidecar.apis.base import cached_tokens, joined_parts, parsed_chunk, reasoning_in
from callwright.sidecar.apis.custom_tools import read_input
from callwright.sidecar.apis.response_tools import ResponseTools
from callwright.sidecar.sse import DONE, named_event

Json = dict[str, Any]
_ECHOED: Json = {
    "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0, "store": False,
    "previous_response_id": None,
}  # fmt: skip


def response(request: Json, completion: Json, parts: Sequence[Part], tools: ResponseTools) -> Json:
    """Return the response for a whole chat completion, its items in the order in which a stream has them."""
    choice = completion["choices"][0]
    message = choice["message"]
    status = "incomplete" if choice.get("finish_reason") == "length" else "completed"
    output = [_whole(part, tools, request) for part in joined_parts(parts)]
    if output:
        output[-1]["status"] = status
    made = _head(request, completion) | _end(status) | {"output": output, "usage": _usage(completion.get("usage"))}
    if malformed := message.get("malformed_tool_calls"):
        made["malformed_tool_calls"] = malformed
    return made


_PARTS = {"message": "output_text", "reasoning": "reasoning_text"}
"""The type of the part that each item of text has."""
_LOGPROBS: dict[str, Json] = {"message": {"logprobs": []}, "reasoning": {}}
REPLAYED = "reasoning.encrypted_content"
"""What of `include` asks for reasoning that a client gives back without reading it."""
_REPLAY = "callwright:"
"""What stands before it. Nothing is encrypted: it is the client's own already."""
_STRING_BYTES = 64
"""What a string takes beside its text."""


class ResponseEvents:
    """The events of one response."""

    def __init__(self, request: Json, tools: ResponseTools) -> None:
        self._request, self._tools = request, tools
        self._head: Json | None = None
        self._count = 0
        self.output: list[Json] = []
        """The items that are whole."""
        self._item: Json | None = None
        self._text: list[str] = []
        self.kept = 0
        """Bytes of text that are kept for the end."""
        self._finish: object = None
        self._usage: object = None
        self._malformed: list[Json] = []
        self.failed = False
        """The response has ended with an error, after which nothing follows."""

    def feed(self, data: bytes) -> bytes:
        """Return the events for one of the chat completion's."""
        if self.failed:
            return b""
        if data == DONE:
            return self._ended()
        chunk = parsed_chunk(data)
        if "choices" not in chunk:
            return self.fail(chunk)
        out = b"" if self._head else self._begin(chunk)
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            if text := reasoning_in(delta):
                out += self._say(text, "reasoning")
            if text := delta.get("content"):
                out += self._say(text, "message")
            for call in delta.get("tool_calls") or ():
                out += self._call(call)
            self._malformed += delta.get("malformed_tool_calls") or ()
            self._finish = choice.get("finish_reason") or self._finish
        return out

    def fail(self, error: Json) -> bytes:
        """Return the end of a response that went wrong; nothing where it has failed before."""
        if self.failed:
            return b""
        self.failed = True
        told = error.get("error")
        message = str(told.get("message") if isinstance(told, dict) else told or error.get("message"))
        if self._head is None:
            return self._event("error", code="server_error", message=message, param=None)
        wrong = {"status": "failed", "error": {"code": "server_error", "message": message}, "output": self.output}
        return self._event("response.failed", response=self._head | wrong)

    def _begin(self, chunk: Json) -> bytes:
        self._head = _head(self._request, chunk)
        return self._event("response.created", response=self._head) + self._event(
            "response.in_progress", response=self._head
        )

    def _say(self, text: str, kind: str) -> bytes:
        out = b""
        if self._item is None or self._item["type"] != kind:
            out = self._open(_says(kind, "in_progress", []))
            out += self._item_event("response.content_part.added", content_index=0, part=_part(kind, ""))
        self._keep(text)
        if kind == "reasoning" and _is_replayed(self._request):
            self.kept += len(text)
        return out + self._item_event(f"response.{_PARTS[kind]}.delta", content_index=0, delta=text, **_LOGPROBS[kind])

    def _keep(self, text: str) -> None:
        self._text.append(text)
        self.kept += len(text) + _STRING_BYTES

    def _call(self, call: Json) -> bytes:
        out = b""
        if "id" in call:
            out = self._open(_call(call["id"], self._tools.call(call["function"]["name"]), "in_progress", ""))
        if arguments := call["function"].get("arguments"):
            self._keep(arguments)
            if self._item and self._item["type"] == "function_call":
                out += self._item_event("response.function_call_arguments.delta", delta=arguments)
        return out

    def _open(self, item: Json) -> bytes:
        out = self._close("completed")
        self._item, self._text = item, []
        return out + self._event("response.output_item.added", output_index=len(self.output), item=item)

    def _close(self, status: str) -> bytes:
        if self._item is None:
            return b""
        text, item = "".join(self._text), self._item | {"status": status}
        if (kind := item["type"]) in _PARTS:
            item |= _said(kind, text, self._request)
            out = self._item_event(f"response.{_PARTS[kind]}.done", content_index=0, text=text, **_LOGPROBS[kind])
            out += self._item_event("response.content_part.done", content_index=0, part=_part(kind, text))
        elif kind == "custom_tool_call":  # what stands in its arguments is known now
            item["input"] = read_input(text)
            out = self._item_event("response.custom_tool_call_input.delta", delta=item["input"])
            out += self._item_event("response.custom_tool_call_input.done", input=item["input"])
        else:
            item["arguments"] = text
            out = self._item_event("response.function_call_arguments.done", name=item["name"], arguments=text)
        out += self._event("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        self._item = None
        return out

    def _ended(self) -> bytes:
        status = "incomplete" if self._finish == "length" else "completed"
        out = self._close(status)
        made = (self._head or {}) | _end(status) | {"output": self.output, "usage": _usage(self._usage)}
        if self._malformed:
            made["malformed_tool_calls"] = self._malformed
        return out + self._event(f"response.{status}", response=made)

    def _item_event(self, kind: str, **fields: Any) -> bytes:
        assert self._item is not None
        return self._event(kind, item_id=self._item["id"], output_index=len(self.output), **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._count += 1
        return named_event(kind, {"type": kind, "sequence_number": self._count - 1, **fields})


def echoed(request: Json) -> Json:
    """Return what of a request its response tells again."""
    return {key: request[key] for key in _ECHOED if request.get(key) is not None}


def _head(request: Json, completion: Json) -> Json:
    """Return a response that has begun, for a chat completion or a chunk of one."""
    told = {key: request.get(key, default) for key, default in _ECHOED.items()}
    made = str(completion.get("id", "")).removeprefix("chatcmpl-")
    return told | {
        "id": request.get("id") or f"resp_{made}", "object": "response", "status": "in_progress",
        "created_at": completion.get("created", 0),
        "model": completion.get("model"), "output": [], "error": None, "incomplete_details": None, "usage": None,
        "background": False, "truncation": "disabled",
        "reasoning": {"effort": None, "summary": None},
    }  # fmt: skip


def _end(status: str) -> Json:
    return {
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
    }


def _whole(part: Part, tools: ResponseTools, request: Json) -> Json:
    match part:
        case ToolCall(call_id, name, arguments):
            return _call(call_id, tools.call(name), "completed", arguments)
        case _:
            kind = "reasoning" if isinstance(part, Thought) else "message"
            return _says(kind, "completed", []) | _said(kind, part.text, request)


def _says(kind: str, status: str, content: list[Json]) -> Json:
    """Return an item of text, or of reasoning."""
    if kind == "reasoning":
        made = f"rs_{secrets.token_hex(12)}"
        return {"id": made, "type": kind, "status": status, "summary": [], "content": content}
    made = f"msg_{secrets.token_hex(12)}"
    return {"id": made, "type": kind, "role": "assistant", "status": status, "content": content}


def _said(kind: str, text: str, request: Json) -> Json:
    """Return what an item has of its text, of reasoning twice where the request includes it for a client's replay."""
    replay = {"encrypted_content": _REPLAY + text} if kind == "reasoning" and _is_replayed(request) else {}
    return {"content": [_part(kind, text)]} | replay


def _is_replayed(request: Json) -> bool:
    include = request.get("include")
    return isinstance(include, list) and REPLAYED in include


def replayed(item: Json) -> str:
    """Return the reasoning that a client gives back unread; empty for another server's."""
    text = item.get("encrypted_content")
    return text.removeprefix(_REPLAY) if isinstance(text, str) and text.startswith(_REPLAY) else ""


def _part(kind: str, text: str) -> Json:
    return {"type": _PARTS[kind], "text": text} | ({} if kind == "reasoning" else {"annotations": [], "logprobs": []})


def _call(call_id: str, called: Json, status: str, arguments: str) -> Json:
    """Return an item of a call; `called` says which tool is called, and how."""
    made = {"status": status, "call_id": call_id, **called}
    if called["type"] == "custom_tool_call":
        return {"id": f"ctc_{secrets.token_hex(12)}", **made, "input": read_input(arguments)}
    return {"id": f"fc_{secrets.token_hex(12)}", **made, "arguments": arguments}


def _usage(counted: object) -> Json:
    counted = counted if isinstance(counted, dict) else {}
    cached = cached_tokens(counted)
    return {
        "input_tokens": counted.get("prompt_tokens") or 0,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": counted.get("completion_tokens") or 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted.get("total_tokens") or 0,
    }
