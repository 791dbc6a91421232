"""Rolls whose new version cannot start, on real Ray Serve: the standing version answers every request meanwhile.

Store, fetch, `build`, `Replica` and the engine's checks of its options are the real ones; the engine is scripted.
"""

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from callwright.errors import CallwrightError
from callwright.server import preflight, replica, sources
from callwright.server.config import ServedModel, ServerConfig
from callwright.server.versioned import Versioned
from callwright.spec.model import Engine as EngineSettings
from callwright.store import Store
from fakes import Engine, Text
from scripted_serve import serving
from versions import publish_version

pytestmark = pytest.mark.timeout(900)
Figure = Callable[[str, object, object], None]
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
WEIGHTS = "model.safetensors"


def files(version: str) -> dict[str, bytes]:
    """A version's files; the weights are its own, as equal ones would be taken from those that the node has."""
    return {WEIGHTS: version.encode() * 100, "config.json": b"{}"}


class StartingReplica(replica.Replica):
    """A replica that starts as far as the engine, which is scripted and says which version it is."""

    async def _start(self) -> Any:
        (model,) = self._config.models
        folder = sources.model_directory(model, self._config)
        if model.engine.extra:
            replica._engine_config(model, self._config)
        match (folder / "config.json").read_bytes():
            case b"too large":
                raise MemoryError
            case b"crashes":
                os.kill(os.getpid(), signal.SIGKILL)
        return Versioned(Engine(lambda request: Text([model.version])), sources.manifest(model, self._config, folder))


class Roll:
    """A Serve application behind a sidecar, its store, and how many requests were answered by which version."""

    def __init__(self, store: Store, config: ServerConfig, url: str) -> None:
        self.store, self._config, self._url = store, config, url
        self.answers: list[str] = []
        self._version = itertools.count(2)

    def publish(self, kind: str) -> ServedModel:
        """Publish a version that cannot start, for the reason `kind`."""
        version, extra = f"v{next(self._version)}", {}
        content = files(version)
        if kind in ("too large", "crashes"):
            content["config.json"] = kind.encode()
        publish_version(self.store, version, content, dialect="react_en")
        prefix = f"models/m/versions/{version}"
        match kind:
            case "weights are missing":
                self.store.delete_keys([f"{prefix}/{WEIGHTS}"])
            case "a wrong digest":
                self._write(f"{prefix}/{WEIGHTS}", content[WEIGHTS][::-1])
            case "a broken manifest":
                self._write(f"{prefix}/manifest.json", b'{"name": "m", ')
            case "an option that the engine refuses":
                extra = {"no_such_option": True}
        return ServedModel(id="m", name="m", version=version, engine=EngineSettings(extra=extra))

    def _write(self, key: str, data: bytes) -> None:
        with self.store.writer(key) as writer:
            writer.write(data)

    def deploy(self, model: ServedModel) -> str:
        """Deploy; return how it ended: the application's status and what Serve says of it, or why nothing was built."""
        from ray import serve

        from callwright.server import app, runtime

        try:
            made = app.build(self._config.model_copy(update={"models": (model,)}))
        except CallwrightError as error:
            return str(error)
        serve.run_many([serve.RunTarget(made, name=runtime.APPLICATION)], wait_for_applications_running=False)
        while True:
            status = serve.status().applications[runtime.APPLICATION]
            if status.status.value != "DEPLOYING":
                return "\n".join([status.status.value, *(each.message for each in status.deployments.values())])
            time.sleep(0.1)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Ask without pause while the block runs; its answers stand in `answers`."""
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(timeout=30) as client:
                while not stop.is_set():
                    try:
                        answer = client.post(f"{self._url}/v1/chat/completions", json=ASKED)
                        said = answer.json()["choices"][0]["message"]["content"]
                        self.answers.append(said if answer.status_code == 200 else answer.text)
                    except (httpx.HTTPError, KeyError, ValueError) as error:
                        self.answers.append(repr(error))
                    stop.wait(0.02)

        callers = [threading.Thread(target=ask) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            yield
        finally:
            stop.set()
            for caller in callers:
                caller.join()


@pytest.fixture(scope="module")
def roll(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roll]:
    folder = tmp_path_factory.mktemp("rolls")
    store = Store.open((folder / "store").as_uri())
    publish_version(store, "v1", files("v1"), dialect="react_en")
    (port,) = preflight.free_ports(1)
    model = ServedModel(id="m", name="m", version="v1")
    config = ServerConfig(
        models=(model,), port=port, cpus=0.1, store=store.url, cache_dir=str(folder / "cache"), drain_seconds=5
    )
    with serving(StartingReplica, config) as url:
        yield Roll(store, config, url)


KINDS = {
    "weights are missing": WEIGHTS,
    "a broken manifest": "manifest.json",
    "a wrong digest": WEIGHTS,
    "an option that the engine refuses": "no_such_option",
    "too large": "MemoryError",
    "crashes": "ActorDied",
}
OFTEN = ("weights are missing", "crashes")
"""Kinds of which the others go the way: those are the slow tests'."""


@pytest.mark.parametrize(
    ("kind", "words"),
    [pytest.param(*item, marks=[] if item[0] in OFTEN else [pytest.mark.slow]) for item in KINDS.items()],
)
def test_while_a_version_cannot_start_the_standing_one_answers_every_request(
    roll: Roll, kind: str, words: str, figure: Figure
) -> None:
    roll.answers.clear()
    with roll.load():
        ended = roll.deploy(roll.publish(kind))
        answered = len(roll.answers)
        while len(roll.answers) < answered + 20:
            time.sleep(0.05)
    assert words in ended
    assert ended.startswith("DEPLOY_FAILED") or kind == "a broken manifest"
    assert set(roll.answers) == {"v1"}
    figure(f"a roll whose version cannot start ({kind}): failed of {len(roll.answers)}", 0, 0)


@pytest.mark.slow
def test_twenty_versions_that_cannot_start_one_after_the_other(roll: Roll, figure: Figure) -> None:
    roll.answers.clear()
    chance = random.Random(20)
    with roll.load():
        for kind in chance.sample([*KINDS] * 4, 20):
            roll.deploy(roll.publish(kind))
    assert set(roll.answers) == {"v1"}
    figure(f"20 rolls whose versions cannot start: failed of {len(roll.answers)}", 0, 0)


def test_after_versions_that_could_not_start_one_that_can_takes_over_without_a_failed_request(roll: Roll) -> None:
    roll.answers.clear()
    publish_version(roll.store, "whole", files("whole"), dialect="react_en")
    with roll.load():
        roll.deploy(roll.publish("too large"))
        assert roll.deploy(ServedModel(id="m", name="m", version="whole")).startswith("RUNNING")
        while roll.answers[-1] != "whole":
            time.sleep(0.05)
    assert set(roll.answers) == {"v1", "whole"}
