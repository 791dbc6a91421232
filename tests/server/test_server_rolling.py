"""What Ray Serve does to streams when versions come and replicas go: real Serve and sidecar around scripted engines.

Only the engine is scripted: deployment, options and `Replica` are those of `build`.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from callwright.errors import NotFound, Unavailable
from callwright.server import preflight, replica
from callwright.server.config import ServedModel, ServerConfig
from callwright.server.scaling import FIRST_TOKEN_SECONDS
from fakes import Engine, Text
from scripted_serve import Opened, serving

pytestmark = pytest.mark.timeout(600)
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object", "properties": {}}}}


class ScriptedReplica(replica.Replica):
    """A replica whose engine says which version and process it is; with a user's message, it waits for that file."""

    async def _start(self) -> Any:
        folder = Path(str(self._config.models[0].path))
        if not folder.is_dir():
            raise NotFound(f"serving m: no directory {folder}")
        if (flake := folder / "flake").exists():
            flake.unlink()
            raise Unavailable("fetching m: no answer")
        (folder / "started").touch()

        def answer(request: dict[str, Any]) -> Text:
            said = request["messages"][-1]["content"]
            return Text([f"{os.getpid()} {folder.name}"], size=1000, hold=Opened(Path(said)) if "/" in said else None)

        return Engine(answer)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        told = Path(str(self._config.models[0].path)) / "first-token-seconds"
        return {FIRST_TOKEN_SECONDS: float(told.read_text()) if told.exists() else 0.0}


class Stack:
    """A Serve application behind a sidecar."""

    def __init__(self, folder: Path, config: ServerConfig, url: str) -> None:
        self.folder, self._config, self.url = folder, config, url
        self._held = 0

    def deploy(
        self, version: str, *, replicas: int = 1, attempts: int = 1, until: str = "RUNNING", **settings: float
    ) -> None:
        """Put `version` in place of the present one; wait until it answers, or for the application's status `until`."""
        from ray import serve

        from callwright.server import app, runtime

        model = ServedModel(id="m", path=str(self.folder / version))
        changed = {"models": (model,), "min_replicas": replicas, "start_attempts": attempts} | settings
        config = self._config.model_copy(update=changed)
        target = serve.RunTarget(app.build(config), name=runtime.APPLICATION)
        serve.run_many([target], wait_for_applications_running=False)
        while (status := serve.status().applications[runtime.APPLICATION].status.value) != until:
            # Still DEPLOYING while an old replica finishes its streams.
            assert status == "DEPLOYING", status
            if replicas == 1 and until == "RUNNING" and self.ask() == version:
                return
            time.sleep(0.1)

    def replicas(self) -> int:
        """How many run."""
        from ray import serve

        from callwright.server import app, runtime

        states = serve.status().applications[runtime.APPLICATION].deployments[app.DEPLOYMENT].replica_states
        return states.get("RUNNING", 0)

    def ask(self) -> str:
        """The version that answers a new request."""
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body("Hi"), timeout=30)
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"]).split()[1]

    @contextlib.contextmanager
    def stream(self) -> Iterator["Open"]:
        """A stream that has begun and waits for `finish`."""
        self._held += 1
        gate = self.folder / f"open-{self._held}"
        request = body(str(gate)) | {"stream": True}
        with httpx.stream("POST", f"{self.url}/v1/chat/completions", json=request, timeout=60) as response:
            yield Open(response, gate)


class Open:
    """An open stream: `pid` and `version` of who answers."""

    def __init__(self, response: httpx.Response, gate: Path) -> None:
        self._lines, self._gate = response.iter_lines(), gate
        text = ""
        while not text:
            (choice,) = self._event()["choices"]
            text = choice["delta"].get("content") or ""
        pid, self.version = text.split()
        self.pid = int(pid)

    def finish(self) -> bool:
        """Let the engine go on; whether the stream then ends as it should."""
        self._gate.touch()
        *_, last, done = self.rest()
        return done == "[DONE]" and json.loads(last).get("choices", [{}])[0].get("finish_reason") == "stop"

    def rest(self) -> list[str]:
        """The remaining lines with data."""
        return [line.removeprefix("data: ") for line in self._lines if line.startswith("data: ")]

    def _event(self) -> Any:
        line = next(line for line in self._lines if line.startswith("data: "))
        return json.loads(line.removeprefix("data: "))


