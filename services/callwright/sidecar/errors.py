"""Errors as OpenAI error objects: status, type, `param`, `code` and `Retry-After`.

The only place where an exception becomes an answer. Never shows a request's content.
"""

import json
from collections.abc import Callable
from typing import Any

from callwright.errors import CallwrightError, InvalidInput, Temporary

Json = dict[str, Any]
RETRY_AFTER_SECONDS = 1


class Refused(InvalidInput):
    """A request that breaks the protocol or a limit; `param` names the field."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


class Overloaded(Temporary):
    """More requests than may wait; `retry_after` says for how many seconds at least."""

    http_status = 429
    retry_after = RETRY_AFTER_SECONDS


def error_object(error: CallwrightError) -> Json:
    """Return the body that OpenAI's clients turn into an exception."""
    status = status_of(error)
    return {
        "error": {
            "message": str(error),
            "type": _type(status),
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None),
        }
    }


def error_response(
    error: CallwrightError, shaped: Callable[[Json, int], Json] = lambda error, status: error
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body; `shaped` turns OpenAI's error object into another API's."""
    status = status_of(error)
    body = json.dumps(shaped(error_object(error), status)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (429, 503, 504):
        seconds = getattr(error, "retry_after", RETRY_AFTER_SECONDS)
        headers.append((b"retry-after", str(seconds).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return status, headers, body


def status_of(error: CallwrightError) -> int:
    """Return the HTTP status of `error`."""
    return error.status if isinstance(error, Refused) else error.http_status


def _type(status: int) -> str:
    match status:
        case 401:
            return "authentication_error"
        case 429:
            return "rate_limit_error"
        case 502 | 503 | 504:
            return "engine_unavailable"
        case _ if status < 500:
            return "invalid_request_error"
        case _:
            return "server_error"
