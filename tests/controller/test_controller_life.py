"""The controller against a real API server, under the service account and role of its chart.

Shown: the whole way from a document to a promoted and served version, what each stage's object holds, and what happens
when it is suspended, fails, is changed or deleted.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import kube
from callwright.controller.check import check
from callwright.controller.cluster import CONFIG_MAP, EVENT, FINE_TUNE, JOB, RAY_JOB, Cluster
from callwright.controller.config import ControllerConfig
from callwright.controller.metrics import Metrics
from callwright.controller.reconcile import Reconciler, has_ended
from callwright.controller.run_store import RunStore
from callwright.errors import Unavailable
from callwright.store import Parity, Registry, Store
from cast import Play
from kube import connect


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


def test_whole_life_ends_promoted(play: Play, store: Store, controller: None, cluster: Cluster) -> None:
    play.apply(play.document(deploy={"service": "assistant"}))
    run = play.wait_for("Preparing")["run"]
    assert cluster.find(RAY_JOB, play.namespace) == [], "no GPU is asked for"
    assert play.prepare() == run
    [prepared] = [each for each in play.status()["conditions"] if each["type"] == "Prepared"]
    assert prepared["message"] == "1,200 rows and 345,678 tokens to train on"
    config_map = cluster.get(CONFIG_MAP, play.namespace, run)
    assert config_map is not None
    assert yaml.safe_load(config_map["data"]["finetune.yaml"])["metadata"]["name"] == "weather"
    ray_job = play.child(RAY_JOB, "train")
    assert f"--run {run} --store {store.url}" in ray_job["spec"]["entrypoint"]
    assert ("callwright", "Apply") in {
        (each["manager"], each["operation"]) for each in ray_job["metadata"]["managedFields"]
    }
    owner = ray_job["metadata"]["ownerReferences"][0]
    document = cluster.get(FINE_TUNE, play.namespace, "weather")
    assert document is not None
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (document["metadata"]["uid"], True, True)

    play.trained(run, step=120, loss=0.1)  # what an earlier try has left
    play.ray_job("Initializing")
    play.wait_until(lambda: "Initializing" in str(play.status()), "what it waits for")
    assert not {"progress", "loss"} & play.status().keys()
    play.trained(run, step=40, loss=1.5)
    play.ray_job("Running", "RUNNING")
    play.wait_until(lambda: play.status().get("progress") == "40/120", "progress")
    play.ray_job("Retrying", failed=1)
    play.wait_until(lambda: "attempt 1 failed" in str(play.status()), "the other attempt")
    play.finish()

    status = play.wait_for("Deploying")
    assert "no RayService assistant" in status["message"]
    play.install_service("weather")
    play.wait_until(lambda: play.served() == [run], "the version in the service")
    assert Registry(store).promoted("weather") is None, "nothing is promoted that nobody has served"
    play.rolled_out()
    status = play.wait_for("Promoted")
    assert Registry(store).promoted("weather") == run
    assert conditions(status) == dict.fromkeys(
        ("Ready", "Accepted", "Prepared", "Trained", "Merged", "Evaluated", "Promoted", "Deployed", "Complete"), "True"
    )
    assert (status["progress"], status["loss"], status["accuracy"], status["version"]) == ("120/120", 0.42, 0.93, run)
    assert status["observedGeneration"] == document["metadata"]["generation"]
    told = [
        event["reason"] for event in cluster.find(EVENT, play.namespace) if event["source"]["component"] == "callwright"
    ]
    assert sorted(told) == sorted(
        {"Pending", "Preparing", "Training", "Merging", "Evaluating", "Deploying", "Promoted"}
    )


def test_suspend_holds_and_releases(play: Play, controller: None, cluster: Cluster) -> None:
    play.apply(play.document())
    play.wait_for("Preparing")
    play.change(suspend=True)
    play.wait_for("Suspended")
    assert cluster.find(JOB, play.namespace) == []
    play.change(suspend=False)
    play.prepare()
    play.change(suspend=True)
    play.wait_for("Suspended")
    assert play.child(RAY_JOB, "train")["spec"]["suspend"] is True
    play.ray_job("Suspended")
    play.change(suspend=False)
    run = play.wait_for("Training")["run"]
    kube.wait_until(lambda: play.child(RAY_JOB, "train")["spec"]["suspend"] is False, what="released")
    play.train()
    play.wait_for("Merging")
    play.change(suspend=True)
    play.wait_for("Suspended")
    names = [each["metadata"]["name"] for each in cluster.find(JOB, play.namespace)]
    assert names == [f"{run}-prepare"]  # a merge that is held gives its pod back
    play.change(suspend=False)
    play.merge()
    play.evaluate()
    assert play.wait_for("Promoted")["run"] == run
    play.change(suspend=True)
    changed = cluster.get(FINE_TUNE, play.namespace, "weather")
    assert changed is not None
    generation = changed["metadata"]["generation"]
    play.wait_until(lambda: play.status()["observedGeneration"] == generation, "the change seen")
    assert play.status()["phase"] == "Promoted"  # nothing is left to hold


def test_changed_spec_makes_a_new_run(play: Play, controller: None, cluster: Cluster) -> None:
    play.apply(play.document())
    first = play.prepare()
    play.change(train={"learningRate": 1e-4})
    kube.wait_until(lambda: play.status().get("run") not in (None, first), what="a new run")
    play.prepare()
    play.child(RAY_JOB, "train")
    kube.wait_until(lambda: len(cluster.find(RAY_JOB, play.namespace)) == 1, what="the first run is cancelled")
    assert play.child(RAY_JOB, "train")["metadata"]["labels"]["callwright.io/run"] == play.status()["run"]


@pytest.mark.usefixtures("garbage_collector")
def test_a_hundred_documents_at_once(play: Play, controller: None, cluster: Cluster) -> None:
    """Each gets a run and a Job of its own, once; deleted, each takes its own away with it."""
    names = {f"one-of-many-{index}" for index in range(100)}

    def phases() -> list[str]:
        return [each.get("status", {}).get("phase", "") for each in cluster.find(FINE_TUNE, play.namespace)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: play.apply(play.document(name)), names))
        kube.wait_until(lambda: phases() == ["Preparing"] * 100, what=lambda: str(Counter(phases())))
        jobs = cluster.find(JOB, play.namespace)
        assert {job["metadata"]["ownerReferences"][0]["name"] for job in jobs} == names
        assert len(jobs) == len({job["metadata"]["labels"]["callwright.io/run"] for job in jobs}) == 100
        list(pool.map(lambda name: cluster.delete(FINE_TUNE, play.namespace, name), names))
        kube.wait_until(lambda: phases() == [], what=lambda: f"{len(phases())} documents left")

    def left() -> list[str]:
        found = [each for kind in (JOB, CONFIG_MAP) for each in cluster.find(kind, play.namespace)]
        return [each["metadata"]["name"] for each in found if "callwright.io/run" in each["metadata"].get("labels", {})]

    kube.wait_until(lambda: left() == [], what=lambda: f"{left()} left")


def test_what_is_asked_for_is_seen_before_anything_is_made_for_it(play: Play, reconciler: Reconciler) -> None:
    """So of a hundred documents that change at once, the last is not silent while the others' objects are made."""
    play.apply(play.document())
    for generation in (1, 2):
        reconciler.reconcile(play.namespace, "weather")
        seen = play.status()
        assert (seen["phase"], seen["observedGeneration"]) == ("Pending", generation)
        assert not any(play.cluster.find(kind, play.namespace) for kind in (CONFIG_MAP, JOB, RAY_JOB))
        play.change(lora={"rank": 16})
    assert play.live(reconciler)["run"] == seen["run"]