def body(said: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": said}], "tools": [TOOL]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    import ray

    folder = tmp_path_factory.mktemp("rolling")
    for version in ("v1", "v2", "v3"):
        (folder / version).mkdir()
    (port,) = preflight.free_ports(1)
    model = ServedModel(id="m", path=str(folder / "v1"))
    config = ServerConfig(
        models=(model,), port=port, cpus=0.1, max_replicas=2, target_ongoing_requests=4, scale_up_seconds=0,
        drain_seconds=60,
    )  # fmt: skip
    with serving(ScriptedReplica, config, keep_alive_seconds=0.2) as url:
        yield Stack(folder, config, url)
    assert not ray.is_initialized()


def test_a_new_version_cuts_no_stream(stack: Stack) -> None:
    with stack.stream() as old:
        assert old.version == "v1"
        stack.deploy("v2")
        with stack.stream() as new:
            assert new.version == "v2"
            assert old.finish()
            assert new.finish()


def test_a_version_that_fails_to_load_leaves_the_old_one_serving(stack: Stack) -> None:
    stack.deploy("v2")
    with stack.stream() as begun:
        stack.deploy("missing", until="DEPLOY_FAILED")
        assert stack.ask() == begun.version == "v2"
        assert begun.finish()
    stack.deploy("v3")
    assert stack.ask() == "v3"


@pytest.mark.slow
def test_a_version_whose_first_start_fails_takes_over_with_the_second(stack: Stack) -> None:
    stack.deploy("v2")
    (stack.folder / "v1" / "flake").touch()
    stack.deploy("v1", attempts=2)
    assert stack.ask() == "v1"
    assert not (stack.folder / "v1" / "flake").exists()


@pytest.mark.slow
def test_replicas_come_while_first_tokens_are_late_and_go_when_they_are_quick(stack: Stack) -> None:
    """Though hardly anybody asks."""
    told = stack.folder / "v3" / "first-token-seconds"
    stack.deploy("v3", target_first_token_seconds=2.0, scale_down_seconds=0)
    try:
        for seconds, replicas in ((3.0, 2), (0.1, 1)):
            told.write_text(str(seconds))
            while stack.replicas() != replicas:
                assert stack.ask() == "v3"
                time.sleep(0.5)
    finally:
        told.unlink()


@pytest.mark.slow
def test_a_version_that_takes_over_has_as_many_replicas_as_the_one_before(stack: Stack) -> None:
    """Those that the load has asked for, though fewer would do by the settings."""
    from ray import serve

    from callwright.server import runtime

    stack.deploy("v2", replicas=2)
    stack.deploy("v3")
    while (application := serve.status().applications[runtime.APPLICATION]).status.value != "RUNNING":
        time.sleep(0.1)
    assert application.deployments["engine"].replica_states == {"RUNNING": 2}
    assert stack.ask() == "v3"


def test_where_no_replica_is_left_a_version_starts_one_before_it_is_taken_for_served(stack: Stack) -> None:
    """So one that cannot start is told, though nobody asks for it."""
    stack.deploy("v2", replicas=0, scale_down_seconds=0)
    while stack.replicas():
        time.sleep(0.1)
    stack.deploy("missing", replicas=0, until="DEPLOY_FAILED")
    started = stack.folder / "v3" / "started"
    started.unlink(missing_ok=True)
    stack.deploy("v3", replicas=0, scale_down_seconds=0)
    assert started.exists()
    while stack.replicas():
        time.sleep(0.1)
    (stack.folder / "gate").touch()
    asked = body(str(stack.folder / "gate")) | {"stream": True}
    held = httpx.post(f"{stack.url}/v1/chat/completions", json=asked, timeout=300).text
    assert held.startswith(": keep-alive"), "who asks for the first replica is told that it comes"
    assert " v3" in held
    assert held.endswith("data: [DONE]\n\n")


def test_a_replica_killed_in_a_stream_ends_that_stream_alone(stack: Stack) -> None:
    stack.deploy("v2", replicas=2)
    with contextlib.ExitStack() as streams:
        opened: list[Open] = []
        # A replica runs a while before HAProxy knows it, and until then the one that it replaces answers.
        while len({stream.pid for stream in opened if stream.version == "v2"}) < 2:
            assert len(opened) < 500, "Serve gives every stream to one replica"
            opened.append(streams.enter_context(stack.stream()))
        killed = opened[-1].pid
        others = [stream for stream in opened if stream.pid != killed]
        os.kill(killed, signal.SIGKILL)
        for stream in opened:
            if stream.pid == killed:
                assert json.loads(stream.rest()[-1])["error"]["type"] == "engine_unavailable"
        assert stack.ask() == "v2"
        assert all(stream.finish() for stream in others)


def test_on_one_machine_what_takes_requests_listens_on_loopback_alone(stack: Stack) -> None:
    addresses: dict[str, set[str]] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            listening = {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
            addresses.setdefault(process.name(), set()).update(listening)
    assert addresses["haproxy"] == {"127.0.0.1"}
    # Ray's own ports, which ask for a token, are on every address; what is on loopback is the ingress's.
    inside = [name for name, found in addresses.items() if "127.0.0.1" in found]
    assert any("ServeReplica" in name for name in inside)
    assert any("ProxyActor" in name for name in inside)
    assert stack.ask()


@pytest.mark.slow
def test_a_second_replica_comes_when_one_has_too_much_to_do(stack: Stack) -> None:
    stack.deploy("v1")
    with contextlib.ExitStack() as streams:
        opened = [streams.enter_context(stack.stream()) for _ in range(8)]
        busy = {stream.pid for stream in opened if stream.version == "v1"}
        while len(busy) < 2:
            with stack.stream() as new:
                assert new.finish()
            busy |= {new.pid} if new.version == "v1" else set()
            time.sleep(0.1)
        assert all(stream.finish() for stream in opened)
