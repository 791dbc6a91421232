"""`Api`: how the clients of one API ask and are answered, and what the APIs share.

Each is a translation in front of chat completions, which are used inside: of its request into a chat request, of a chat
completion or its events into its own. Knows nothing of dialects.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from callwright.dialects.types import REASONING, Part, Text, Thought, ToolCall
from callwright.sidecar import sse
from callwright.sidecar.errors import Refused
from callwright.sidecar.plan import RETRY

Json = dict[str, Any]
SAME_FIELDS = (
    "model", "stream", "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "logit_bias", "ignore_eos", "min_tokens", "stop_token_ids", "skip_special_tokens",
    "include_stop_str_in_output", "structured_outputs", "priority", "cache_salt", "request_id", "vllm_xargs",
    "chat_template_kwargs", "watermarking", "kv_transfer_params", "ec_transfer_params", "session_id", "bad_words",
    "include_reasoning", "thinking_token_budget", "tools_prompt", "eager_tool_calls", RETRY,
)  # fmt: skip
"""Fields that mean the same in every API's request and the engine's own of chat completions."""
_MESSAGE = re.compile(r"((messages\[\d+\])(?:\.tool_calls\[\d+\])?)(?:\.function)?|^messages(?=:|$)")
_TOOL = re.compile(r"^(tools\[\d+\])\.function(\.parameters)?")


class Api(Protocol):
    """One request's side towards its client, from its arrival to its end."""

    @property
    def left_out(self) -> Sequence[str]:
        """What of the request the chat request lacks."""

    @property
    def unknown(self) -> Sequence[str]:
        """The fields among these that the API does not have."""

    @property
    def keep_alive(self) -> bytes:
        """What is sent within a stream when the engine is silent."""

    @property
    def kept(self) -> int:
        """Bytes of the request and of a stream's text that are kept to be told at its end."""

    def earlier(self, request: Json) -> bytes:
        """Return the kept conversation that the request goes on with, as JSON; nothing where there is none."""

    def chat_request(self, request: Json) -> Json | None:
        """Return the chat request, with tools, for the client's; None for one that the engine answers by itself.

        Raises `Refused`.
        """

    def refused(self, error: Refused) -> Refused:
        """Return the refusal of the chat request in terms of the client's."""

    def answer(self, completion: Json, parts: Sequence[Part]) -> Json:
        """Return the client's answer for a chat completion, whose first choice has these parts.

        Raises `LookupError`, `TypeError`, `ValueError` or `AttributeError` for a malformed one.
        """

    def event(self, data: bytes) -> bytes:
        """Return what the client gets for an event of a chat completion's stream, given its data."""

    def error(self, error: Json, status: int) -> Json:
        """Return the client's error for OpenAI's."""

    def error_event(self, error: Json, status: int) -> bytes:
        """Return the same as the end of a stream that has begun; nothing where that has ended with an error."""


def same_fields(request: Json, *, refused: Collection[str], further: Collection[str] = ()) -> Json:
    """Return the fields that mean the same in a chat request, and the `further` ones of this API that do.

    Raises `Refused` for one that is `refused`, unless it is null, false or empty and so asks for nothing.
    """
    for key in refused:
        if request.get(key):
            raise Refused(f"{key}: not served together with tools; leave it out", param=key)
    return {key: request[key] for key in (*SAME_FIELDS, *further) if key in request}


def other_fields(request: Json, *known: Collection[str]) -> list[str]:
    """Return the fields of a request that ask for something and are none of those `known`, nor the same in all APIs."""
    return [
        key
        for key, value in request.items()
        if value is not None and key not in SAME_FIELDS and not any(key in fields for fields in known)
    ]


def renamed_refusal(error: Refused, places: Mapping[str, str], schema: str) -> Refused:
    """Return the refusal of the chat request in the client's terms.

    `places` says where the client has what the chat request has at `messages`, `messages[N]`,
    `messages[N].tool_calls[N]` and `tools[N]`; `schema` is the client's name for a tool's parameters.
    """

    def name(text: str) -> str:
        text = _MESSAGE.sub(lambda m: places.get(m[1] or m[0]) or places.get(m[2], m[0]), text)
        return _TOOL.sub(lambda m: places.get(m[1], m[1]) + (f".{schema}" if m[2] else ""), text)

    return Refused(name(str(error)), param=error.param and name(error.param), code=error.code, status=error.status)


def joined_parts(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield the parts as a stream sends them: text and malformed calls beside each other are one text."""
    said: list[str] = []
    for part in parts:
        if isinstance(part, Thought | ToolCall):
            if said:
                yield Text("".join(said))
            said = []
            yield part
        else:
            said.append(part.text)
    if said:
        yield Text("".join(said))


def reasoning_in(delta: Json) -> str | None:
    """Return the reasoning in a chunk's delta: the dialect's, or what an engine with a reader of its own calls so."""
    return delta.get(REASONING) or delta.get("reasoning")


def parsed_chunk(data: bytes) -> Json:
    """Read a chat completion's chunk; an error for what is none."""
    try:
        found = sse.loads(data)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"error": {"message": "the engine sent an event that is not JSON"}}


def cached_tokens(usage: Json) -> int:
    """Return how many tokens of the prompt were read from the cache, by an OpenAI `usage` object."""
    return (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
