"""A roll from a version of one dialect to one of another, under load, on real Ray Serve: no request fails, none is read
in the wrong dialect, and none needs the store.

Store, fetch, `build`, `Replica` and the sidecar are the real ones; the engine is scripted.
"""

import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from callwright.server import preflight, replica, sources
from callwright.server.config import ServedModel, ServerConfig
from callwright.server.versioned import Versioned
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from callwright.store import Registry, Store
from fakes import Engine, Served, Text
from scripted_serve import Opened, serving
from versions import publish_version

pytestmark = pytest.mark.timeout(900)
Figure = Callable[[str, object, object], None]
DIALECTS = {"v1": "react_en", "v2": "hermes"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLS = {
    "hermes": '<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{}"}}}}\n</tool_call>',
    "react_en": 'Thought: I should look.\nAction: get_weather\nAction Input: {{"city": "{}"}}',
}
_CALLERS = 4


class SpeakingReplica(replica.Replica):
    """A replica whose engine calls in its version's dialect where the prompt is written in it, and complains otherwise.

    What it calls with is its version. A message `Wait for FILE` makes it say that it has begun, and wait for the file.
    """

    async def _start(self) -> Any:
        (model,) = self._config.models
        folder = sources.model_directory(model, self._config)
        manifest = sources.manifest(model, self._config, folder)
        assert manifest is not None

        def answer(request: dict[str, Any]) -> Text:
            prompt = str(request["messages"])
            spoken = "hermes" if "<tools>" in prompt else "react_en" if "Action Input:" in prompt else "none"
            said = CALLS[spoken].format(model.version) if spoken == manifest.dialect else f"got {spoken}"
            if (held := re.search(r"Wait for (\S+?)\W*'", prompt)) is None:
                return Text([said])
            Path(f"{held[1]}.begun-{uuid.uuid4().hex}").touch()
            return Text([said], hold=Opened(Path(held[1])))

        return Versioned(Engine(answer), manifest, canary_weight=self._config.canary_weight)


class Rolling:
    """A Serve application behind a sidecar, and what became of the requests."""

    def __init__(self, folder: Path, config: ServerConfig, url: str) -> None:
        self.folder, self._config, self.url = folder, config, url
        self.upstream = f"http://127.0.0.1:{config.port}"
        self._limits = httpx.Limits(max_connections=None)
        self.answers: list[str] = []
        """For each request the version that has answered it rightly, or what went wrong."""

    def ask(self, client: httpx.Client, *, stream: bool, said: str = "Paris?") -> str:
        """The version whose call the answer holds, as the answer's header has it; else what went wrong."""
        body = {"model": "m", "messages": [{"role": "user", "content": said}], "tools": [TOOL], "stream": stream}
        try:
            answer = client.post(f"{self.url}/v1/chat/completions", json=body)
            if answer.status_code != 200:
                return answer.text
            version = answer.headers["x-callwright-version"].removeprefix("m@")
            called = _streamed(answer.text) if stream else _whole(answer.json())
        except (httpx.HTTPError, KeyError, ValueError, IndexError) as error:
            return repr(error)
        return version if called == {"city": version} else f"{version} called with {called}"

    def deploy(self, version: str, *, wait: bool = True) -> None:
        """Put `version` in place of the present one; wait until all of the one before is gone."""
        from ray import serve

        from callwright.server import app, runtime

        model = ServedModel(id="m", name="m", version=version)
        made = app.build(self._config.model_copy(update={"models": (model,)}))
        serve.run_many([serve.RunTarget(made, name=runtime.APPLICATION)], wait_for_applications_running=False)
        if wait:
            self.wait_until_running()

    def wait_until_running(self) -> None:
        from ray import serve

        from callwright.server import runtime

        while (status := serve.status().applications[runtime.APPLICATION].status.value) != "RUNNING":
            assert status == "DEPLOYING", serve.status()
            time.sleep(0.1)

    def running(self) -> int:
        """How many replicas run."""
        from ray import serve

        from callwright.server import app, runtime

        states = serve.status().applications[runtime.APPLICATION].deployments[app.DEPLOYMENT].replica_states
        return int(states.get("RUNNING", 0))

    @contextmanager
    def load(self) -> Iterator[None]:
        """Ask without pause while the block runs, in streams and not."""
        stop = threading.Event()

        def ask(stream: bool) -> None:
            with httpx.Client(timeout=60) as client:
                while not stop.is_set():
                    self.answers.append(self.ask(client, stream=stream))

        with ThreadPoolExecutor(_CALLERS) as pool:
            callers = [pool.submit(ask, number % 2 == 0) for number in range(_CALLERS)]
            try:
                yield
            finally:
                stop.set()
        for caller in callers:
            caller.result()

    def wait_for_answers(self, count: int) -> None:
        while len(self.answers) < count:
            time.sleep(0.05)

    @contextmanager
    def streams(self, count: int) -> Iterator[list[str]]:
        """So many streams that have begun before the block, and go on after it; gives what becomes of them."""
        gate, ended = self.folder / f"gate-{uuid.uuid4().hex}", list[str]()
        with httpx.Client(timeout=300, limits=self._limits) as client, ThreadPoolExecutor(count) as pool:
            opened = [pool.submit(self.ask, client, stream=True, said=f"Wait for {gate}") for _ in range(count)]
            while len([*self.folder.glob(f"{gate.name}.begun-*")]) < count:
                time.sleep(0.05)
                assert not any(each.done() for each in opened)
            try:
                yield ended
            finally:
                gate.touch()
            ended += [each.result() for each in opened]


def _whole(answer: Any) -> Any:
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    return json.loads(call["function"]["arguments"])


def _streamed(text: str) -> Any:
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if events[-1] != "[DONE]":
        raise ValueError(f"the stream ends with {events[-1]}")
    deltas = [choice["delta"] for event in events[:-1] for choice in json.loads(event)["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    return json.loads("".join(call["function"].get("arguments") or "" for call in calls))


R = TypeVar("R", bound=Rolling)


def weights_alone(version: str) -> dict[str, bytes]:
    """Files of a version for an engine that reads none."""
    return {"config.json": b"{}", "model.safetensors": version.encode() * 100}


@contextmanager
def served(
    folder: Path,
    made: type[R],
    *,
    store_url: str | None = None,
    kind: type[replica.Replica] = SpeakingReplica,
    replicas: int = 2,
    files: Callable[[str], dict[str, bytes]] = weights_alone,
    **sidecar: Any,
) -> Iterator[R]:
    """The first of two versions, with such files, in so many replicas, behind a sidecar with these settings."""
    store = Store.open(store_url or (folder / "store").as_uri())
    for version, dialect in DIALECTS.items():
        publish_version(store, version, files(version), dialect=dialect)
    (port,) = preflight.free_ports(1)
    config = ServerConfig(
        models=(ServedModel(id="m", name="m", version="v1"),), port=port, cpus=0.1, min_replicas=replicas,
        max_replicas=replicas, store=store.url, cache_dir=str(folder / "cache"), drain_seconds=600,
    )  # fmt: skip
    # A busy machine is late to connect, too.
    with serving(kind, config, connect_seconds=30, **sidecar) as url:
        yield made(folder, config, url)


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rolling]:
    with served(tmp_path_factory.mktemp("rolls"), Rolling) as made:
        yield made


@pytest.mark.parametrize(
    ("streams", "requests"), [(20, 150), pytest.param(100, 1500, marks=pytest.mark.slow)], ids=["", "1500 requests"]
)
def test_a_roll_between_dialects_fails_no_request(
    rolling: Rolling, figure: Figure, streams: int, requests: int
) -> None:
    rolling.deploy("v1")
    rolling.answers.clear()
    with rolling.streams(streams) as ended, rolling.load():
        rolling.wait_for_answers(requests // 5)
        rolling.deploy("v2", wait=False)
        while "v2" not in rolling.answers[-_CALLERS:]:
            time.sleep(0.05)
        rolling.wait_for_answers(max(requests, len(rolling.answers) + requests // 2))
    rolling.wait_until_running()
    seen = Counter(rolling.answers)
    assert seen.keys() == {"v1", "v2"}
    assert min(seen.values()) >= requests // 10
    assert ended == ["v1"] * streams
    figure(f"a roll between dialects: failed or misread of {seen.total()} requests and {streams} streams", 0, 0)


@pytest.mark.parametrize("seconds", [0, pytest.param(600, marks=pytest.mark.slow)], ids=["", "ten minutes"])
def test_without_the_store_no_request_fails(rolling: Rolling, figure: Figure, seconds: float) -> None:
    """Also through a sidecar that comes up meanwhile, and knows nothing yet."""
    with httpx.Client(timeout=60) as client:
        standing = rolling.ask(client, stream=False)
    assert standing in DIALECTS
    store, away, own = rolling.folder / "store", rolling.folder / "away", rolling.url
    store.rename(away)
    try:
        settings = SidecarConfig(upstream=rolling.upstream, manifest_seconds=10 if seconds else 0.1, connect_seconds=30)
        with Served(create_app(settings, Registry(Store.open(store.as_uri())))) as fresh:
            for url in (own, fresh.url):
                rolling.url, since = url, time.monotonic()
                rolling.answers.clear()
                with rolling.load():
                    while len(rolling.answers) < 100 or time.monotonic() - since < seconds / 2:
                        time.sleep(0.05)
                assert set(rolling.answers) == {standing}
                figure(f"a store that is away {seconds or ''}: failed of {len(rolling.answers)} requests", 0, 0)
    finally:
        rolling.url = own
        away.rename(store)
