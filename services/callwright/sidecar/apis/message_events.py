"""A chat completion's stream as Anthropic's events: blocks of reasoning, text and calls, one open at a time.

Knows both streams' events; nothing of requests.
"""

from typing import Any

from callwright.sidecar.apis.base import cached_tokens, parsed_chunk, reasoning_in
from callwright.sidecar.sse import DONE, named_event

Json = dict[str, Any]


class MessageEvents:
    """The events of one message. `stops` are the client's stop sequences."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = stops
        self._begun = False
        self.failed = False
        """The engine has sent an error, after which nothing follows."""
        self._index = -1
        self._open: str | int | None = None
        self._ended: tuple[object, object] = (None, None)
        self._usage: object = None
        self._malformed: list[Json] = []

    def feed(self, data: bytes) -> bytes | Json:
        """Return the events for one of the chat completion's, or the error that it is."""
        if self.failed:
            return b""
        if data == DONE:
            return self._end()
        chunk = parsed_chunk(data)
        if "choices" not in chunk:
            self.failed = True
            return chunk
        self._usage = chunk.get("usage") or self._usage
        out = b"" if self._begun else self._begin(chunk)
        for choice in chunk["choices"]:
            delta = choice["delta"]
            if text := reasoning_in(delta):
                out += self._block("thinking", thinking("")) if self._open != "thinking" else b""
                out += self._delta({"type": "thinking_delta", "thinking": text})
            if text := delta.get("content"):
                out += self._block("text", {"type": "text", "text": ""}) if self._open != "text" else b""
                out += self._delta({"type": "text_delta", "text": text})
            for call in delta.get("tool_calls") or ():
                out += self._call(call)
            self._malformed += delta.get("malformed_tool_calls") or ()
            if choice.get("finish_reason"):
                self._ended = choice["finish_reason"], choice.get("stop_reason")
        return out

    def _begin(self, chunk: Json) -> bytes:
        self._begun = True
        counted = usage(self._usage) | {"output_tokens": 0}
        message = head(chunk) | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": counted}
        return named_event("message_start", {"type": "message_start", "message": message})

    def _call(self, call: Json) -> bytes:
        function, out = call["function"], b""
        if "id" in call:
            block = {"type": "tool_use", "id": call["id"], "name": function["name"], "input": {}}
            out = self._block(call["index"], block)
        if function.get("arguments"):
            out += self._delta({"type": "input_json_delta", "partial_json": function["arguments"]})
        return out

    def _block(self, kind: str | int, block: Json) -> bytes:
        out = self._close()
        self._index += 1
        self._open = kind
        begun = {"type": "content_block_start", "index": self._index, "content_block": block}
        return out + named_event("content_block_start", begun)

    def _delta(self, delta: Json) -> bytes:
        return named_event("content_block_delta", {"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        # Clients give a block of reasoning back once they have seen its signature, if only an empty one.
        signed = self._delta({"type": "signature_delta", "signature": ""}) if self._open == "thinking" else b""
        self._open = None
        return signed + named_event("content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _end(self) -> bytes:
        told: Json = {"type": "message_delta", "delta": stop(*self._ended, self._stops), "usage": usage(self._usage)}
        if self._malformed:
            told["malformed_tool_calls"] = self._malformed
        return (
            self._close() + named_event("message_delta", told) + named_event("message_stop", {"type": "message_stop"})
        )


def thinking(text: str) -> Json:
    """Return a block of reasoning; nothing is signed here."""
    return {"type": "thinking", "thinking": text, "signature": ""}


def head(completion: Json) -> Json:
    """Return what a message says of itself, for a chat completion or a chunk of one."""
    made = str(completion.get("id", "")).removeprefix("chatcmpl-")
    return {"id": f"msg_{made}", "type": "message", "role": "assistant", "model": completion.get("model")}


def stop(finish: object, matched: object, stops: list[str]) -> Json:
    """Return why a message ended. `matched` is the stop string that vLLM reports, one of the dialect's maybe."""
    if finish == "stop" and isinstance(matched, str) and matched in stops:
        return {"stop_reason": "stop_sequence", "stop_sequence": matched}
    reasons = {"length": "max_tokens", "tool_calls": "tool_use"}
    return {"stop_reason": reasons.get(str(finish), "end_turn"), "stop_sequence": None}


def usage(counted: object) -> Json:
    """Return Anthropic's usage for OpenAI's, whose prompt includes what was read from the cache."""
    counted = counted if isinstance(counted, dict) else {}
    cached = cached_tokens(counted)
    return {
        "input_tokens": (counted.get("prompt_tokens") or 0) - cached,
        "output_tokens": counted.get("completion_tokens") or 0,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }
