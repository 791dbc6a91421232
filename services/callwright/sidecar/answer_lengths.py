"""How long an answer may be: where a request says nothing, and where it asks for more than the context holds.

Pure: knows the field of each API's request; nothing of HTTP.
"""

from typing import Any

from callwright.sidecar.sse import dumps, loads

Json = dict[str, Any]
_FIELDS = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/messages": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
"""Where each API's request says it; the first is where a default is written."""
_CLAMPED = ("/v1/messages", "/v1/responses")
"""APIs whose clients ask for as much as their own models can write, and take what there is."""
_SHORT = 1024
"""Tokens for which every context has room."""


def is_long(request: Json, path: str, most: int = _SHORT) -> bool:
    """Return whether a request of a client that takes what there is asks for more than `most` tokens."""
    asked = request.get(_FIELDS[path][0]) if path in _CLAMPED else None
    return isinstance(asked, int) and asked > most


def clamp(request: Json, path: str, most: int | None) -> bool:
    """Make an answer no longer than `most`, the context, of which the engine takes off the prompt; returns whether."""
    if most is None or not is_long(request, path, most):
        return False
    request[_FIELDS[path][0]] = most
    return True


def give_default(request: Json, path: str, default: int | None) -> bool:
    """Write the default into a request that says nothing, if there is one; returns whether it was written."""
    fields = _FIELDS.get(path, ())
    if default is None or not fields or any(request.get(field) is not None for field in fields):
        return False
    request[fields[0]] = default
    return True


def without_length(body: bytes) -> bytes:
    """Return a chat request, given as bytes, whose answer may be as long as there is room for."""
    fields = _FIELDS["/v1/chat/completions"]
    return dumps({key: value for key, value in loads(body).items() if key not in fields})
