"""`ChatCompletions`: OpenAI's `/v1/chat/completions`, in which nearly everything stays as it is.

Custom tools are functions inside; fields that ask for what is not text are refused, those without an effect left out.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from callwright.dialects.types import Part
from callwright.sidecar import chat_request, sse
from callwright.sidecar.apis.base import other_fields, parsed_chunk
from callwright.sidecar.apis.custom_tools import custom_function, read_input, written_input
from callwright.sidecar.errors import Refused

Json = dict[str, Any]
_KNOWN = (
    "messages", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "n", "stop", "max_tokens",
    "max_completion_tokens", "stream_options", "response_format", "logprobs", "top_logprobs", "user", "modalities",
    "audio", "reasoning_effort",
)  # fmt: skip
_ENGINES = (
    "add_generation_prompt", "add_special_tokens", "allowed_token_ids", "best_of", "chat_template",
    "continue_final_message", "documents", "echo", "guided_choice", "guided_decoding_backend", "guided_grammar",
    "guided_json", "guided_regex", "guided_whitespace_pattern", "length_penalty", "logits_processors",
    "logprob_token_ids", "media_io_kwargs", "mm_payload", "mm_processor_kwargs", "prompt_logprobs",
    "repetition_detection", "return_mm_kwargs", "return_prompt_text", "return_token_ids", "return_token_offsets",
    "return_tokens_as_token_ids", "routed_experts_prompt_start", "spaces_between_special_tokens", "stream_interval",
    "truncate_prompt_tokens", "truncation_side", "use_beam_search",
)  # fmt: skip
"""Fields of vLLM's own."""
_WITHOUT_EFFECT = (
    "metadata", "moderation", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "safety_identifier", "service_tier", "store", "verbosity", "web_search_options",
)  # fmt: skip
"""Fields that change no answer of an engine."""

_SPEAKERS = ("system", "developer", "user", "assistant")
"""Roles whose names no chat template shows; a result's is its call's."""


