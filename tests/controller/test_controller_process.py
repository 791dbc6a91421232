"""The controller as a process: killed and started again it carries on, and says over HTTP how it is.

Under the service account and role of its chart, against a real API server.
"""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import kube
from callwright.controller.cluster import FINE_TUNE, RAY_JOB, Cluster
from callwright.controller.config import ControllerConfig
from callwright.server.preflight import free_ports
from cast import Play

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """`python -m callwright.controller`, to be killed and started again."""

    def __init__(self, config: ControllerConfig, kubeconfig: Path, folder: Path) -> None:
        self._folder = folder
        self._env = os.environ | {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "services")}
        self.health_port, self.metrics_port = free_ports(2)
        settled = config.model_copy(update={"health_port": self.health_port, "metrics_port": self.metrics_port})
        (folder / "controller.yaml").write_text(settled.model_dump_json(by_alias=True))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "callwright.controller", "--config"]
        with (self._folder / "controller.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self._folder / "controller.yaml")], env=self._env, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def process(config: ControllerConfig, kubeconfig: Path, tmp_path: Path) -> Iterator[Process]:
    made = Process(config, kubeconfig, tmp_path)
    made.start()
    yield made
    made.kill()
    print((tmp_path / "controller.log").read_text()[-6000:])


def test_killed_and_started_again_carries_on(play: Play, process: Process) -> None:
    play.apply(play.document())
    run = play.train()
    process.kill()
    uid = play.child(RAY_JOB, "train")["metadata"]["uid"]
    process.start()
    play.merge()
    process.kill()
    process.start()
    play.evaluate()
    assert play.wait_for("Promoted")["run"] == run
    assert play.child(RAY_JOB, "train")["metadata"]["uid"] == uid  # trained once
    with urllib.request.urlopen(f"http://127.0.0.1:{process.health_port}/healthz", timeout=10) as answer:
        assert answer.status == 200

    def counted() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics_port}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    wanted = f'callwright_finetunes{{namespace="{play.namespace}",phase="Promoted"}} 1.0'
    kube.wait_until(lambda: wanted in counted(), what=counted)
    assert "callwright_look_seconds_count" in counted()


@pytest.mark.usefixtures("garbage_collector")
def test_deleted_while_the_controller_is_away(play: Play, process: Process, cluster: Cluster) -> None:
    """Document and run are gone; nothing waits for a controller."""
    play.apply(play.document())
    play.prepare()
    process.kill()
    cluster.delete(FINE_TUNE, play.namespace, "weather")
    assert cluster.get(FINE_TUNE, play.namespace, "weather") is None
    kube.wait_until(lambda: play.cluster.find(RAY_JOB, play.namespace) == [], what="the run cancelled")
    process.start()
