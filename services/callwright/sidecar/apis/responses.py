"""`Responses`: OpenAI's `/v1/responses` as a translation in front of chat completions.

Owns that API's requests; its answers are in `callwright.sidecar.apis.response_events`. Text and functions only, and
the whole conversation comes as `input`, unless conversations are kept here. What else it asks for is refused.
"""

import json
from collections.abc import Sequence
from typing import Any

from callwright.dialects.messages import reasoning_of
from callwright.dialects.types import REASONING, Part
from callwright.sidecar.apis.base import other_fields, renamed_refusal, same_fields
from callwright.sidecar.apis.custom_tools import written_input
from callwright.sidecar.apis.response_events import REPLAYED, ResponseEvents, echoed, replayed, response
from callwright.sidecar.apis.response_tools import ResponseTools
from callwright.sidecar.apis.stored import StoredResponses
from callwright.sidecar.chat_request import joined_text
from callwright.sidecar.errors import Refused
from callwright.sidecar.sse import DONE, KEEP_ALIVE, dumps, named_event

Json = dict[str, Any]
_CALLABLE = ("function", "custom", "namespace")
_CALLS = ("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output")
_SAME = ("parallel_tool_calls", "stop", "user")
_LOGPROBS = "message.output_text.logprobs"
_STORED = ("conversation", "prompt", "background")
_READ = (
    "input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "previous_response_id",
    "conversation", "prompt", "include",
)  # fmt: skip
_WITHOUT_EFFECT = (
    "background", "client_metadata", "context_management", "max_tool_calls", "metadata", "moderation",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store",
    "stream_options", "truncation",
)  # fmt: skip
"""Fields that change no answer of an engine."""
_NOT_FOUND = "previous_response_not_found"
_REFUSED = ("top_logprobs", "previous_input_messages", "enable_response_messages")
"""Fields of the engine's that ask for what is not translated."""


class Responses:
    """OpenAI's Responses API, for one request."""

    keep_alive = KEEP_ALIVE

    def __init__(self, stored: StoredResponses | None = None) -> None:
        self._stored = stored or StoredResponses()
        self._id: str | None = None
        """Of a response that is to be kept."""
        self._items: list[Json] = []
        """The conversation up to the response."""
        self.left_out: list[str] = []
        self.unknown: list[str] = []
        self._request: Json = {}
        self._echoed = 0
        self._tools = ResponseTools()
        self._places: dict[str, str] = {"messages": "input"}
        self._events: ResponseEvents | None = None

    @property
    def kept(self) -> int:
        """What the response tells of its request, and the text, which is told once more at the end."""
        return self._echoed + (self._events.kept if self._events else 0)

    def earlier(self, request: Json) -> bytes:
        """Return the kept conversation of `previous_response_id`, and the kept items that others refer to."""
        referred = (self._stored.item(item_id) for item_id in _references(request.get("input")).values())
        return b",".join(filter(None, (self._stored.written(request.get("previous_response_id")), *referred)))

    def chat_request(self, request: Json) -> Json | None:
        """Return the chat request, where there are functions or calls and results of such. Raises `Refused`."""
        earlier = self._stored.get(previous := request.get("previous_response_id"))
        has_tools = _has_type(request.get("tools"), *_CALLABLE) or _has_type(request.get("input"), *_CALLS)
        if not has_tools and not self.earlier(request):
            return None
        if previous and earlier is None:
            told = "no such response is stored here; send the whole conversation as input"
            raise Refused(f"previous_response_id: {told}", param="previous_response_id", code=_NOT_FOUND)
        for key in _STORED:
            if request.get(key):
                raise Refused(f"{key}: nothing is stored here; send the whole conversation as input", param=key)
        self._items = [*(earlier or ()), *self._referred(_items(request.get("input")))]
        if request.get("store") is not False:
            self._id = self._id or self._stored.new_id()
        self._request = echoed(request) | {"id": self._id, "store": self._id is not None}
        self._request["include"] = include = request.get("include")
        self._echoed = len(dumps(self._request)) + (len(dumps(self._items)) if earlier or self._id else 0)
        self._tools = ResponseTools(request.get("tools"))
        self._places |= self._tools.places
        if isinstance(include, list) and _LOGPROBS in include:
            raise Refused("include: log probabilities are not served together with functions", param="include")
        made = same_fields(request, refused=_REFUSED, further=_SAME)
        self.left_out = [*self._tools.left_out, *other_fields(request, _READ, _SAME, _REFUSED)]
        if isinstance(include, list):
            self.left_out += [f"include[{n}]" for n, asked in enumerate(include) if asked != REPLAYED]
        if isinstance(text := request.get("text"), dict):
            self.left_out += [f"text.{key}" for key in text if key != "format" and text[key] is not None]
        self.unknown = other_fields(request, _READ, _SAME, _REFUSED, _WITHOUT_EFFECT)
        made["messages"] = self._messages(request, len(earlier or ()))
        made["tools"] = self._tools.functions
        made |= self._tools.choice(request.get("tool_choice")) | _format(request.get("text"))
        if not isinstance(reasoning := request.get("reasoning"), dict | None):
            raise Refused("reasoning: expected an object", param="reasoning")
        if reasoning and reasoning.get("effort") is not None:
            made["reasoning_effort"] = reasoning["effort"]
        if request.get("max_output_tokens") is not None:
            made["max_completion_tokens"] = request["max_output_tokens"]
        if request.get("stream"):
            made["stream_options"] = {"include_usage": True}
        return made

    def _referred(self, items: list[Any]) -> list[Any]:
        """Return the items, with those that are kept in place of what refers to them. Raises `Refused`."""
        made = items.copy()
        for n, item_id in _references(items).items():
            if not (written := self._stored.item(item_id)):
                why = f"no item {item_id[:80]!r} is stored here; ask with store false, send items whole"
                raise Refused(f"input[{n}]: {why}", param=f"input[{n}]")
            made[n] = json.loads(written)
        return made

    def _messages(self, request: Json, earlier: int) -> list[Json]:
        """Return the chat request's messages; the first `earlier` items are not the request's own."""
        made = _instructions(request.get("instructions"))
        if made:
            self._places["messages[0]"] = "instructions"
        for n, item in enumerate(self._items, start=-earlier):
            where = f"input[{n}]"
            _add(item, made, where, self._tools)
            for place in _places(made):
                self._places.setdefault(place, where)
        return made

    def refused(self, error: Refused) -> Refused:
        """Return the refusal of the chat request in this API's terms."""
        return renamed_refusal(error, self._places, "parameters")

    def answer(self, completion: Json, parts: Sequence[Part]) -> Json:
        """Return the response."""
        made = response(self._request, completion, parts, self._tools)
        self._keep(made["output"])
        return made

    def event(self, data: bytes) -> bytes:
        """Return the events for one of the chat completion's."""
        if self._events is None:
            self._events = ResponseEvents(self._request, self._tools)
        made = self._events.feed(data)
        if data == DONE and not self._events.failed:
            self._keep(self._events.output)
        return made

    def _keep(self, output: list[Json]) -> None:
        if self._id is not None:
            self._stored.put(self._id, self._items, output)

    def error(self, error: Json, status: int) -> Json:
        """Return the error itself: the shape is the same."""
        return error

    def error_event(self, error: Json, status: int) -> bytes:
        """Return the failure of the response, or an error where none has begun."""
        if self._events is not None:
            return self._events.fail(error)
        told = {key: error["error"].get(key) for key in ("code", "message", "param")}
        return named_event("error", {"type": "error", "sequence_number": 0} | told)


