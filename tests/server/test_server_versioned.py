"""A replica names the version that it serves, and serves no request that is meant for another."""

import asyncio
from typing import Any

import httpx
import pytest

from callwright.server.config import ServedModel
from callwright.server.replica import versioned


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


def asked(model: ServedModel, headers: dict[str, str]) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(versioned(model, hello))
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            return await client.get("/", headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize("headers", [{}, {"X-Callwright-Version": "m@v1"}])
def test_an_answer_names_the_version(headers: dict[str, str]) -> None:
    answer = asked(ServedModel(id="chat", name="m", version="v1"), headers)
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (200, "hello", "1")
    assert answer.headers["x-callwright-version"] == "m@v1"


@pytest.mark.parametrize("meant", ["m@v2", "other@v1", ""])
def test_a_request_for_another_version_is_refused_with_the_own_name(meant: str) -> None:
    answer = asked(ServedModel(id="chat", name="m", version="v1"), {"x-callwright-version": meant})
    assert (answer.status_code, answer.headers["x-callwright-version"]) == (409, "m@v1")
    assert answer.json()["error"]["message"] == f"this replica serves m@v1; got a request for {meant}"


def test_a_model_without_a_version_serves_whatever_comes() -> None:
    answer = asked(ServedModel(id="chat", path="/models/m"), {"x-callwright-version": "m@v2"})
    assert (answer.status_code, "x-callwright-version" in answer.headers) == (200, False)
