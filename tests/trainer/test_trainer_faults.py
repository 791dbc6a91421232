"""Faults, on real Ray: workers and drivers that die in the middle of a step, and a notice to stop, change nothing."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

from callwright import spec
from callwright.datasets.prepare import prepare
from callwright.store import Store
from callwright.trainer.checkpoints import Checkpoints
from callwright.trainer.learner import Learner
from callwright.trainer.model import load_model
from callwright.trainer.rows import Rows
from models import tiny_model
from ray_nodes import cluster_of

pytestmark = pytest.mark.timeout(600)
STEPS = 47
RUN = "tiny"
DOCUMENT = """\
apiVersion: callwright.io/v1alpha1
kind: FineTune
metadata: {{name: tiny}}
spec:
  base: {{model: {base}}}
  dialect: hermes
  data: {{sources: [{{path: {data}, format: openai}}], testFraction: 0, maxLength: 1200}}
  lora: {{rank: 4, dropout: 0}}
  train: {{steps: {steps}, batchSize: 4, sequencesPerStep: 16, learningRate: 1.0e-2, logSteps: 1, saveSteps: 3{train}}}
  resources: {{workers: 2}}
"""


@dataclass(frozen=True)
class Setting:
    folder: Path
    expected_loss: float
    """Loss of the last step of a run that nothing disturbs."""

    def checkpoints(self, store: Path) -> Checkpoints:
        return Checkpoints(Store.open(store.as_uri()), RUN)

    def report(self, store: Path) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((store / "runs" / RUN / "report.json").read_text())
        return report


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("faults")
    base = tiny_model(folder / "base")
    with (folder / "data.jsonl").open("w") as file:
        for number in range(48):
            words = " ".join(f"word{number * k % 89}" for k in range(1, 30 + 2 * number))
            turns = [{"role": "user", "content": f"say {number}"}, {"role": "assistant", "content": words}]
            file.write(json.dumps({"messages": turns}) + "\n")
    values = {"base": base, "data": folder / "data.jsonl", "steps": STEPS}
    document = folder / "finetune.yaml"
    document.write_text(DOCUMENT.format(**values, train=""))
    (folder / "shared.yaml").write_text(DOCUMENT.format(**values, train=", sharding: full, maxFailures: 1"))
    asked = spec.load(document).spec
    rows = Rows.open(prepare(asked.data, dialect=asked.dialect, base_dir=base, folder=folder / "data").train)
    learner = Learner(load_model(base, asked.base, asked.lora, asked.train, torch.device("cpu")), rows, asked.train)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a worker's; two that wait for one another stand still on a busy machine
    losses = [learner.advance().metrics()["loss"] for _ in range(STEPS)]
    torch.set_num_threads(threads)
    assert losses[-1] < 0.9 * losses[0]
    return Setting(folder, losses[-1])


@contextmanager
def driver(
    setting: Setting, work: Path, document: str = "finetune.yaml", *, cluster: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m callwright.trainer`, as a RayJob does, until the block's end; on the cluster at that address."""
    command = [sys.executable, "-m", "callwright.trainer", "--spec", str(setting.folder / document)]
    command += ["--run", RUN, "--store", (work / "store").as_uri(), "--workdir", str(work)]
    settings = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.1"}
    environment = os.environ | settings | {"RAY_AUTH_MODE": "disabled"}  # so that the test may speak to Ray too
    environment |= {"RAY_ADDRESS": cluster} if cluster else {}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_step(process: subprocess.Popen[str], step: int, *, resumed: Path | None = None) -> None:
    """Return when the driver tells of `step` or a later one before the last, after going on again by `resumed`."""
    assert process.stderr
    for line in process.stderr:
        print(line, end="")
        if (found := re.search(rf" (\d+)/{STEPS} ", line)) and int(found[1]) >= step:
            assert int(found[1]) < STEPS, "the run was over before it could be disturbed"
            if resumed is None or "resumed_step" in resumed.read_text():
                return
    pytest.fail("the driver has ended")


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the driver's end; its remaining words."""
    _, said = process.communicate(timeout=400)
    return said


def completed(setting: Setting, work: Path, process: subprocess.Popen[str], said: str) -> dict[str, Any]:
    """The report of a driver that has ended as if nothing had disturbed the run."""
    assert process.returncode == 0, said
    report = setting.report(work / "store")
    assert report["step"] == STEPS
    assert report["loss"] == pytest.approx(setting.expected_loss, abs=1e-4)
    return report


def processes(driver: int) -> dict[int, str]:
    """Command lines of the driver and of all that descends from it, by process id."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            pid, state = int(entry.name), (entry / "stat").read_text()
            parents[pid] = int(state.rpartition(")")[2].split()[1])
            lines[pid] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (ValueError, OSError):
            continue

    def descends(pid: int) -> bool:
        while pid in parents and pid != driver:
            pid = parents[pid]
        return pid == driver

    return {pid: line for pid, line in lines.items() if descends(pid)}


def training_workers(driver: int) -> list[int]:
    """Process ids of the driver's training workers."""
    return [pid for pid, line in processes(driver).items() if "RayTrainWorker" in line]