def _items(items: object) -> list[Any]:
    if isinstance(items, list):
        return items
    if not isinstance(items, str):
        raise Refused("input: expected text or a list of items", param="input")
    return [{"role": "user", "content": items}]


def _references(items: object) -> dict[int, str]:
    """Return the ids of the items that are referred to, by their place. Raises `Refused` for one that is twice."""
    found: dict[str, int] = {}
    for n, item in enumerate(items if isinstance(items, list) else ()):
        is_one = isinstance(item, dict) and item.get("type") == "item_reference"
        if is_one and found.setdefault(str(item.get("id")), n) != n:
            raise Refused(f"input[{n}]: got a second reference to the same item; expected one", param=f"input[{n}]")
    return {n: item_id for item_id, n in found.items()}


def _has_type(items: object, *kinds: str) -> bool:
    return isinstance(items, list) and any(isinstance(item, dict) and item.get("type") in kinds for item in items)


def _instructions(text: object) -> list[Json]:
    if not isinstance(text, str | None):
        raise Refused("instructions: expected text", param="instructions")
    return [{"role": "system", "content": text}] if text else []


def _places(made: list[Json]) -> list[str]:
    """Return where the chat request has what was added last."""
    message, calls = f"messages[{len(made) - 1}]", made[-1].get("tool_calls") if made else None
    return [message, f"{message}.tool_calls[{len(calls) - 1}]"] if calls else [message]


def _add(item: object, made: list[Json], where: str, tools: ResponseTools) -> None:
    if not isinstance(item, dict):
        raise Refused(f"{where}: expected an item, an object", param=where)
    called = made[-1] if made and made[-1]["role"] == "assistant" else None
    match item.get("type") or "message":
        case "message" if item.get("role") in ("user", "assistant", "system", "developer"):
            text = _text(item.get("content"), f"{where}.content")
            goes_on = called and (called.get("tool_calls") or called["content"] is None)
            if item["role"] == "assistant" and called and goes_on:  # one turn is several items
                _say_more(called, text)
            else:
                made.append({"role": item["role"], "content": text})
        case "message":
            raise Refused(f"{where}.role: expected user, assistant, system or developer", param=f"{where}.role")
        case "function_call" | "custom_tool_call" as kind:
            arguments = item.get("arguments") if kind == "function_call" else written_input(item.get("input"))
            function = {"name": tools.name_of(item), "arguments": arguments}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            if called is None:
                made.append(called := {"role": "assistant", "content": None})
            called.setdefault("tool_calls", []).append(call)
        case "function_call_output" | "custom_tool_call_output":
            text = _text(item.get("output"), f"{where}.output")
            made.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
        case "reasoning":
            if reasoning := reasoning_of(item) or replayed(item):
                if called is None:
                    made.append(called := {"role": "assistant", "content": None})
                called[REASONING] = "\n".join(filter(None, (called.get(REASONING), reasoning)))
        case _:
            raise Refused(f"{where}.type: only messages and function calls go with functions", param=f"{where}.type")


def _say_more(message: Json, text: str) -> None:
    """Add text on a line of its own, as parsers part it; in a stream the line end has been sent already."""
    said = message["content"]
    if not isinstance(said, list):
        said = message["content"] = [said] if said else []
    if text:
        parted = not said or said[-1].endswith("\n") or text[0] in "\r\n"
        said.append(text if parted else f"\n{text}")


def _text(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refused(f"{where}: expected text or a list of parts", param=where)
    return joined_text(content, where)


def _format(text: object) -> Json:
    if not isinstance(text, dict | None):
        raise Refused("text: expected an object", param="text")
    match (text or {}).get("format"):
        case None:
            return {}
        case {"type": "text" | "json_object"} as form:
            return {"response_format": form}
        case {"type": "json_schema"} as form:
            schema = {key: form[key] for key in ("name", "description", "schema", "strict") if key in form}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
    raise Refused("text.format.type: expected text, json_object or json_schema", param="text.format")
