"""Ten thousand bad requests over the wire: none is answered with a failure, none is remembered."""

import asyncio
import json
import random
from typing import Any

import httpx
import pytest
from asking import bench
from bending import GOOD, MESSAGES, RESPONSES, bend

from callwright import dialects
from fakes import Engine, Served, Text
from sidecar_process import resident_bytes, started

APIS = [(b"/v1/chat/completions", GOOD), (b"/v1/messages", MESSAGES), (b"/v1/responses", RESPONSES)]
REQUESTS, CONNECTIONS = 10_000, 10
METHODS = ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "WIZARD"]
PATHS = [
    "/v1/completions",
    "/v1/models",
    "/",
    "//",
    "/v1/chat/completions?x=%00",
    "/%2e%2e/etc",
    "/v1/\u00e9",
    "/metrics",
]
HEADERS = [b"", b"x-callwright-dialect: klingon\r\n", b"x-callwright-keep-stop: 1\r\n", b"content-type: text/plain\r\n",
           b"authorization: Bearer \xff\r\n", b"accept-encoding: br\r\n", b"content-encoding: gzip\r\n"]  # fmt: skip


def request(chance: random.Random) -> bytes:
    """One request: bent JSON most of the time, now and then with bytes changed or on another path."""
    endpoint, good = chance.choice(APIS)
    bent = json.loads(json.dumps(good | {"model": chance.choice(dialects.NAMES), "stream": chance.random() < 0.5}))
    for _ in range(chance.randint(1, 4)):
        bend(bent, chance)
    body = bytearray(json.dumps(bent, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace"))
    method, path = b"POST", endpoint
    match chance.randrange(10):
        case 0:
            for _ in range(chance.randint(1, 8)):
                body[chance.randrange(len(body))] = chance.randrange(256)
        case 1:
            del body[chance.randrange(len(body)) :]
        case 2:
            method, path = chance.choice(["POST", *METHODS]).encode(), chance.choice(PATHS).encode()
    head = b"%s %s HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n"
    return head % (method, path, chance.choice(HEADERS) if chance.random() < 0.2 else b"", len(body)) + body


async def ask(port: int, sent: bytes) -> tuple[int, bytes]:
    """Status and the rest of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent.replace(b"host: x", b"host: x\r\nconnection: close", 1))
        head, _, rest = (await reader.read(-1)).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), rest
    finally:
        writer.close()


async def ask_all(port: int, count: int, seed: str) -> list[int]:
    """Statuses of `count` requests."""
    statuses: list[int] = []

    async def ask_some(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        for _ in range(count // CONNECTIONS):
            sent = request(chance)
            status, rest = await asyncio.wait_for(ask(port, sent), 30)
            assert status < 500, (status, sent, rest)
            if status in (400, 413) and any(sent.startswith(b"POST %s HTTP" % path) for path, _ in APIS):
                assert json.loads(rest)["error"]["message"], sent
            statuses.append(status)

    await asyncio.gather(*(ask_some(number) for number in range(CONNECTIONS)))
    return statuses


@pytest.mark.slow
def test_ten_thousand_bad_requests() -> None:
    spoken = [flag for name in dialects.NAMES for flag in ("--dialect", f"{name}={name}")]
    with (
        Served(Engine(lambda request: Text(["Action: f\nAction Input: {}"]))) as engine,
        started(engine.url, *spoken) as (process, address),
    ):
        port = int(address.rsplit(":", 1)[1])
        statuses = asyncio.run(ask_all(port, REQUESTS // 4, "warm"))
        warm = resident_bytes(process.pid)
        statuses += asyncio.run(ask_all(port, REQUESTS - REQUESTS // 4, "then"))
        assert resident_bytes(process.pid) - warm < 4 * 2**20
        assert process.poll() is None
    assert len(statuses) == REQUESTS
    assert statuses.count(200) > 1_000
    assert statuses.count(400) > 2_000


@pytest.mark.parametrize(("path", "good"), APIS)
def test_nesting_that_can_be_read_but_not_written_is_refused(path: bytes, good: dict[str, Any]) -> None:
    with bench("Hello.", dialects={"*": "react_en"}) as b, httpx.Client() as client:
        for depth in (10, *range(900, 1_000, 4), 10_000):
            for key in ("x", "top_p", "metadata"):
                asked = good | {key: 7, "stream": key == "metadata"}
                body = json.dumps(asked).replace(f'"{key}": 7', f'"{key}": {"[" * depth}{"]" * depth}')
                answer = client.post(b.url + path.decode(), content=body)
                assert answer.status_code in (200, 400), depth
                assert (answer.status_code == 200) == (depth == 10) or (key, depth) == ("x", 10)
        counted = client.get(f"{b.url}/metrics").text
    assert f'path="{path.decode()}",status="400"' in counted
