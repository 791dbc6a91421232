"""What a client with a key tries beside the API: the engine's other paths in every spelling, and to ask too much."""

import http.client
import itertools
import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Engine, Served, Text

Figure = Callable[[str, object, object], None]
CLOSED = ("/sleep", "/scale_elastic_ep", "/v1/load_lora_adapter", "/collective_rpc", "/update_weights")
OPEN = ("/v1/models", "/v1/chat/completions", "/v1/messages", "/tokenize", "/healthz")
SPELLINGS: tuple[Callable[[str, str], str], ...] = (
    lambda closed, _: closed,
    lambda closed, _: closed + "/",
    lambda closed, _: "/" + closed,
    lambda closed, _: closed.upper(),
    lambda closed, _: "/" + "".join(f"%{ord(letter):02x}" for letter in closed[1:]),
    lambda closed, is_open: f"{is_open}/..{closed}",
    lambda closed, is_open: f"{is_open}/../../..{closed}",
    lambda closed, is_open: f"{is_open}/%2e%2e/%2E%2E{closed}",
    lambda closed, is_open: f"{is_open}/..%2f..{closed}",
    lambda closed, is_open: f"{is_open};{closed}",
    lambda closed, is_open: f"{is_open}%3f/../..{closed}",
    lambda closed, is_open: f"http://127.0.0.1:8000{closed}",
    lambda closed, is_open: f"http://x{is_open}/..{closed}",
)


@pytest.fixture
def door() -> Iterator[tuple[Engine, str]]:
    """An engine that counts, and the address of a sidecar before it."""
    engine = Engine(lambda request: Text(["Hello."]))
    with Served(engine) as upstream, Served(create_app(SidecarConfig(upstream=upstream.url))) as served:
        yield engine, served.url


def asked(connection: http.client.HTTPConnection, method: str, target: str, body: bytes) -> int:
    """The status for a target that is sent as it is written."""
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (http.client.HTTPException, OSError):
        connection.close()
        return 0


def test_no_spelling_of_the_engine_s_other_paths_reaches_it(door: tuple[Engine, str], figure: Figure) -> None:
    engine, url = door
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    tried = 0
    for closed, is_open, spelled, method in itertools.product(CLOSED, OPEN, SPELLINGS, ("POST", "GET", "DELETE")):
        status = asked(connection, method, spelled(closed, is_open), b"{}")
        assert status in (0, 400, 404, 405), (method, spelled(closed, is_open))
        tried += 1
    connection.close()
    assert engine.paths == []
    figure(f"{tried} spellings of paths that are closed: reached the engine", len(engine.paths), 0)


def test_nothing_over_a_bound_reaches_the_engine(door: tuple[Engine, str], figure: Figure) -> None:
    engine, url = door
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    over = [
        *(json.dumps({"temperature": 7}).replace("7", n) for n in ("1e999", "-1e999", "NaN", "Infinity", "-Infinity")),
        json.dumps({"stop": ["x"] * 100_000}), json.dumps({"stop": "x" * 100_000}), json.dumps({"n": 16384}),
        json.dumps({"best_of": "16384"}), json.dumps({"logit_bias": {str(n): 1 for n in range(100_000)}}),
        json.dumps({"top_logprobs": 100_000}), json.dumps({"prompt_logprobs": -1}),
        json.dumps({"prompt": ["x"] * 9999}),
    ]  # fmt: skip
    for path, body in itertools.product(("/v1/chat/completions", "/v1/completions", "/v1/messages"), over):
        assert asked(connection, "POST", path, body.encode()) == 400, (path, body[:80])
    connection.close()
    assert engine.paths == []
    figure(f"{3 * len(over)} requests over a bound: reached the engine", len(engine.paths), 0)
