"""Everything that goes wrong on the way, against the real API server: what is said, what stays, what is tried again."""

from dataclasses import replace
from typing import Any

import pytest

from callwright.controller.cluster import JOB, RAY_JOB
from callwright.controller.reconcile import Reconciler
from callwright.controller.run_store import RunStore
from callwright.errors import Conflict, Unavailable
from callwright.store import Registry, Store
from cast import SERVICE, Play


def look(reconciler: Reconciler, play: Play) -> dict[str, Any]:
    reconciler.reconcile(play.namespace, "weather")
    return play.status()


def condition(status: dict[str, Any], kind: str) -> tuple[str, str]:
    (found,) = [each for each in status["conditions"] if each["type"] == kind]
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("stage", "phase", "done", "container"),
    [
        ("prepare", "Preparing", "Prepared", "prepare"),
        ("train", "Training", "Trained", "ray-worker"),
        ("merge", "Merging", "Merged", "merge"),
        ("evaluate", "Evaluating", "Evaluated", "engine"),
    ],
)
def test_a_failed_stage_is_told_and_made_again_alone(
    play: Play, reconciler: Reconciler, stage: str, phase: str, done: str, container: str
) -> None:
    kind = RAY_JOB if stage == "train" else JOB
    play.apply(play.document())
    play.live(reconciler, until=phase, but=stage)
    play.failed_pod(kind, stage, container=container, log="step one\nerror: no space left on device")
    if stage == "train":
        play.ray_job("Failed", "FAILED", reason="AppFailed", message="Job has ended")
    else:
        play.job(stage, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    status = look(reconciler, play)
    reason = "AppFailed" if stage == "train" else "BackoffLimitExceeded"
    assert (status["phase"], condition(status, done)) == ("Failed", ("False", reason))
    assert condition(status, "Failed") == ("True", reason)
    for words in (
        f"{stage} failed: {reason}: Job has ", f"{stage}-x7k2p, container {container}: exit code 1",
        "| error: no space left on device", "apply the document again with a change, such as more memory",
    ):  # fmt: skip
        assert words in status["message"]
    before = {each["metadata"]["name"] for each in play.cluster.find(RAY_JOB, play.namespace)}
    play.change(resources={"memoryPerWorker": "64Gi"})  # the same run, tried again
    status = play.live(reconciler)
    assert status["attempt"] == 1
    again = play.cluster.get(kind, play.namespace, f"{status['run']}-{stage}-1")
    assert again is not None
    if stage == "train":
        (group,) = again["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "64Gi"
    elif stage == "prepare":
        assert not before, "no GPU is asked for"
    else:  # trained once
        assert {each["metadata"]["name"] for each in play.cluster.find(RAY_JOB, play.namespace)} == before


def test_a_merge_that_publishes_nothing_has_failed(play: Play, store: Store, reconciler: Reconciler) -> None:
    play.apply(play.document())
    run = play.live(reconciler, until="Merging", but="merge")["run"]
    play.job("merge")
    status = look(reconciler, play)
    assert condition(status, "Merged") == ("False", "NotPublished")
    assert f"models/weather/versions/{run}/manifest.json in {store.url}" in status["message"]


def test_a_preparation_without_a_record_has_failed(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document())
    play.live(reconciler, until="Preparing", but="prepare")
    play.job("prepare")
    status = look(reconciler, play)
    assert condition(status, "Prepared") == ("False", "NotPrepared")
    assert f"runs/{status['run']}/prepared.json" in status["message"]
    assert play.cluster.find(RAY_JOB, play.namespace) == []


def test_a_wrong_input_is_told_from_the_preparation_s_pod(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document())
    play.live(reconciler, until="Preparing", but="prepare")
    play.failed_pod(JOB, "prepare", container="prepare", log="error: lora.rank is 4096, larger than", code=2)
    play.job("prepare", "Failed", "PodFailurePolicy", "Container prepare failed with exit code 2")
    status = look(reconciler, play)
    assert (status["phase"], condition(status, "Prepared")) == ("Failed", ("False", "PodFailurePolicy"))
    assert "| error: lora.rank is 4096, larger than" in status["message"]
    assert "nothing was trained yet" in status["message"]


def test_a_training_that_is_refused_is_not_tried_again(play: Play, reconciler: Reconciler) -> None:
    """KubeRay makes a Ray cluster anew for what does not exit 0: so the trainer does, and its report says why."""
    play.apply(play.document())
    run = play.live(reconciler, until="Training", but="train")["run"]
    head = play.child(RAY_JOB, "train")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert {"name": "CALLWRIGHT_REFUSALS", "value": "report"} in head["env"]
    play.refused(run, "reading the base s3://b/base: no model.safetensors")
    play.ray_job("Complete", "SUCCEEDED")
    status = look(reconciler, play)
    assert (status["phase"], condition(status, "Trained")) == ("Failed", ("False", "InvalidInput"))
    assert "train failed: InvalidInput: reading the base s3://b/base: no model.safetensors" in status["message"]
    assert look(reconciler, play) == status
    assert len(play.cluster.find(RAY_JOB, play.namespace)) == 1
    play.change(resources={"memoryPerWorker": "64Gi"})
    play.live(reconciler, until="Training", but="train")
    play.ray_job("Running", "RUNNING")
    assert look(reconciler, play)["phase"] == "Training", "an earlier refusal is none of this try's"


def test_an_evaluation_without_a_record_has_failed(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document())
    play.live(reconciler, until="Evaluating", but="evaluate")
    play.job("evaluate")
    assert condition(look(reconciler, play), "Evaluated") == ("False", "NoReport")


@pytest.mark.parametrize("outcome", ["Complete", "Failed"])
def test_a_gate_that_failed_leaves_the_promoted_version(
    play: Play, store: Store, reconciler: Reconciler, outcome: str
) -> None:
    """A verdict is a result of its Job; under an earlier release it made the Job fail, too."""
    play.publish("weather", "old")
    Registry(store).promote("weather", "old")
    play.apply(play.document(evaluate={"gate": {"minAccuracy": 0.95}}))
    run = play.live(reconciler, until="Evaluating", but="evaluate")["run"]
    (evaluator,) = play.child(JOB, "evaluate")["spec"]["template"]["spec"]["containers"]
    assert evaluator["command"][-2:] == ["--promoted-id", "weather@old"]  # no report of it is in the store
    play.evaluated(run)
    play.job("evaluate", outcome, "BackoffLimitExceeded", "m")
    status = look(reconciler, play)
    assert (status["phase"], status["accuracy"], condition(status, "Promoted")[0]) == ("Rejected", 0.93, "False")
    assert "minAccuracy: got 0.93; expected at least 0.95" in status["message"]
    assert Registry(store).promoted("weather") == "old"
    assert look(reconciler, play) == status  # the end


def test_what_holds_a_stage_up_is_said(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document())
    play.live(reconciler, until="Merging", but="merge")
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image m:1"}
    play.pod(JOB, "merge", container="merge", state={"waiting": waiting})
    status = look(reconciler, play)
    assert status["phase"] == "Merging"
    assert "ImagePullBackOff: Back-off pulling image m:1" in status["message"]


def test_a_document_that_no_schema_can_refuse_is_refused(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document())
    play.live(reconciler, until="Training", but="train")
    play.change(lora={"targets": 7})  # a union, which a schema in a cluster can't say
    status = look(reconciler, play)
    assert (status["phase"], condition(status, "Accepted")) == ("Failed", ("False", "InvalidInput"))
    assert "spec.lora.targets" in status["message"]
    assert play.cluster.find(RAY_JOB, play.namespace) == []  # what ran is not wanted any more
    play.change(lora={"targets": "all"})
    assert play.live(reconciler, until="Training", but="train")["attempt"] == 0


@pytest.mark.parametrize(
    ("served", "outcome", "reason", "said"),
    [
        ("umbrella", "", "NotServed", "got models umbrella"),
        ("weather", "DEPLOY_FAILED", "DeployFailed", "llm is DEPLOY_FAILED: out of memory"),
    ],
)
def test_a_service_that_does_not_take_the_version(
    play: Play, store: Store, reconciler: Reconciler, served: str, outcome: str, reason: str, said: str
) -> None:
    play.install_service(served)
    play.apply(play.document(deploy={"service": SERVICE}))
    if outcome:
        play.live(reconciler, until="Deploying", but="deploy")
        play.rolled_out(outcome, "out of memory")
        reconciler.reconcile(play.namespace, "weather")
    status = play.live(reconciler, until="Failed")
    assert condition(status, "Deployed") == ("False", reason)
    assert said in status["message"]
    assert Registry(store).promoted("weather") is None
    assert play.served() == [""]


def test_somebody_else_promotes_at_the_same_time(play: Play, store: Store, reconciler: Reconciler) -> None:
    """A lost race is a look that is made again, not a failure."""

    class Racing(RunStore):
        def promote(self, model: str, version: str) -> None:
            raise Conflict("promoting weather: somebody else did")

    play.apply(play.document())
    play.live(reconciler, until="Evaluating", but="evaluate")
    play.evaluated(play.status()["run"])
    play.job("evaluate")
    with pytest.raises(Conflict):
        replace(reconciler, open_store=lambda url, credentials: Racing(store)).reconcile(play.namespace, "weather")
    assert play.live(reconciler)["attempt"] == 0


def test_a_store_that_is_away_fails_nothing(play: Play, store: Store, reconciler: Reconciler) -> None:
    class Away(RunStore):
        def published(self, model: str, version: str) -> bool:
            raise Unavailable("reading s3://bucket: no answer")

    play.apply(play.document())
    run = play.live(reconciler, until="Merging", but="merge")["run"]
    play.publish("weather", run)
    play.job("merge")
    before = play.status()
    with pytest.raises(Unavailable):
        replace(reconciler, open_store=lambda url, credentials: Away(store)).reconcile(play.namespace, "weather")
    assert play.status() == before
    assert play.live(reconciler)["run"] == run