@pytest.mark.parametrize(("promote", "phase"), [("manual", "AwaitingPromotion"), ("never", "Completed")])
def test_promotion_by_hand_or_not_at_all(play: Play, store: Store, controller: None, promote: str, phase: str) -> None:
    play.apply(play.document(evaluate={"promote": promote}))
    run = play.finish()
    play.wait_for(phase)
    assert Registry(store).promoted("weather") is None
    if promote == "manual":
        Registry(store).promote("weather", run)  # as `callwright promote` does
        play.wait_for("Promoted")


@pytest.mark.parametrize("promote", ["auto", "manual"])
def test_a_version_that_is_served_other_prompts_than_it_was_trained_on_is_not_promoted(
    play: Play, store: Store, controller: None, promote: str
) -> None:
    """Nor is anybody asked to promote it, though it has passed the gate."""
    play.apply(play.document(evaluate={"promote": promote}))
    run = play.train()
    play.merge(parity=Parity(prompts=100, equal=97, difference="the first difference is at token 7"))
    play.evaluate()
    status = play.wait_for("Failed")
    [promoted] = [each for each in status["conditions"] if each["type"] == "Promoted"]
    assert (promoted["status"], promoted["reason"]) == ("False", "ServedOtherwise")
    for said in (f"weather {run}", "97 of 100 serving prompts", "the first difference is at token 7", "merge it again"):
        assert said in status["message"]
    assert conditions(status)["Evaluated"] == "True"
    assert Registry(store).promoted("weather") is None
    assert Registry(store).manifest("weather", run).parity is not None


