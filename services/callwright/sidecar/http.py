"""The ASGI side: reading a bounded body, sending, and noticing a client that has gone.

Written against plain ASGI: Starlette's streaming response costs several times as much for each chunk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from callwright.sidecar.problems import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host"
    b" content-length expect authorization x-api-key accept-encoding".split()
)
_NOT_RETURNED = _HOP_BY_HOP - {b"content-length"}


class ClientGone(Exception):  # noqa: N818 — it is no error
    """The client has closed its connection."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request's body. Raises `Refused` when it is longer than `limit`, `ClientGone` when it breaks off."""
    if (
        (declared := find(scope["headers"], b"content-length")) is not None
        and declared.isdigit()
        and int(declared) > limit
    ):
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    chunks = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks += message.get("body", b"")
        if len(chunks) > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return bytes(chunks)
        message = await receive()


def request_headers(scope: Scope, ours: Headers) -> Headers:
    """The headers to send on: none that belongs to the connection or is the sidecar's own, and `ours` for theirs."""
    dropped = _HOP_BY_HOP.union([name for name, _ in ours]) if ours else _HOP_BY_HOP
    return [pair for pair in scope["headers"] if pair[0] not in dropped] + ours


def response_headers(headers: Headers) -> Headers:
    """The engine's headers for the client: none that belongs to the connection, its length excepted."""
    return [pair for pair in headers if pair[0] not in _NOT_RETURNED]


def target(scope: Scope) -> str:
    """Path and query as the client wrote them."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return (path + b"?" + query if query else path).decode("latin-1")


def header(scope: Scope, name: bytes) -> str | None:
    """A request header; `name` in lower case."""
    value = find(scope["headers"], name)
    return None if value is None else value.decode("latin-1")


async def until_gone(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do `work`, but cancel it as soon as the client closes its connection; the body must have been read.

    Raises `ClientGone`.
    """
    working = asyncio.current_task()
    assert working is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        working.cancel()

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if gone and working.uncancel() == 0:  # else somebody else has cancelled it too
            raise ClientGone from None
        raise
    finally:
        watching.cancel()


def find(headers: Headers, name: bytes) -> bytes | None:
    """The first header of that name, which is in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return None


def _too_large(limit: int) -> Refused:
    return Refused(f"the body is larger than {limit} bytes", code="request_too_large", status=413)
