"""The controller killed between any two of its writes, deletion in every phase, and many documents at once.

Drives `reconcile` itself, without kopf: the process that dies is a cluster whose n-th write is the last.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cast import Play

from callsmith.controller.cluster import CONFIG_MAP, FINE_TUNE, JOB, RAY_JOB, Cluster, Kind
from callsmith.controller.config import ControllerConfig, Images
from callsmith.controller.look import World
from callsmith.controller.reconcile import cancel, reconcile
from callsmith.controller.reports import RunReports
from callsmith.store import BaseModelRef, FileEntry, Manifest, Registry, Store

ROOMS = ("trainer", "merger", "evaluator", "server", "sidecar")
Object = dict[str, Any]


class KilledError(Exception):
    """The process is gone."""


class Mortal(Cluster):
    """An API server whose client dies right after its n-th write has been done."""

    def __init__(self, cluster: Cluster, lives: int) -> None:
        super().__init__(cluster._api)
        self.lives = lives

    def _call(self, method: str, path: str, **more: Any) -> Object | None:
        answer = super()._call(method, path, **more)
        if method != "GET":
            self.lives -= 1
            if self.lives == 0:
                raise KilledError
        return answer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"file://{tmp_path}/store")


def world_of(cluster: Cluster, store: Store) -> World:
    images = Images(**{room: f"{room}:1" for room in ROOMS})
    return World(cluster, ControllerConfig(store=store.url, images=images), lambda url: RunReports(Store.open(url)))


def environment(play: Play, store: Store, name: str = "weather") -> None:
    """One turn of everybody else: what has been started comes to its end, with what it leaves in the store."""
    run = play.status(name).get("run")
    for kind, stage, status in (
        (RAY_JOB, "train", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}),
        (JOB, "merge", {"conditions": [{"type": "Complete", "status": "True"}]}),
        (JOB, "evaluate", {"conditions": [{"type": "Complete", "status": "True"}]}),
    ):
        child = play.cluster.get(kind, play.namespace, f"{run}-{stage}") if run else None
        if child is None or child.get("status", {}).get("conditions") or child.get("status", {}).get("jobStatus"):
            continue
        if stage == "merge":
            publish(store, name, str(run))
        if stage == "evaluate":
            report = {"accuracy": 1.0, "gate": {"passed": True, "measures": []}}
            store.put_bytes(f"runs/{run}/evaluation.json", json.dumps(report).encode())
        play.cluster.merge(kind, play.namespace, child["metadata"]["name"], {"status": status}, subresource="status")


def publish(store: Store, model: str, version: str) -> None:
    manifest = Manifest(
        name=model, version=version, dialect="ms_agent", base=BaseModelRef(model="m"), adapter_digest="0" * 64,
        files={"config.json": FileEntry(sha256="0" * 64, size=2)}, created_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    store.put_bytes(f"models/{model}/versions/{version}/manifest.json", manifest.model_dump_json().encode())


def live(world: World, play: Play, store: Store, name: str = "weather", *, until: str = "Promoted") -> int:
    """Look and let the others act, in turn, until the phase is reached; returns the number of looks."""
    for looks in range(40):
        if play.status(name).get("phase") == until:
            return looks
        reconcile(world, play.namespace, name)
        environment(play, store, name)
    pytest.fail(f"not {until} after 40 looks: {play.status(name)}")


def test_killed_after_any_write_it_carries_on(play: Play, store: Store, cluster: Cluster) -> None:
    undisturbed = Mortal(cluster, 10**6)
    play.apply(play.document("undisturbed"))
    live(world_of(undisturbed, store), play, store, "undisturbed")
    writes = 10**6 - undisturbed.lives
    assert writes >= 8
    for lives in range(1, writes + 1):
        name = f"killed-{lives}"
        play.apply(play.document(name))
        with pytest.raises(KilledError):
            live(world_of(Mortal(cluster, lives), store), play, store, name)
        live(world_of(cluster, store), play, store, name)
        status = play.status(name)
        labels = {"callsmith.io/finetune": name}
        assert len(cluster.find(RAY_JOB, play.namespace, labels=labels)) == 1, (
            f"trained once, killed after write {lives}"
        )
        assert len(cluster.find(JOB, play.namespace, labels=labels)) == 2
        assert Registry(store).promoted(name) == status["version"] == status["run"]
        assert status["attempt"] == 0


@pytest.mark.parametrize("phase", ["Training", "Merging", "Evaluating", "Promoted"])
def test_deleted_in_any_phase_leaves_nothing(play: Play, store: Store, cluster: Cluster, phase: str) -> None:
    world = world_of(cluster, store)
    play.apply(play.document())
    live(world, play, store, until=phase)
    play.apply(play.document("other"))
    reconcile(world, play.namespace, "other")
    cancel(world, play.namespace, "weather")
    for kind in (RAY_JOB, JOB, CONFIG_MAP):
        assert owners(cluster, kind, play.namespace) <= {"other"}
    assert owners(cluster, RAY_JOB, play.namespace) == {"other"}


def owners(cluster: Cluster, kind: Kind, namespace: str) -> set[str]:
    found = [each["metadata"].get("ownerReferences", ()) for each in cluster.find(kind, namespace)]
    return {owner["name"] for references in found for owner in references}


def test_a_document_of_the_same_name_waits_for_the_objects_of_the_one_before(
    play: Play, store: Store, cluster: Cluster
) -> None:
    world = world_of(cluster, store)
    play.apply(play.document())
    live(world, play, store, until="Training")
    cluster.delete(FINE_TUNE, play.namespace, "weather")  # and no garbage collector in this cluster
    play.apply(play.document())
    reconcile(world, play.namespace, "weather")
    assert "waiting until an earlier RayJob is gone" in play.status()["message"]
    cluster.delete(RAY_JOB, play.namespace, f"{play.status()['run']}-train")
    live(world, play, store)


def test_refused_manifest_fails_the_stage_with_the_servers_words(play: Play, store: Store, cluster: Cluster) -> None:
    world = world_of(cluster, store)
    sizes = world.config.pods.merge.model_copy(update={"memory": "8 gigabytes"})
    config = world.config.model_copy(update={"pods": world.config.pods.model_copy(update={"merge": sizes})})
    play.apply(play.document())
    live(World(cluster, config, world.open_reports), play, store, until="Failed")
    assert "merge failed: Refused" in play.status()["message"]


def test_a_hundred_documents_at_once(play: Play, store: Store, cluster: Cluster) -> None:
    """Each gets a run and a RayJob of its own, looked at from many threads as the operator does it."""
    world = world_of(cluster, store)
    names = [f"one-of-many-{index}" for index in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: play.apply(play.document(name)), names))
        list(pool.map(lambda name: reconcile(world, play.namespace, name), names))
    found = cluster.find(FINE_TUNE, play.namespace)
    assert {each["status"]["phase"] for each in found} == {"Training"}
    assert len({each["status"]["run"] for each in found}) == 100
    assert owners(cluster, RAY_JOB, play.namespace) == set(names)
    with ThreadPoolExecutor(8) as pool:  # other tests watch every namespace
        list(pool.map(lambda name: cluster.delete(FINE_TUNE, play.namespace, name), names))
