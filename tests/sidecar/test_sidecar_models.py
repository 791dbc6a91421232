"""Which dialect a model speaks: overrides, manifests in a real store, promotion, and what nobody knows."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import CALL, USER, WEATHER, bench

from callwright.errors import CallwrightError, InvalidInput, StageFailed, TimedOut, Unavailable
from callwright.server.versioned import Versioned
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig, check
from callwright.sidecar.errors import Refused
from callwright.sidecar.models import ModelDialect, Models, named_dialect
from callwright.sidecar.plan import ChatPlan, make_plan
from callwright.sidecar.upstream import Upstream
from callwright.store import Manifest, Registry, Store, Template
from fakes import Engine, Raw, Served, Text
from versions import publish_version


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A model with two versions in two dialects, the first promoted."""
    made = Registry(Store.open(f"file://{tmp_path}/store"))
    for version, dialect, stop in (("v1", "react_en", ("END",)), ("v2", "hermes", ())):
        publish_version(made.store, version, name="assistant", dialect=dialect, stop=stop)
    made.promote("assistant", "v1")
    return made


@dataclass
class Known:
    """What a sidecar knows whose engine does not answer, or says no version."""

    models: Models
    upstream: Upstream


def known(config: SidecarConfig, registry: Registry | None, url: str = "http://127.0.0.1:9") -> Known:
    upstream = Upstream(url, connect_seconds=1, silent_seconds=1)
    return Known(Models(config, registry, upstream), upstream)


def find(known: Known, model: str) -> ModelDialect:
    async def ask() -> ModelDialect:
        async with known.upstream:
            return await known.models.dialect_of(model)

    return asyncio.run(ask())


def test_the_manifest_says_it(registry: Registry) -> None:
    models = known(SidecarConfig(models={"alias": "assistant@v2"}), registry)
    assert find(models, "assistant").dialect.name == "react_en"
    assert find(models, "assistant@v2").dialect.name == "hermes"
    assert find(models, "alias").dialect.name == "hermes"
    assert find(models, "assistant").stop == ("\nObservation:", "END")


def test_an_override_goes_first_and_the_star_last(registry: Registry) -> None:
    config = SidecarConfig(dialects={"assistant": "toolbench", "*": "react_zh"})
    models = known(config, registry)
    assert find(models, "assistant").dialect.name == "toolbench"
    assert find(models, "assistant@v2").dialect.name == "hermes"
    assert find(models, "other").dialect.name == "react_zh"


def test_a_promotion_is_noticed(registry: Registry) -> None:
    """Soon, beside the requests, which do not wait for it."""
    here = known(SidecarConfig(manifest_seconds=1e-9), registry)

    async def ask() -> list[str]:
        async with here.upstream:
            named = [(await here.models.dialect_of("assistant")).dialect.name]
            registry.promote("assistant", "v2")
            while named[-1] == "react_en":
                named.append((await here.models.dialect_of("assistant")).dialect.name)
                await asyncio.sleep(0.01)
            return named

    assert asyncio.run(ask())[-1] == "hermes"


def test_without_the_store_what_was_known_stays(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Registry, name: str, version: str = "") -> Manifest:
        raise Unavailable("the store does not answer")

    models = known(SidecarConfig(manifest_seconds=1e-9), registry)
    assert find(models, "assistant").dialect.name == "react_en"
    monkeypatch.setattr(Registry, "manifest", away)
    assert find(models, "assistant").dialect.name == "react_en"
    with pytest.raises(Unavailable, match="the store"):
        find(models, "assistant@v2")


@pytest.mark.parametrize("model", ["nobody", "assistant@v9", "../../etc", "", "a b", "é", "x" * 5000])
def test_what_nobody_knows_is_refused(registry: Registry, model: str) -> None:
    """Where the engine has answered; else it may know."""
    for found in (registry, None):
        with pytest.raises(Unavailable, match="the engine does not answer; try again later"):
            find(known(SidecarConfig(), found), model)
        with Served(Engine(lambda request: Text([""]))) as engine, pytest.raises(Refused) as refused:
            find(known(SidecarConfig(), found, engine.url), model)
        assert (refused.value.status, refused.value.param) == (404, "model")


class Waking:
    """An engine behind a proxy that holds requests until it is awake; `asked` once it has been asked a few times."""

    def __init__(self, manifest: Manifest) -> None:
        self._replica = Versioned(Engine(lambda request: Text([CALL])), manifest)
        self.awake, self.asked, self.asks = threading.Event(), threading.Event(), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.asks += 1
            if self.asks == 3:
                self.asked.set()
            while not self.awake.is_set():
                await asyncio.sleep(0.01)
        await self._replica(scope, receive, send)


