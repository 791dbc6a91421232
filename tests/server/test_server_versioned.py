"""A replica names the version that it serves, and serves no request that is meant for another."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from callwright.server.versioned import Versioned
from callwright.store import Manifest, Store
from versions import publish_version


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


def asked(manifest: Manifest, headers: dict[str, str], *, canary_weight: int | None = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Versioned(hello, manifest, canary_weight=canary_weight))
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            return await client.get("/", headers=headers)

    return asyncio.run(ask())


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return publish_version(Store.open(f"file://{tmp_path}"), "v1", name="m", dialect="hermes", stop=("END",))


@pytest.mark.parametrize("headers", [{}, {"X-Callwright-Version": "m@v1"}])
def test_an_answer_names_the_version(manifest: Manifest, headers: dict[str, str]) -> None:
    answer = asked(manifest, headers)
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (200, "hello", "1")
    assert answer.headers["x-callwright-version"] == "m@v1"


@pytest.mark.parametrize("meant", ["m@v2", "other@v1", "?", ""])
def test_a_request_for_another_version_is_refused_and_told_of_this_one(manifest: Manifest, meant: str) -> None:
    answer = asked(manifest, {"x-callwright-version": meant})
    assert (answer.status_code, answer.headers["x-callwright-version"]) == (409, "m@v1")
    assert answer.json()["error"]["message"] == f"this replica serves m@v1; got a request for {meant}"
    told = Manifest.model_validate(answer.json()["manifest"])
    assert (told.name, told.version, told.dialect, told.stop) == ("m", "v1", "hermes", ("END",))


@pytest.mark.parametrize("weight", [None, 10])
def test_a_canary_tells_its_share(manifest: Manifest, weight: int | None) -> None:
    assert asked(manifest, {"x-callwright-version": "?"}, canary_weight=weight).json().get("canary_weight") == weight
