"""Each request is written in the dialect of the version that gets it, also during a roll, and without a store."""

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from asking import CALL, USER, WEATHER

from callwright.server.versioned import Versioned
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from callwright.store import Manifest, Registry, Store
from fakes import Engine, Raw, Served, Text
from versions import publish_version

HERMES_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ASKED: dict[str, Any] = {"model": "m", "messages": USER, "tools": [WEATHER]}


def replica(dialect: str) -> Engine:
    """Calls in its dialect where the prompt is written in it, and complains otherwise."""

    def answer(request: dict[str, Any]) -> Text:
        prompt = str(request["messages"])
        spoken = "hermes" if "<tools>" in prompt else "react_en" if "Action Input:" in prompt else "none"
        return Text([(HERMES_CALL if dialect == "hermes" else CALL) if spoken == dialect else f"got {spoken}"])

    made = Engine(answer)
    made.others["/tokenize"] = lambda body: Raw('{"count": 7}')
    return made


class Replicas:
    """Several replicas at one address, each of which gets a request as `choose` says."""

    def __init__(self, choose: Iterator[int], *replicas: Versioned) -> None:
        self._choose, self._replicas = choose, replicas

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._replicas[next(self._choose)](scope, receive, send)


@pytest.fixture
def manifests(tmp_path: Path) -> tuple[Manifest, Manifest]:
    store = Store.open(f"file://{tmp_path}/store")
    first = publish_version(store, "v1", name="assistant", dialect="react_en", stop=("END",))
    return first, publish_version(store, "v2", name="assistant", dialect="hermes")


@contextmanager
def sidecar(engine: Any, registry: Registry | None = None, **settings: Any) -> Iterator[str]:
    """URL of a sidecar in front of `engine`; it has no store but that of the registry."""
    with (
        Served(engine) as upstream,
        Served(create_app(SidecarConfig(upstream=upstream.url, connect_seconds=10, **settings), registry)) as served,
    ):
        yield served.url


def test_a_version_s_own_special_tokens_are_broken_with_tools_and_without(tmp_path: Path) -> None:
    store = Store.open(f"file://{tmp_path}/store")
    manifest = publish_version(store, "v1", name="m", dialect="hermes", special_tokens=("<mark>", "<|im_end|>"))
    engine = replica("hermes")
    with sidecar(Versioned(engine, manifest)) as url:
        for tools in (None, [WEATHER]):
            text = {"role": "user", "content": "<mark></s><|im_end|>"}
            httpx.post(
                f"{url}/v1/chat/completions", json={"model": "m", "messages": [text], "tools": tools}, timeout=30
            )
    assert [sent["messages"][-1]["content"] for sent in engine.requests] == ["< mark></s>< |im_end|>"] * 2


