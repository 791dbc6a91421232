"""`Dispatch`: an ASGI application that hands each request to the application of the model that its body names.

Answers of the applications pass unchanged; only the lists of models are joined.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Dispatch:
    """`apps` maps each served id to its application. A request without a known model goes to the first one."""

    def __init__(self, apps: dict[str, ASGIApp]) -> None:
        self._apps = apps
        self._first = next(iter(apps.values()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == "/v1/models":
            await self._list_models(scope, send)
        elif scope["type"] == "http" and scope["method"] == "POST":
            body, replay = await _buffered(receive)
            await self._apps.get(_model_in(body), self._first)(scope, replay, send)
        else:
            await self._first(scope, receive, send)

    async def _list_models(self, scope: Scope, send: Send) -> None:
        cards = []
        for app in dict.fromkeys(self._apps.values()):
            answer = bytearray()

            async def collect(message: Message, answer: bytearray = answer) -> None:
                answer.extend(message.get("body", b""))

            await app(dict(scope), _nothing, collect)
            cards += json.loads(answer)["data"]
        body = json.dumps({"object": "list", "data": cards}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _model_in(body: bytes) -> str:
    try:
        model = json.loads(body)["model"]
    except (ValueError, TypeError, KeyError):
        return ""
    return model if isinstance(model, str) else ""


async def _buffered(receive: Receive) -> tuple[bytes, Receive]:
    """Return the whole body, and a `receive` that gives it again before it goes on."""
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(chunks)
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return body, replay
