"""A newer controller takes over, in place, what an older one left: nothing is done twice, and nothing is lost.

`stored/` holds, for each of some releases, what its controller had left in the API server and in the store, a line for
each object: documents on their way, promoted, rejected and waiting. `before-stages` is of the last commit at which a
run was named by a digest of the whole document.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import kube
from callwright.controller.cluster import FINE_TUNE, JOB, RAY_JOB, Cluster, Object
from callwright.controller.reconcile import Reconciler
from callwright.store import Registry
from cast import Play, reconciler_of

RELEASES = sorted((Path(__file__).parent / "stored").glob("*.jsonl"))
NAMES = ("awaiting", "promoted", "rejected", "training")


@pytest.fixture(params=RELEASES, ids=lambda path: path.stem)
def release(request: pytest.FixtureRequest, cluster: Cluster, play: Play) -> None:
    """Puts what the release has left into the test's namespace and store."""
    lines = [json.loads(line) for line in request.param.read_text().replace("STORE", play.store.url).splitlines()]
    uids: dict[str, str] = {}
    for made in lines:
        if made["kind"] == "Store":
            for key, text in made["objects"].items():
                play.store.put_bytes(key, text.encode())
            continue
        kind, metadata = kube.kind_of(made), made["metadata"] | {"namespace": play.namespace}
        for owner in metadata.get("ownerReferences", ()):
            owner["uid"] = uids[owner["name"]]
        there = cluster.create(kind, {key: made[key] for key in made.keys() - {"status"}} | {"metadata": metadata})
        assert there is not None
        if kind.plural == FINE_TUNE.plural:
            uids[metadata["name"]] = there["metadata"]["uid"]
        if "status" in made:
            play.report(kind, metadata["name"], made["status"])


@pytest.fixture(params=["its own namespace", "another namespace"])
def reconciler(request: pytest.FixtureRequest, cluster: Cluster, play: Play) -> Reconciler:
    """Of a release in the documents' namespace, or in another one."""
    elsewhere = request.param == "another namespace"
    return reconciler_of(cluster, play.store, "elsewhere" if elsewhere else play.namespace)


def pods(play: Play) -> set[str]:
    """What has pods, each by what tells it from a later one of its name."""
    found = [each for kind in (RAY_JOB, JOB) for each in play.cluster.find(kind, play.namespace)]
    return {f"{each['metadata']['name']} {each['metadata']['uid']} {yaml.safe_dump(each['spec'])}" for each in found}


def documents(play: Play) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in play.cluster.find(FINE_TUNE, play.namespace)}


@pytest.mark.usefixtures("release")
def test_a_newer_controller_does_nothing_again_and_loses_nothing(play: Play, reconciler: Reconciler) -> None:
    before, started = documents(play), pods(play)
    keys = {entry.key for entry in play.store.list()}
    assert [each["status"]["phase"] for _, each in sorted(before.items())] == [
        "AwaitingPromotion", "Promoted", "Rejected", "Training",
    ]  # fmt: skip
    for name in (*NAMES, *NAMES):
        reconciler.reconcile(play.namespace, name)
    for name, each in documents(play).items():
        assert "finalizers" not in each["metadata"]
        was, is_now = before[name]["status"], each["status"]
        told = {"conditions", "message"}
        assert {key: is_now.get(key) for key in was.keys() - told} == {key: was[key] for key in was.keys() - told}
        held = {(condition["type"], condition["status"]) for condition in was["conditions"]}
        assert held <= {(condition["type"], condition["status"]) for condition in is_now["conditions"]}
    assert pods(play) == started
    assert {entry.key for entry in play.store.list()} == keys


