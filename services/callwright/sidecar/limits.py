"""Bounds on what one request may ask of the engine, in any API; the fields bear the names that clients know.

Pure. What a field means beside its size is the engine's, or `chat_request`'s where there are tools.
"""

from typing import Any, TypeGuard

from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused

Json = dict[str, Any]
_FIELDS = frozenset(
    ("messages", "input", "prompt", "prompt_embeds", "n", "best_of", "logprobs", "top_logprobs", "prompt_logprobs",
     "stop", "stop_sequences", "bad_words", "stop_token_ids", "allowed_token_ids", "logit_bias")
)  # fmt: skip


def check_values(body: bytes, config: SidecarConfig) -> None:
    """Raise `Refused` where the body has more values than a request may, before it is read: that takes long at once."""
    if _separators(body) < config.max_values:
        return
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    quotes = plain.count(b'"')
    if quotes > 4 * config.max_values or _separators(b"".join(plain.split(b'"')[::2])) >= config.max_values:
        raise Refused(f"the body has too many values; at most {config.max_values} are allowed", code="invalid_json")


def _separators(text: bytes) -> int:
    """Return how often a value, or the first of several, may begin there."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def check_limits(request: Json, config: SidecarConfig) -> None:
    """Raise `Refused`, naming the field, where `request` asks for more than one request may."""
    for key in sorted(_FIELDS.intersection(request)):
        value = request[key]
        match key:
            case "messages" | "input" if _is_list_of(value, dict):
                _check_length(value, key, config.max_messages)
            case "n" | "best_of":
                _check_count(value, key, 1, config.max_choices)
            case "logprobs" | "top_logprobs" | "prompt_logprobs" if not isinstance(value, bool):
                _check_count(value, key, 0, config.max_logprobs)
            case "stop" | "stop_sequences" | "bad_words":
                _check_stops(value, key, config)
            case "stop_token_ids" | "allowed_token_ids" | "logit_bias":
                _check_length(value, key, config.max_token_ids)
            case "prompt" | "prompt_embeds" | "input" if _is_list_of(value, (str, list)):
                _check_prompts(value, key, request, config)


def _check_stops(value: object, key: str, config: SidecarConfig) -> None:
    texts = [value] if isinstance(value, str) else value
    _check_length(texts, key, config.max_stops)
    for text in texts if isinstance(texts, list) else ():
        if isinstance(text, str) and len(text) > config.max_stop_characters:
            what = f"{key}: got a text of {len(text)} characters; at most {config.max_stop_characters} are allowed"
            raise Refused(what, param=key)


def _check_prompts(prompts: list[Any], key: str, request: Json, config: SidecarConfig) -> None:
    for count in ("n", "best_of"):
        _check_count(request.get(count), count, 1, config.max_choices)
    choices = max(request.get("n") or 1, request.get("best_of") or 1)
    if len(prompts) * choices > config.max_prompts:
        each = f" with {choices} choices each" if choices > 1 else ""
        what = f"{key}: got {len(prompts)}{each}; at most {config.max_prompts} are allowed in all"
        raise Refused(what, param=key)


def _check_count(value: object, key: str, least: int, most: int) -> None:
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise Refused(f"{key}: expected a number from {least} to {most}", param=key)


def _check_length(value: object, key: str, most: int) -> None:
    if isinstance(value, list | dict) and len(value) > most:
        raise Refused(f"{key}: got {len(value)}; at most {most} are allowed", param=key)


def _is_list_of(value: object, kind: type | tuple[type, ...]) -> TypeGuard[list[Any]]:
    """Return whether `value` is a list of `kind`, told by its first: a list of numbers is the tokens of one prompt."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], kind)
