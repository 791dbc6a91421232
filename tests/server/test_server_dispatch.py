"""Several models behind one address, without an engine: whose application gets which request."""

import asyncio
import json
from typing import Any

import pytest

from callwright.server.dispatch import Dispatch


def application(name: str) -> Any:
    """Answers with its name and the body that it was given, in two reads; lists itself as a model."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        answer = {"data": [{"id": name}]} if scope["path"] == "/v1/models" else {"app": name, "body": body.decode()}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    return app


def ask(method: str, path: str, *pieces: bytes) -> Any:
    first = application("one")
    dispatch = Dispatch({"one": first, "alias": first, "two": application("two")})
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces[:-1]]
    messages.append({"type": "http.request", "body": pieces[-1] if pieces else b"", "more_body": False})
    sent = bytearray()

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.extend(message.get("body", b""))

    asyncio.run(dispatch({"type": "http", "method": method, "path": path}, receive, send))
    return json.loads(sent)


@pytest.mark.parametrize(
    ("body", "app"),
    [
        (b'{"model": "one"}', "one"),
        (b'{"model": "alias"}', "one"),
        (b'{"model": "two", "messages": []}', "two"),
        (b'{"model": "three"}', "one"),
        (b'{"model": ["two"]}', "one"),
        (b"no json", "one"),
        (b"[]", "one"),
        (b"", "one"),
    ],
)
def test_the_body_s_model_decides(body: bytes, app: str) -> None:
    assert ask("POST", "/v1/chat/completions", body) == {"app": app, "body": body.decode()}


def test_a_body_in_pieces_arrives_whole() -> None:
    assert ask("POST", "/v1/completions", b'{"mod', b'el": "t', b'wo"}') == {"app": "two", "body": '{"model": "two"}'}


def test_models_are_listed_once_each() -> None:
    assert [card["id"] for card in ask("GET", "/v1/models")["data"]] == ["one", "two"]


def test_everything_else_goes_to_the_first() -> None:
    assert ask("GET", "/health")["app"] == "one"
