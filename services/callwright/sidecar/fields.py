"""The fields of a request to an API in front of chat completions: taken as they are, left out, or refused.

Owns what all such APIs share, and what their clients read where the chat request is refused; what an API translates is
its own.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from callwright.sidecar.problems import Refused
from callwright.sidecar.requests import RETRY

Json = dict[str, Any]
SAME = (
    "model", "stream", "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "logit_bias", "ignore_eos", "min_tokens", "stop_token_ids", "skip_special_tokens",
    "include_stop_str_in_output", "structured_outputs", "priority", "cache_salt", "request_id", "vllm_xargs",
    "chat_template_kwargs", "tools_prompt", "eager_tool_calls", RETRY,
)  # fmt: skip
"""Fields that mean the same in every API's request and the engine's own of chat completions."""
_MESSAGE = re.compile(r"((messages\[\d+\])(?:\.tool_calls\[\d+\])?)(?:\.function)?|^messages(?=:|$)")
_TOOL = re.compile(r"^(tools\[\d+\])\.function(\.parameters)?")


def same(request: Json, others: Collection[str]) -> Json:
    """The fields that mean the same in a chat request.

    Raises `Refused` for a field that is neither such nor among `others`, which the API translates or may leave out;
    one that is null, false or empty asks for nothing.
    """
    for key, value in request.items():
        if value and key not in SAME and key not in others:
            raise Refused(f"{key[:80]}: not served together with tools; leave it out", param=key[:80])
    return {key: request[key] for key in SAME if key in request}


def renamed(error: Refused, places: Mapping[str, str], schema: str) -> Refused:
    """The refusal of the chat request in the client's terms.

    `places` says where the client has what the chat request has at `messages`, `messages[N]` and
    `messages[N].tool_calls[N]`; `schema` is the client's name for a tool's parameters.
    """

    def name(text: str) -> str:
        text = _MESSAGE.sub(lambda m: places.get(m[1] or m[0]) or places.get(m[2], m[0]), text)
        return _TOOL.sub(lambda m: f"{m[1]}.{schema}" if m[2] else m[1], text)

    return Refused(name(str(error)), param=error.param and name(error.param), code=error.code, status=error.status)
