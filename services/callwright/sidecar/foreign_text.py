"""Special tokens and tags in a request that is relayed: broken in what is not the model's own, as with tools.

A field means the same wherever it stands, so one reading holds for all APIs. Pure.
"""

from typing import Any

from callwright.dialects.foreign import Foreign
from callwright.errors import InvalidInput
from callwright.sidecar.errors import Refused

Json = dict[str, Any]
_SYSTEM = ("system", "instructions")
_CONVERSATION = ("messages", "input")
_SHOWN = ("documents", "chat_template_kwargs")
"""What a chat template may show beside the messages."""
_OWN = ("reasoning",)
"""Types of a response's items without a role that are the model's."""


def without_foreign(request: Json, foreign: Foreign) -> Json:
    """Return the request, the very same one where nothing is to be broken. Raises `Refused` for a name."""
    made = {}
    for field in (*_SYSTEM, *_CONVERSATION, *_SHOWN):
        if value := request.get(field):
            try:
                new = _field(field, value, foreign)
            except InvalidInput as error:
                raise Refused(str(error), param=field) from None
            if new is not value:
                made[field] = new
    return request | made if made else request


def _field(field: str, value: Any, foreign: Foreign) -> Any:
    if field in _SHOWN:
        return foreign.value(value)
    if field in _SYSTEM or not isinstance(value, list):
        role = "system" if field in _SYSTEM else "user"
        return _message({"role": role, "content": value}, foreign)["content"]
    made = [_message(each, foreign) if isinstance(each, dict) else each for each in value]
    return value if all(new is old for new, old in zip(made, value, strict=True)) else made


def _message(message: Json, foreign: Foreign) -> Json:
    """Return a message, or another item of a response's input."""
    if message.get("role") == "assistant" or ("role" not in message and message.get("type") in _OWN):
        return message
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    [made], _ = foreign.broken([message], None)
    new_rest = foreign.value(rest)
    return message if made is message and new_rest is rest else {**made, **new_rest}