@pytest.mark.parametrize("has_store", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_first_request_with_tools_waits_for_a_replica_that_says_its_dialect(
    registry: Registry, tmp_path: Path, stream: bool, has_store: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none, and no store that knows the model: who asks for a stream is told that it goes on."""
    monkeypatch.setattr("callwright.sidecar.models._ASK_SECONDS", 0.1)
    waking, asked = Waking(registry.manifest("assistant", "v1")), {"model": "m", "messages": USER, "tools": [WEATHER]}
    empty = Registry(Store.open(f"file://{tmp_path}/empty")) if has_store else None
    with (
        Served(waking) as engine,
        Served(create_app(SidecarConfig(upstream=engine.url, keep_alive_seconds=0.05), empty)) as sidecar,
        ThreadPoolExecutor(1) as pool,
    ):
        url = f"{sidecar.url}/v1/chat/completions"
        told = pool.submit(httpx.post, url, json=asked | {"stream": stream}, timeout=60)
        assert waking.asked.wait(30)
        assert not told.done()
        waking.awake.set()
        answer = told.result()
    assert answer.status_code == 200, answer.text
    assert answer.text.startswith(": keep-alive") == stream
    assert '"name":"get_weather"' in answer.text.replace(" ", "")


def test_who_waits_for_a_replica_in_vain_may_ask_again(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it says that it wants a stream of what never is one."""
    monkeypatch.setattr("callwright.sidecar.models._ASK_SECONDS", 0.1)
    waking = Waking(registry.manifest("assistant", "v1"))
    asked = {"model": "m", "messages": USER, "tools": [WEATHER]}
    with (
        Served(waking) as engine,
        Served(
            create_app(SidecarConfig(upstream=engine.url, first_token_seconds=0.5, keep_alive_seconds=0.05))
        ) as sidecar,
    ):
        refused = httpx.post(f"{sidecar.url}/v1/chat/completions", json=asked, timeout=60)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "does not say which version" in refused.text
        assert waking.asks > 1
        tool = {"name": "get_weather", "input_schema": {"type": "object"}}
        counted = {"model": "m", "messages": USER, "tools": [tool], "stream": True}
        assert httpx.post(f"{sidecar.url}/v1/messages/count_tokens", json=counted, timeout=60).status_code == 503
        waking.awake.set()
        assert httpx.post(f"{sidecar.url}/v1/chat/completions", json=asked, timeout=60).status_code == 200


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_proxy_that_finds_no_engine_says_nothing_of_its_version(status: int) -> None:
    """What it says is not kept: the engine is asked again."""
    with bench(CALL, dialects={}) as b:
        b.engine.others["/tokenize"] = lambda body: Raw("Internal Server Error", status)
        asked = {"model": "m", "messages": USER, "tools": [WEATHER]}
        assert httpx.post(f"{b.url}/v1/chat/completions", json=asked).status_code == 503
        b.engine.others["/tokenize"] = lambda body: Raw('{"count": 1}')
        assert httpx.post(f"{b.url}/v1/chat/completions", json=asked).status_code == 404


def test_a_dialect_that_is_none() -> None:
    with pytest.raises(Refused, match="react_en"):
        named_dialect("klingon")
    with pytest.raises(InvalidInput, match="react_en"):
        known(SidecarConfig(dialects={"m": "klingon"}), None)


def test_flags_write_pairs() -> None:
    config = check({"dialects": ["a=b=hermes", "*=react_en"], "models": ["x=assistant@v1"]})
    assert config.dialects == {"a=b": "hermes", "*": "react_en"}
    assert config.models == {"x": "assistant@v1"}
    for wrong in ({"dialects": ["hermes"]}, {"models": ["=x"]}, {"upstream": "nowhere"}, {"port": 0}):
        with pytest.raises(InvalidInput):
            check(wrong)


def planned(template: Template | None, **fields: Any) -> ChatPlan:
    """The plan for a request after a result and a thought, of a model whose manifest says `template`."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "I see."},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ]
    request = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]}
    return make_plan(request | fields, replace(named_dialect("toolbench"), template=template), SidecarConfig())


FIXED = Template(
    sha256="0" * 64, arguments={"enable_thinking": False}, tool_role=True, shows_reasoning=True, opens_reasoning=True
)


def test_a_template_is_called_as_in_training(registry: Registry) -> None:
    publish_version(registry.store, "v3", name="assistant", dialect="hermes", template=FIXED)
    assert find(known(SidecarConfig(), registry), "assistant@v3").template == FIXED
    plan = planned(FIXED, chat_template_kwargs={"enable_thinking": False}, reasoning_effort="high")
    assert plan.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "reasoning_effort" not in plan.body
    assert plan.opened
    assert plan.body["messages"][2]["reasoning_content"] == plan.body["messages"][2]["reasoning"] == "I see."
    assert plan.body["messages"][3]["role"] == "tool"
    plan = planned(FIXED.model_copy(update={"tool_role": False, "shows_reasoning": False}))
    assert plan.body["messages"][2]["content"].startswith("<think>\nI see.\n</think>\n\n")
    assert plan.body["messages"][3]["role"] == "user"


@pytest.mark.parametrize("given", [{"enable_thinking": True}, {"enable_thinking": False, "x": 1}, [1], "x"])
def test_what_training_fixed_a_request_does_not_change(given: object) -> None:
    with pytest.raises(Refused, match="chat_template_kwargs"):
        planned(FIXED, chat_template_kwargs=given)


def test_without_a_manifest_template_arguments_are_the_clients() -> None:
    plan = planned(None, chat_template_kwargs={"enable_thinking": True}, reasoning_effort="low")
    assert plan.body["chat_template_kwargs"] == {"enable_thinking": True}
    assert plan.body["reasoning_effort"] == "low"
    assert not plan.opened


def test_an_engine_or_a_store_that_hangs_holds_up_no_request_but_the_first(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = known(SidecarConfig(manifest_seconds=1e-9), registry)
    looks = 0

    async def ask() -> list[str]:
        nonlocal looks
        answer, begun = asyncio.Event(), asyncio.Event()
        answer.set()

        async def count(self: Models, model: str, said: object, *version: object) -> None:
            nonlocal looks
            looks += 1
            begun.set()
            await answer.wait()

        monkeypatch.setattr(Models, "_count", count)
        names = [(await here.models.dialect_of("assistant")).dialect.name]
        await here.models.has_tool_role("assistant")
        answer.clear()
        for _ in range(50):
            names.append((await here.models.dialect_of("assistant")).dialect.name)
            assert await here.models.has_tool_role("assistant")
        await begun.wait()
        return names

    assert asyncio.run(ask()) == ["react_en"] * 51
    assert looks == 4, "one look at a time"


def shows(body: bytes, systems: int) -> Raw:
    """How long a prompt is whose template shows so many system messages; with none it refuses a second."""
    messages = json.loads(body)["messages"]
    kept = [m for n, m in enumerate(messages) if m["role"] != "system" or n < (systems or 1)]
    if not systems and len(kept) < len(messages):
        return Raw('{"error": {"message": "System message must be at the beginning."}}', 400)
    return Raw(json.dumps({"count": sum(len(m["content"].split()) for m in kept)}))


@pytest.mark.parametrize(("systems", "said"), [(0, 1), (1, 1), (9, 3)])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_leading_system_messages_are_one_where_the_template_does_not_show_the_second(
    path: str, systems: int, said: int
) -> None:
    leading = [("system", "Be brief."), ("developer", "Be kind."), ("system", "Be sure."), ("user", "Hi")]
    messages = [{"role": role, "content": text} for role, text in leading]
    function = {"name": "f", "parameters": {"type": "object"}}
    asked = {"model": "m", "input": messages, "tools": [{"type": "function"} | function]}
    if path == "chat/completions":
        asked = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": function}]}
    with bench("Hello.") as b:
        b.engine.others["/tokenize"] = lambda body: shows(body, systems)
        for _ in range(2):
            assert httpx.post(f"{b.url}/v1/{path}", json=asked).status_code == 200
        assert b.engine.paths.count("/tokenize") == 2
    for sent in b.engine.requests:
        texts = [message["content"] for message in sent["messages"] if message["role"] == "system"]
        assert len(texts) == said
        assert "".join(texts).index("Be brief.") < "".join(texts).index("Be kind.") < "".join(texts).index("Be sure.")


def test_one_system_message_is_not_asked_about() -> None:
    with bench("Hello.") as b:
        messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
        asked = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]}
        assert httpx.post(f"{b.url}/v1/chat/completions", json=asked).status_code == 200
        assert "/tokenize" not in b.engine.paths


@pytest.mark.parametrize(
    "error", [StageFailed("files that changed"), Unavailable("no store"), TimedOut("late")], ids=str
)
def test_a_request_without_tools_fails_by_no_store_and_asks_a_failing_one_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, error: CallwrightError
) -> None:
    here, looks = known(SidecarConfig(manifest_seconds=600), registry), 0

    def fail(self: Registry, name: str, version: str = "") -> Manifest:
        nonlocal looks
        looks += 1
        raise error

    async def ask() -> list[str]:
        async with here.upstream:
            text = [(await here.models.dialect_for_text({"model": "assistant"})).dialect.name for _ in range(3)]
            named = await here.models.dialect_for_text({"model": "assistant", "tools_prompt": "react_en"})
            with pytest.raises(type(error)):
                await here.models.dialect_of("assistant")
            return [*text, named.dialect.name]

    monkeypatch.setattr(Registry, "manifest", fail)
    assert asyncio.run(ask()) == ["hermes", "hermes", "hermes", "react_en"]
    assert looks == 2, "once for text, once for tools"


def test_a_request_without_tools_waits_for_no_store_that_hangs(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, looks = known(SidecarConfig(manifest_seconds=600), registry), 0

    async def ask() -> list[str]:
        async def hang(self: Models, model: str) -> None:
            nonlocal looks
            looks += 1
            await asyncio.Event().wait()

        monkeypatch.setattr(Models, "_find_out", hang)
        monkeypatch.setattr("callwright.sidecar.models._ASK_SECONDS", 0.01)
        return [(await here.models.dialect_for_text({"model": "assistant"})).dialect.name for _ in range(3)]

    assert asyncio.run(ask()) == ["hermes"] * 3
    assert looks == 1