@pytest.mark.usefixtures("release")
def test_what_an_older_controller_began_comes_to_its_end(play: Play, reconciler: Reconciler) -> None:
    """With the runs, versions and pointers that there are."""
    runs = {name: each["status"]["run"] for name, each in documents(play).items()}
    trainings = {each for each in pods(play) if each.partition(" ")[0].endswith("-train")}
    registry = Registry(play.store)
    play.ray_job("Complete", "SUCCEEDED", name="training")
    assert play.live(reconciler, "training")["run"] == runs["training"]
    registry.promote("awaiting", runs["awaiting"])
    assert play.live(reconciler, "awaiting")["run"] == runs["awaiting"]
    before = pods(play)
    play.change("rejected", evaluate={"gate": {"minAccuracy": 0.9}})
    assert play.live(reconciler, "rejected")["run"] == runs["rejected"], "decided over what was measured"
    play.change("promoted", train={"logSteps": 3}, deploy={"minReplicas": 1})
    assert play.live(reconciler, "promoted")["run"] == runs["promoted"]
    assert pods(play) == before
    assert {each for each in pods(play) if each.partition(" ")[0].endswith("-train")} == trainings
    promoted = {name: registry.promoted("weather" if name == "promoted" else name) for name in NAMES}
    assert promoted == runs


@pytest.mark.usefixtures("release")
def test_what_has_begun_to_train_is_not_prepared_afterwards(play: Play, reconciler: Reconciler) -> None:
    """Earlier releases prepared in the training's own pods; also where the document changes meanwhile."""
    before = pods(play)
    for change in ({"train": {"logSteps": 3}}, {"suspend": True}, {"suspend": False}):
        play.change("training", **change)
        reconciler.reconcile(play.namespace, "training")
    assert {each.split()[0] for each in pods(play)} == {each.split()[0] for each in before}
    [prepared] = [each for each in play.status("training")["conditions"] if each["type"] == "Prepared"]
    assert (prepared["status"], prepared["reason"]) == ("True", "WithTraining")
    assert play.status("training")["phase"] == "Training"


@pytest.mark.usefixtures("release")
def test_a_training_that_failed_under_an_older_release_is_prepared_before_it_is_tried_again(
    play: Play, reconciler: Reconciler
) -> None:
    play.ray_job("Failed", "FAILED", name="training")
    play.live(reconciler, "training", until="Failed")
    reconciler.reconcile(play.namespace, "training")
    play.report(FINE_TUNE, "training", {"conditions": [
        each for each in play.status("training")["conditions"] if each["type"] != "Prepared"
    ]})  # fmt: skip
    play.change("training", resources={"memoryPerWorker": "64Gi"})
    reconciler.reconcile(play.namespace, "training")
    assert play.status("training")["phase"] == "Preparing"
    assert play.live(reconciler, "training")["attempt"] == 1


@pytest.mark.usefixtures("release")
def test_a_newer_controller_takes_what_other_training_asks_for(play: Play, reconciler: Reconciler) -> None:
    before = documents(play)["promoted"]["status"]["run"]
    play.change("promoted", train={"learningRate": 3e-4})
    after = play.live(reconciler, "promoted", model="weather")
    assert after["run"] != before
    promotion = Registry(play.store).promotion("weather")
    assert promotion is not None
    assert (promotion.version, promotion.history) == (after["run"], (before,))


@pytest.mark.usefixtures("release")
def test_what_a_newer_release_allows_no_more_goes_on_once_it_is_allowed(play: Play, reconciler: Reconciler) -> None:
    """Also where it names runs otherwise: nothing that was done is done again."""
    runs = {name: each["status"]["run"] for name, each in documents(play).items()}
    changes: tuple[Any, ...] = ({"cluster": {"secret": "somebodys"}}, {"cluster": {"secret": None}})
    for name in ("training", "promoted"):
        for change in changes:
            play.change(name, **change)
            reconciler.reconcile(play.namespace, name)
            assert play.status(name)["run"] == runs[name]
    assert play.live(reconciler, "promoted")["version"] == runs["promoted"]
    assert play.live(reconciler, "training")["run"] == runs["training"]