def test_check_tells_what_is_missing(config: ControllerConfig, kubeconfig: Path, store: Store) -> None:
    """What `helm test` runs: fine under the chart's role, and by name what another namespace would lack."""
    store.put_bytes("models/readme", b"")
    cluster = connect(kubeconfig)
    assert [problem for _, problem in check(cluster, config, namespace="unused") if problem] == []
    elsewhere = config.model_copy(update={"namespaces": ("default",)})
    refused = {tried: problem for tried, problem in check(cluster, elsewhere, namespace="unused") if problem}
    assert set(refused) == {
        "list finetunes in default", "list rayjobs in default", "list jobs in default", "list pods in default",
        "list rayservices in default", "create events in default",
    }  # fmt: skip
    assert all("check the chart's RBAC" in problem for problem in refused.values())


def test_what_has_ended_is_looked_at_only_where_there_is_something_to_do(
    play: Play, reconciler: Reconciler, cluster: Cluster
) -> None:
    """So that thousands of finished documents cost a controller that starts nothing."""

    def ended() -> bool:
        document = cluster.get(FINE_TUNE, play.namespace, "weather")
        assert document is not None
        return has_ended(document)

    play.apply(play.document())
    play.live(reconciler, until="Training", but="train")
    assert not ended()
    play.live(reconciler)
    assert ended()
    cluster.merge(FINE_TUNE, play.namespace, "weather", {"metadata": {"finalizers": ["callwright.io/cancel"]}})
    assert not ended(), "an earlier release's finalizer"
    reconciler.reconcile(play.namespace, "weather")
    assert ended()
    play.change(evaluate={"concurrency": 3})
    assert not ended()
    play.live(reconciler)
    play.report(FINE_TUNE, "weather", {"conditions": []})
    assert not ended(), "an earlier release's status"
    play.change(cluster={"secret": "somebodys"})
    play.live(reconciler, until="Failed")
    assert not ended(), "it may be allowed now"


class TestStoreAway:
    """The store does not answer the first two times."""

    @pytest.fixture
    def open_store(self, store: Store) -> Callable[[str, Path | None], RunStore]:
        failures = iter(("first", "second"))

        def opened(url: str, credentials: Path | None) -> RunStore:
            if which := next(failures, None):
                raise Unavailable(f"opening {url}: no answer to the {which} call")
            return RunStore(store)

        return opened

    def test_looks_again_and_counts(self, play: Play, controller: None, metrics: Metrics) -> None:
        play.apply(play.document())
        play.wait_for("Preparing")
        assert metrics.registry.get_sample_value("callwright_failed_looks_total", {"error": "Unavailable"}) == 2


class TestEveryNamespace:
    """With a ClusterRole instead of a Role in each namespace."""

    @pytest.fixture
    def watched(self) -> tuple[str, ...]:
        return ()

    def test_a_document_anywhere_is_carried_out(self, play: Play, controller: None) -> None:
        play.apply(play.document())
        play.finish()
        play.wait_for("Promoted")
