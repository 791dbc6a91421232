"""How many GPU-hours a run has held: counted once, whoever looks when, on the real API server."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from callwright.controller import gpu_hours
from callwright.controller import reconcile as reconciling
from callwright.controller.cluster import JOB
from callwright.controller.metrics import Metrics
from callwright.controller.reconcile import Reconciler
from callwright.spec.status import Status
from cast import Play

START = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
EIGHT = {"resources": {"workers": 8, "gpusPerWorker": 1}}


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Clock:
    """The controller's time, in minutes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, play: Play, reconciler: Reconciler) -> None:
        self._play, self._reconciler = play, reconciler
        self._minutes = 0.0
        monkeypatch.setattr(reconciling, "_now", lambda: at(self._minutes))

    def look(self, minutes: float) -> Status:
        """The controller's look at that time; each might be another process's, for it remembers nothing."""
        self._minutes = minutes
        self._reconciler.reconcile(self._play.namespace, "weather")
        return Status.model_validate(self._play.status())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, play: Play, reconciler: Reconciler) -> Clock:
    play.apply(play.document(**EIGHT))
    made = Clock(monkeypatch, play, reconciler)
    run = made.look(0).run or ""
    made.look(0)
    play.prepared(run)
    play.job("prepare")
    assert made.look(0).gpus is None, "the preparation has none"
    return made


def up(play: Play, minutes: float) -> None:
    """What KubeRay writes while the Ray cluster is up, whose last pod came at that time."""
    condition = {"type": "RayClusterProvisioned", "status": "True", "reason": "AllPodRunningAndReadyFirstTime"}
    cluster = {"conditions": [condition | {"message": "", "lastTransitionTime": at(minutes)}]}
    play.ray_job("Running", "RUNNING", startTime=at(0), rayClusterStatus=cluster)


def test_gpus_count_from_when_all_are_there_until_they_are_given_back(play: Play, clock: Clock):
    play.ray_job("Initializing", startTime=at(0))
    assert clock.look(60).gpu_hours is None, "not while pods wait"
    up(play, 60)
    taken = clock.look(61)
    assert (taken.gpus, taken.gpu_hours) == (8, None)
    assert clock.look(90).gpu_hours == 4
    assert clock.look(90.5).gpu_hours == 4, "no write for every look"
    play.ray_job("Complete", "SUCCEEDED", endTime=at(120))
    ended = clock.look(150)  # nobody looked meanwhile
    assert (ended.phase, ended.gpu_hours, ended.gpus) == ("Merging", 8, None)
    assert clock.look(200).gpu_hours == 8, "the merge has none"


def test_tries_are_added_and_what_lies_between_them_is_not(play: Play, clock: Clock):
    up(play, 0)
    clock.look(30)
    assert clock.look(60).gpu_hours == 8
    play.ray_job("Retrying", failed=1)
    clock.look(61)
    play.ray_job("Initializing", failed=1)
    between = clock.look(180).gpu_hours
    up(play, 180)
    clock.look(190)
    play.ray_job("Failed", "FAILED", reason="AppFailed", endTime=at(210))
    failed = clock.look(300)
    assert (failed.phase, between, failed.gpu_hours) == ("Failed", pytest.approx(8.1333), pytest.approx(12.1333))
    play.change(resources={"memoryPerWorker": "64Gi"})
    assert clock.look(400).gpu_hours == failed.gpu_hours, "another attempt, the same run"
    play.ray_job("Running", "RUNNING", rayJobInfo={"startTime": at(420)})
    clock.look(421)
    assert clock.look(450).gpu_hours == pytest.approx(16.1333)


def test_a_suspended_run_holds_none(play: Play, clock: Clock):
    up(play, 0)
    clock.look(0)
    play.change(suspend=True)
    clock.look(60)
    play.ray_job("Suspended")
    held = clock.look(60)
    assert (held.phase, held.gpu_hours, held.gpus) == ("Suspended", 8, None)
    assert clock.look(600).gpu_hours == 8
    play.change(suspend=False)
    play.ray_job("Running", "RUNNING")  # the cluster's conditions may be those of before
    clock.look(660)
    assert clock.look(720).gpu_hours == 16


def test_a_training_that_nobody_saw_is_counted_by_its_times(play: Play, clock: Clock):
    play.ray_job("Complete", "SUCCEEDED", startTime=at(0), rayJobInfo={"startTime": at(30)}, endTime=at(90))
    assert clock.look(500).gpu_hours == 8
    assert clock.look(600).gpu_hours == 8


def test_the_evaluation_s_engine_counts_too(play: Play, clock: Clock):
    play.ray_job("Complete", "SUCCEEDED")
    run = clock.look(1).run or ""
    play.publish("weather", run)
    play.job("merge")
    clock.look(2)
    play.pod(JOB, "evaluate", container="base", state={"running": {}})
    name = play.child(JOB, "evaluate")["metadata"]["name"]
    play.report(JOB, name, {"active": 1, "startTime": at(0)})
    assert clock.look(60).gpus == 1, "the pod works before it is ready"
    play.report(JOB, name, {"active": 1, "ready": 1, "startTime": at(0)})
    assert clock.look(90).gpu_hours == 0.5
    play.evaluated(run)
    play.report(JOB, name, {"active": 0, "ready": 0})
    play.job("evaluate")
    assert (clock.look(120).phase, clock.look(120).gpu_hours) == ("Promoted", 0.5), "until the Job's completion"


def test_what_is_stopped_is_given_back_and_a_new_run_begins_at_nothing(play: Play, clock: Clock):
    up(play, 0)
    clock.look(0)
    play.change(cluster={"secret": "somebodys"})
    refused = clock.look(60)
    assert (refused.phase, refused.gpu_hours, refused.gpus) == ("Failed", 8, None)
    assert clock.look(90) == refused
    play.change(cluster={"secret": None}, train={"learningRate": 3e-4})
    assert clock.look(100).gpu_hours is None


@pytest.mark.parametrize(
    ("spec", "gpus"),
    [
        ({"template": {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}, {}]}}}, 2),
        ({"template": {"spec": {"containers": [{}], "initContainers": [
            {"restartPolicy": "Always", "resources": {"limits": {"nvidia.com/gpu": 4}}},
            {"resources": {"limits": {"nvidia.com/gpu": 4}}}]}}}, 4),
    ],
)  # fmt: skip
def test_the_gpus_of_a_pod_are_those_that_it_keeps(spec: dict[str, Any], gpus: int):
    assert gpu_hours.gpus_of({"spec": spec}, "nvidia.com/gpu") == gpus


def test_the_metric_counts_what_is_added_after_the_first_sight():
    metrics, key = Metrics(), ("team-a", "weather")

    def counted(model: str = "weather") -> float | None:
        return metrics.registry.get_sample_value("callwright_gpu_hours_total", {"namespace": "team-a", "model": model})

    metrics.see_gpus(key, "weather", "run-1", 5.0, there=True)
    assert counted() == 0, "another process counted them"
    metrics.see_gpus(key, "weather", "run-1", 7.5, there=True)
    metrics.see_gpus(key, "weather", "run-1", 7.5, there=True)
    assert counted() == 2.5
    metrics.see_gpus(key, "weather", "run-2", 0.0, there=True)
    metrics.see_gpus(key, "weather", "run-2", 1.0, there=True)
    assert counted() == 3.5
    metrics.see_gpus(key, "weather", "run-2", 1.0, there=False)
    metrics.see_gpus(key, "weather", "run-1", 0.0, there=True)
    assert counted() == 3.5