class ChatCompletions:
    """OpenAI's chat completions, for one request."""

    keep_alive = sse.KEEP_ALIVE

    def __init__(self) -> None:
        self.kept = 0
        self.left_out: list[str] = []
        self.unknown: list[str] = []
        self._custom: set[str] = set()
        """Names of custom tools."""
        self._places: dict[str, str] = {}
        """Where the request has what the chat request has at `tools[N].function`."""
        self._inputs: dict[tuple[int, int], list[str]] = {}
        """Arguments so far of calls of these in a stream, by choice and call."""

    def earlier(self, request: Json) -> bytes:
        """Return nothing: no conversation is kept."""
        return b""

    def chat_request(self, request: Json) -> Json | None:
        """Return the request itself, without what has no effect; None for one that the engine answers by itself."""
        if not chat_request.needs_dialect(request):
            chat_request.check_without_tools(request)
            return None
        _check_text_only(request)
        chat_request.check_legacy(request)
        self.unknown = other_fields(request, _KNOWN, _ENGINES, _WITHOUT_EFFECT)
        self.left_out = [key for key in _WITHOUT_EFFECT if request.get(key) is not None]
        made = {key: value for key, value in request.items() if key not in _WITHOUT_EFFECT}
        if isinstance(tools := made.get("tools"), list):
            made["tools"] = [self._function(tool, f"tools[{n}]") for n, tool in enumerate(tools)]
            self._check_names(made["tools"], tools)
        if isinstance(messages := made.get("messages"), list):
            made["messages"] = list(map(_with_functions, messages))
            if any(isinstance(m, dict) and m.get("name") and m.get("role") in _SPEAKERS for m in messages):
                self.left_out.append("messages.name")
        if "tool_choice" in made:
            made["tool_choice"] = _choice(made["tool_choice"])
        return made

    def _function(self, tool: Any, where: str) -> Any:
        if not isinstance(tool, dict) or tool.get("type") != "custom":
            return tool
        custom = tool.get("custom", tool)
        if not isinstance(custom, dict) or not isinstance(custom.get("name"), str):
            raise Refused(f"{where}.custom.name: expected a name of one line", param=f"{where}.custom.name")
        function, is_told = custom_function(custom, f"{where}.custom")
        if is_told:
            self.left_out.append(f"{where}.custom.format")
        self._custom.add(custom["name"])
        self._places[f"{where}.function"] = f"{where}.custom"
        return {"type": "function", "function": function}

    def _check_names(self, tools: list[Any], given: list[Any]) -> None:
        for n, (tool, as_given) in enumerate(zip(tools, given, strict=True)):
            function = tool.get("function", tool) if tool is as_given and isinstance(tool, dict) else None
            name = function.get("name") if isinstance(function, dict) else None
            if isinstance(name, str) and name in self._custom:
                told = f"got {name[:80]!r} twice, of a function and a custom tool; expected a name for each"
                raise Refused(f"tools[{n}].function.name: {told}", param=f"tools[{n}].function.name")

    def refused(self, error: Refused) -> Refused:
        """Return the refusal itself, with the names that custom tools' fields have."""
        told, param = str(error), error.param or ""
        for ours, theirs in self._places.items():
            told, param = told.replace(ours, theirs), param.replace(ours, theirs)
        return Refused(told, param=param or error.param, code=error.code, status=error.status)

    def answer(self, completion: Json, parts: Sequence[Part]) -> Json:
        """Return the completion itself, with calls of custom tools as such."""
        for choice in completion["choices"] if self._custom else ():
            if calls := choice["message"].get("tool_calls"):
                choice["message"]["tool_calls"] = [self._called(call) for call in calls]
        return completion

    def _called(self, call: Json) -> Json:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        if name not in self._custom:
            return call
        return {"id": call["id"], "type": "custom", "custom": {"name": name, "input": read_input(arguments)}}

    def event(self, data: bytes) -> bytes:
        """Return the event itself, with calls of custom tools as such: their input comes when it is whole."""
        if not self._custom or (not self._inputs and b'"tool_calls"' not in data):
            return sse.event(data)
        chunk = parsed_chunk(data)
        choices = chunk.get("choices")
        if data == sse.DONE or not choices:
            return sse.event(data)
        shown = [choice for choice in choices if self._show(choice)]
        return sse.event(sse.dumps(chunk | {"choices": shown})) if shown else b""

    def _show(self, choice: Json) -> bool:
        """Rewrite the calls of a chunk's choice; returns whether anything is left of it."""
        number, delta = choice["index"], choice["delta"]
        calls: list[Json] = []
        for call in delta.pop("tool_calls", None) or ():
            key, function = (number, call["index"]), call["function"]
            if "id" in call:
                calls += self._whole(number)
            if function.get("name") in self._custom:
                self._inputs[key] = []
                custom = {"name": function["name"], "input": ""}
                calls.append({"index": call["index"], "id": call["id"], "type": "custom", "custom": custom})
            if key in self._inputs:
                self._inputs[key].append(function.get("arguments") or "")
                self.kept += len(self._inputs[key][-1])
            else:
                calls.append(call)
        if choice.get("finish_reason"):
            calls += self._whole(number)
        if calls:
            delta["tool_calls"] = calls
        return bool(delta or choice.get("finish_reason"))

    def _whole(self, number: int) -> Iterator[Json]:
        """Yield the input of the choice's call that has ended, where there is one."""
        for key in [key for key in self._inputs if key[0] == number]:
            arguments = "".join(self._inputs.pop(key))
            self.kept -= len(arguments)
            yield {"index": key[1], "custom": {"input": read_input(arguments)}}

    def error(self, error: Json, status: int) -> Json:
        """Return the error itself."""
        return error

    def error_event(self, error: Json, status: int) -> bytes:
        """Return the error as an event. No `[DONE]`: to many clients that means a whole answer."""
        return sse.event(sse.dumps(error))


def _check_text_only(request: Json) -> None:
    """Raise `Refused` for an answer that is not to be text alone."""
    if request.get("audio"):
        raise Refused("audio: only text goes together with tools; leave it out", param="audio")
    modalities = request.get("modalities")
    if modalities is not None and modalities != ["text"]:
        got = f"got {str(modalities)[:40]}"
        raise Refused(f"modalities: {got}; only text goes together with tools", param="modalities")


def _with_functions(message: Any) -> Any:
    """Return a message whose calls of custom tools are those of functions."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(calls, list) or not any(isinstance(call, dict) and "custom" in call for call in calls):
        return message
    return message | {"tool_calls": list(map(_function_call, calls))}


def _function_call(call: Any) -> Any:
    match call:
        case {"custom": {"name": name, **rest}}:
            function = {"name": name, "arguments": written_input(rest.get("input"))}
            return {"id": call.get("id"), "type": "function", "function": function}
    return call


def _choice(choice: Any) -> Any:
    """Return `tool_choice` with the name of a custom tool as a function's."""
    match choice:
        case {"type": "custom", **custom}:
            return {"type": "function", "function": custom.get("custom", custom)}
        case {"type": "allowed_tools", "allowed_tools": {"tools": list(tools)} as allowed}:
            return choice | {"allowed_tools": allowed | {"tools": list(map(_choice, tools))}}
        case {"type": "allowed_tools", "tools": list(tools)}:
            return choice | {"tools": list(map(_choice, tools))}
    return choice
