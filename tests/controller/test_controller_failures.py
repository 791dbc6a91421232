"""Everything that goes wrong on the way, against the real API server: what is said, what stays, what is tried again."""

from typing import Any

import pytest
from cast import Play, evaluated, publish
from turns import SERVICE, install_service, live, rolled_out

from callwright.controller.cluster import JOB, POD, RAY_JOB, RAY_SERVICE
from callwright.controller.look import World
from callwright.controller.reconcile import reconcile
from callwright.controller.reports import RunReports
from callwright.errors import Conflict, Unavailable
from callwright.store import Registry, Store


def look(world: World, play: Play) -> dict[str, Any]:
    reconcile(world, play.namespace, "weather")
    return play.status()


def condition(status: dict[str, Any], kind: str) -> tuple[str, str]:
    (found,) = [each for each in status["conditions"] if each["type"] == kind]
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("stage", "phase", "done", "container"),
    [("merge", "Merging", "Merged", "merge"), ("evaluate", "Evaluating", "Evaluated", "engine")],
)
def test_a_failed_job_is_told_and_made_again_alone(
    play: Play, store: Store, world: World, stage: str, phase: str, done: str, container: str
) -> None:
    play.apply(play.document())
    live(world, play, store, until=phase, but=stage)
    play.failed_pod(JOB, stage, container=container, log="step one\nerror: no space left on device", code=1)
    play.job(stage, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    status = look(world, play)
    assert (status["phase"], condition(status, done)) == ("Failed", ("False", "BackoffLimitExceeded"))
    for words in (
        f"{stage} failed: BackoffLimitExceeded: Job has reached", f"{stage}-x7k2p, container {container}: exit code 1",
        "| error: no space left on device", "apply the document again",
    ):  # fmt: skip
        assert words in status["message"]
    before = {each["metadata"]["uid"] for each in play.cluster.find(RAY_JOB, play.namespace)}
    play.change(cluster={"secret": "bigger"})
    status = live(world, play, store)
    assert status["attempt"] == 1
    assert {each["metadata"]["uid"] for each in play.cluster.find(RAY_JOB, play.namespace)} == before
    names = {each["metadata"]["name"] for each in play.cluster.find(JOB, play.namespace)}
    assert {f"{status['run']}-{stage}", f"{status['run']}-{stage}-1"} <= names


def test_a_merge_that_publishes_nothing_has_failed(play: Play, store: Store, world: World) -> None:
    play.apply(play.document())
    run = live(world, play, store, until="Merging", but="merge")["run"]
    play.job("merge")
    status = look(world, play)
    assert condition(status, "Merged") == ("False", "NotPublished")
    assert f"models/weather/versions/{run}/manifest.json in {store.url}" in status["message"]


def test_an_evaluation_without_a_record_has_failed(play: Play, store: Store, world: World) -> None:
    play.apply(play.document())
    live(world, play, store, until="Evaluating", but="evaluate")
    play.job("evaluate")
    assert condition(look(world, play), "Evaluated") == ("False", "NoReport")


def test_a_job_that_fails_by_the_gate_is_a_rejection(play: Play, store: Store, world: World) -> None:
    """The evaluator exits with 1 for a gate that failed, so its Job fails."""
    play.apply(play.document())
    run = live(world, play, store, until="Evaluating", but="evaluate")["run"]
    evaluated(store, run, passed=False)
    play.job("evaluate", "Failed", "BackoffLimitExceeded", "m")
    status = look(world, play)
    assert (status["phase"], status["accuracy"]) == ("Rejected", 0.93)
    assert "minAccuracy: got 0.93; expected 0.95" in status["message"]
    assert look(world, play) == status  # the end


def test_what_holds_a_stage_up_is_said(play: Play, store: Store, world: World) -> None:
    play.apply(play.document())
    run = live(world, play, store, until="Merging", but="merge")["run"]
    job = play.child(JOB, "merge")
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": f"{run}-pod", "namespace": play.namespace, "labels": job["metadata"]["labels"]},
        "spec": {"containers": [{"name": "merge", "image": "none"}]},
    }  # fmt: skip
    play.cluster.create(POD, pod)
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image m:1"}
    state = {"name": "merge", "image": "none", "imageID": "", "ready": False, "restartCount": 0}
    seen = {"containerStatuses": [state | {"state": {"waiting": waiting}}]}
    play.cluster.merge(POD, play.namespace, f"{run}-pod", {"status": seen}, subresource="status")
    status = look(world, play)
    assert status["phase"] == "Merging"
    assert "ImagePullBackOff: Back-off pulling image m:1" in status["message"]


def test_a_document_that_no_schema_can_refuse_is_refused(play: Play, store: Store, world: World) -> None:
    play.apply(play.document())
    live(world, play, store, until="Training", but="train")
    play.change(data={"sources": [{"path": "p", "count": 1, "ratio": 0.5}]})
    status = look(world, play)
    assert (status["phase"], condition(status, "Accepted")) == ("Failed", ("False", "InvalidInput"))
    assert "count and ratio" in status["message"]
    assert play.cluster.find(RAY_JOB, play.namespace) == []  # what ran is not wanted any more
    play.change(data={"sources": [{"path": "p", "count": 1, "ratio": None}]})
    assert live(world, play, store, until="Training", but="train")["attempt"] == 0


@pytest.mark.parametrize(
    ("served", "outcome", "reason", "said"),
    [
        ("umbrella", "", "NotServed", "got models umbrella"),
        ("weather", "DEPLOY_FAILED", "DeployFailed", "llm is DEPLOY_FAILED: out of memory"),
    ],
)
def test_a_service_that_does_not_take_the_version(
    play: Play, store: Store, world: World, served: str, outcome: str, reason: str, said: str
) -> None:
    install_service(play, served)
    play.apply(play.document(deploy={"service": SERVICE}))
    if outcome:
        live(world, play, store, until="Deploying", but="deploy")
        taken = play.cluster.get(RAY_SERVICE, play.namespace, SERVICE)
        assert taken is not None
        rolled_out(play, taken, outcome, "out of memory")
        reconcile(world, play.namespace, "weather")
    status = live(world, play, store, until="Failed")
    assert condition(status, "Deployed") == ("False", reason)
    assert said in status["message"]
    assert Registry(store).promoted("weather") == status["run"]  # the pointer is not the service's


def test_somebody_else_promotes_at_the_same_time(play: Play, store: Store, world: World) -> None:
    """A lost race is a look that is made again, not a failure."""

    class Racing(RunReports):
        def promote(self, model: str, version: str) -> None:
            raise Conflict("promoting weather: somebody else did")

    play.apply(play.document())
    live(world, play, store, until="Evaluating", but="evaluate")
    evaluated(store, play.status()["run"])
    play.job("evaluate")
    with pytest.raises(Conflict):
        reconcile(World(world.cluster, world.config, lambda url: Racing(store)), play.namespace, "weather")
    assert live(world, play, store)["attempt"] == 0


def test_a_store_that_is_away_fails_nothing(play: Play, store: Store, world: World) -> None:
    class Away(RunReports):
        def published(self, model: str, version: str) -> bool:
            raise Unavailable("reading s3://bucket: no answer")

    play.apply(play.document())
    run = live(world, play, store, until="Merging", but="merge")["run"]
    publish(store, "weather", run)
    play.job("merge")
    before = play.status()
    with pytest.raises(Unavailable):
        reconcile(World(world.cluster, world.config, lambda url: Away(store)), play.namespace, "weather")
    assert play.status() == before
    assert live(world, play, store)["run"] == run