def test_the_engine_says_which_version_it_serves(manifests: tuple[Manifest, Manifest]) -> None:
    engine = replica("react_en")
    with sidecar(Versioned(engine, manifests[0])) as url:
        for headers in ({}, {"x-callwright-version": "assistant@v9"}):
            answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED, headers=headers, timeout=30)
            (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
            assert call["function"]["name"] == "get_weather"
            assert answer.headers["x-callwright-version"] == "assistant@v1"
        plain = httpx.post(f"{url}/v1/chat/completions", json=ASKED | {"tools": None}, timeout=30)
        assert plain.headers["x-callwright-version"] == "assistant@v1"
    assert engine.requests[0]["stop"][-1] == "END"
    assert [headers.get("x-callwright-version") for headers in engine.headers] == ["assistant@v1", "assistant@v1", None]


class Unasked(Versioned):
    """Says which version it serves to those alone who ask for an answer, as a replica that has much to do."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/tokenize":
            await Engine(lambda request: Text([]))._whole(send, Raw("<html>no server</html>", 503))
        else:
            await super().__call__(scope, receive, send)


@pytest.mark.parametrize("kind", [Versioned, Unasked])
@pytest.mark.parametrize("known", ["assistant", "assistant@v2"], ids=["promoted", "pinned"])
def test_what_the_store_says_does_not_go_over_what_the_engine_serves(
    manifests: tuple[Manifest, Manifest], tmp_path: Path, kind: type[Versioned], known: str
) -> None:
    """Though another version is promoted, or the sidecar was told of another."""
    registry = Registry(Store.open(f"file://{tmp_path}/store"))
    registry.promote("assistant", "v2")
    with sidecar(kind(replica("react_en"), manifests[0]), registry, models={"m": known}) as url:
        for _ in range(3):
            answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED, timeout=30)
            assert answer.headers["x-callwright-version"] == "assistant@v1"
            (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
            assert call["function"]["arguments"] == '{"city": "Paris"}'


def test_many_at_once_ask_for_the_version_once(manifests: tuple[Manifest, Manifest]) -> None:
    refused = itertools.count()

    class Counting(Versioned):
        async def _refuse(self, meant: bytes, send: Any) -> None:
            next(refused)
            await super()._refuse(meant, send)

    engine = replica("react_en")
    with sidecar(Counting(engine, manifests[0])) as url, ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(httpx.post, f"{url}/v1/chat/completions", json=ASKED, timeout=30) for _ in range(48)]
        assert {each.result().status_code for each in asked} == {200}
    assert (next(refused), len(engine.requests)) == (1, 48)


@pytest.mark.parametrize("stream", [False, True])
def test_in_a_roll_each_replica_gets_its_own_dialect(manifests: tuple[Manifest, Manifest], stream: bool) -> None:
    choose = random.Random(7)
    engines = [replica("react_en"), replica("hermes")]
    both = [Versioned(engine, manifest) for engine, manifest in zip(engines, manifests, strict=True)]
    rolling = Replicas(iter(lambda: choose.randrange(2), None), *both)
    with sidecar(rolling) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        def ask() -> list[str]:
            if not stream:
                message = client.chat.completions.create(**ASKED).choices[0].message
            else:
                with client.chat.completions.stream(**ASKED) as events:
                    for _ in events:
                        pass
                    message = events.get_final_completion().choices[0].message
            return [call.function.arguments for call in message.tool_calls or []]

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask) for _ in range(100)]
            assert {tuple(each.result()) for each in asked} == {('{"city": "Paris"}',)}
    assert all(len(engine.requests) > 10 for engine in engines)


@pytest.mark.parametrize("turns", [(0, 1), (1, 0, 0), (0, 0, 1, 1), (0, 1, 1, 0, 1)])
def test_in_a_roll_whose_replicas_take_turns_one_client_alone_is_answered(
    manifests: tuple[Manifest, Manifest], turns: tuple[int, ...]
) -> None:
    engines = [replica("react_en"), replica("hermes")]
    both = [Versioned(engine, manifest) for engine, manifest in zip(engines, manifests, strict=True)]
    with sidecar(Replicas(itertools.cycle(turns), *both)) as url:
        for _ in range(30):
            answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED, timeout=30)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["message"]["tool_calls"]


def test_in_a_roll_prompts_are_counted_as_their_replica_has_them(manifests: tuple[Manifest, Manifest]) -> None:
    engines = [replica("react_en"), replica("hermes")]
    both = [Versioned(engine, manifest) for engine, manifest in zip(engines, manifests, strict=True)]
    body = {"model": "m", "messages": USER, "tools": [{"name": "get_weather", "input_schema": {"type": "object"}}]}
    with sidecar(Replicas(itertools.cycle((0, 1, 1)), *both)) as url:
        for _ in range(9):
            answer = httpx.post(f"{url}/v1/messages/count_tokens", json=body, timeout=30)
            assert answer.json() == {"input_tokens": 7}
    assert all(b"<tools>" not in body for body in engines[0].bodies)
    assert all(b"<tools>" in body for body in engines[1].bodies)


def test_an_engine_that_always_serves_another_version_is_unavailable(manifests: tuple[Manifest, Manifest]) -> None:
    numbers = itertools.count()

    class Moving(Versioned):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            manifest = manifests[0].model_copy(update={"version": f"v{next(numbers)}"})
            await Versioned(replica("react_en"), manifest)(scope, receive, send)

    with sidecar(Moving(replica("react_en"), manifests[0])) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED, timeout=30)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert "several versions" in answer.json()["error"]["message"]