def give_notice(driver: int) -> None:
    """Tell Ray that the driver's node will soon be taken away, as `ray start` does when its pod gets SIGTERM."""
    (raylet,) = (line for line in processes(driver).values() if "/raylet " in line)
    address, node = (re.findall(rf"--{name}=(\S+)", raylet)[0] for name in ("gcs-address", "node_id"))
    deadline = int((time.time() + 600) * 1000)
    accepted, why = GcsClient(address=address).drain_node(node, DRAIN_NODE_REASON_PREEMPTION, "evicted", deadline)
    assert accepted, why


def wait_for_end(pids: list[int]) -> None:
    """Return when none of the processes is left."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ready, _, _ = select.select([handle], [], [], 60)
        os.close(handle)
        assert ready, f"process {pid} outlives its driver"


def kill_a_worker(driver: int) -> list[int]:
    """Kill a training worker of the driver in the middle of a step; the process ids of all of them."""
    workers = training_workers(driver)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGSTOP)  # the other now waits for it
    os.kill(workers[1], signal.SIGKILL)
    return workers


def test_a_worker_killed_in_the_middle_of_a_step_changes_nothing(setting: Setting, tmp_path: Path) -> None:
    with driver(setting, tmp_path) as process:
        wait_for_step(process, 4)
        kill_a_worker(process.pid)
        said = finish(process)
    assert 3 <= completed(setting, tmp_path, process, said)["resumed_step"] < STEPS


def training_nodes(cluster: Cluster) -> list[Any]:
    """The cluster's nodes, its head excepted, with a training worker."""
    return [node for node in cluster.worker_nodes if training_workers(node.all_processes["raylet"][0].process.pid)]


@pytest.mark.slow
def test_a_node_that_is_lost_is_replaced_by_another(setting: Setting, tmp_path: Path) -> None:
    """With all its processes; the run goes on from the newest checkpoint, on the nodes that are left."""
    with cluster_of(1, 1, 1) as cluster, driver(setting, tmp_path, cluster=cluster.address) as process:
        wait_for_step(process, 4)
        cluster.remove_node(training_nodes(cluster)[0], allow_graceful=False)
        said = finish(process)
    assert 3 <= completed(setting, tmp_path, process, said)["resumed_step"] < STEPS


@pytest.mark.slow
def test_a_killed_driver_and_a_notice_to_stop_change_nothing(setting: Setting, tmp_path: Path) -> None:
    checkpoints = setting.checkpoints(tmp_path / "store")
    with driver(setting, tmp_path) as process:
        wait_for_step(process, 4)
        workers = training_workers(process.pid)
        process.kill()
    wait_for_end(workers)
    killed_at = checkpoints.list()[-1].step
    assert killed_at >= 3

    with driver(setting, tmp_path) as process:
        wait_for_step(process, killed_at + 1)
        process.terminate()
        said = finish(process)
    assert process.returncode == 128 + signal.SIGTERM
    stopped_at = checkpoints.list()[-1].step
    assert f"stopped by SIGTERM after step {stopped_at} of {STEPS}" in said
    assert killed_at < stopped_at < STEPS
    assert not (tmp_path / "store" / "runs" / RUN / "adapter").exists()

    with driver(setting, tmp_path) as process:
        said = finish(process)
    assert completed(setting, tmp_path, process, said)["resumed_step"] == stopped_at


@pytest.mark.slow
def test_a_training_that_fails_too_often_says_what_is_kept_and_goes_on_when_asked(
    setting: Setting, tmp_path: Path
) -> None:
    checkpoints = setting.checkpoints(tmp_path / "store")
    with driver(setting, tmp_path, "shared.yaml") as process:
        wait_for_step(process, 4)
        killed = kill_a_worker(process.pid)
        wait_for_end(killed)
        wait_for_step(process, 4, resumed=tmp_path / "runs" / RUN / "metrics.jsonl")
        kill_a_worker(process.pid)
        said = finish(process)
    kept = checkpoints.list()[-1].step
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "training: its workers failed again after 1 restart, and train.maxFailures 1 allows no more: " in said
    assert "'s process is gone (killed, out of memory, or its node was lost); " in said
    assert f"the newest checkpoint is that of step {kept}; mend what made it fail, then run the same again" in said
    assert setting.report(tmp_path / "store")["status"] == "failed"

    with driver(setting, tmp_path, "shared.yaml") as process:
        wait_for_step(process, kept + 1)
        give_notice(process.pid)
        said = finish(process)
    report = completed(setting, tmp_path, process, said)
    assert report["resumed_step"] == kept
    lines = [json.loads(line) for line in (tmp_path / "runs" / RUN / "metrics.jsonl").read_text().splitlines()]
    assert kept < report["notice_step"] < STEPS
    assert report["notice_step"] in [line.get("saved_step") for line in lines]
