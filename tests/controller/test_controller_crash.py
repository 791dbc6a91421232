"""The controller killed between any two of its writes, and deletion in every phase.

Drives `reconcile` itself: the process that dies is a cluster whose n-th write is the last.
"""

from typing import Any

import pytest

import kube
from callwright.controller.cluster import CONFIG_MAP, EVENT, FINE_TUNE, JOB, RAY_JOB, Cluster, Kind
from callwright.controller.reconcile import Reconciler
from callwright.errors import Conflict, Unavailable
from callwright.store import Registry, Store
from cast import SERVICE, Play, reconciler_of

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
        if method != "GET" and answer is not None:  # None: there already, or gone; nothing was written
            self.lives -= 1
            if self.lives == 0:
                raise KilledError
        return answer


class Mute(Cluster):
    """An API server that takes events and no status that says `Promoted`."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster._api)

    def merge(self, kind: Kind, namespace: str, name: str, patch: Object, **more: Any) -> Object | None:
        if patch.get("status", {}).get("phase") == "Promoted":
            raise Unavailable("the API server answers nothing")
        return super().merge(kind, namespace, name, patch, **more)


def test_killed_after_any_write_it_carries_on(play: Play, store: Store, cluster: Cluster) -> None:
    """The whole way, the RayService's update included; each killing is of a document and a run of its own."""
    undisturbed = Mortal(cluster, 10**6)
    play.install_service("weather")
    document = {"deploy": {"service": SERVICE, "model": "weather"}}
    play.apply(play.document("undisturbed", **document))
    play.live(reconciler_of(undisturbed, store, play.namespace), "undisturbed", model="weather")
    writes = 10**6 - undisturbed.lives
    assert writes >= 12
    for lives in range(1, writes + 1):
        name = f"killed-{lives}"
        play.apply(play.document(name, **document))
        with pytest.raises(KilledError):
            play.live(reconciler_of(Mortal(cluster, lives), store, play.namespace), name, model="weather")
        status = play.live(reconciler_of(cluster, store, play.namespace), name, model="weather")
        labels = {"callwright.io/finetune": name}
        assert len(cluster.find(RAY_JOB, play.namespace, labels=labels)) == 1, (
            f"trained once, killed after write {lives}"
        )
        assert len(cluster.find(JOB, play.namespace, labels=labels)) == 3
        assert Registry(store).promoted("weather") == status["version"] == status["run"]
        assert status["attempt"] == 0
        assert play.served() == [status["run"]]
        owners = {each["manager"] for each in play.service()["metadata"]["managedFields"] if "subresource" not in each}
        assert owners == {"helm"}, f"given back, killed after write {lives}"


def test_an_end_whose_status_cannot_be_written_at_first_is_told_once(
    play: Play, store: Store, cluster: Cluster
) -> None:
    """The event of it has been made; meanwhile the status says what failed."""
    play.apply(play.document())
    reconciler = reconciler_of(cluster, store, play.namespace)
    play.live(reconciler, until="Evaluating")
    cut_off = reconciler_of(Mute(cluster), store, play.namespace)
    with pytest.raises(Unavailable):
        play.live(cut_off, until="Promoted")
    reconciler.tell(play.namespace, "weather", Unavailable("no status today"))
    play.live(reconciler, until="Promoted")
    assert [each["reason"] for each in cluster.find(EVENT, play.namespace)].count("Promoted") == 1


@pytest.mark.parametrize(
    ("phase", "spec"),
    [
        ("Preparing", {}),
        ("Training", {}),
        ("Merging", {}),
        ("Evaluating", {}),
        ("Suspended", {"suspend": True}),
        ("AwaitingPromotion", {"evaluate": {"promote": "manual"}}),
        ("Deploying", {"deploy": {"service": "nowhere"}}),
        ("Promoted", {}),
        ("Completed", {"evaluate": {"promote": "never"}}),
    ],
)
@pytest.mark.usefixtures("garbage_collector")
def test_deleted_in_any_phase_leaves_nothing(
    play: Play, store: Store, cluster: Cluster, phase: str, spec: Object
) -> None:
    """No controller need be there."""
    reconciler = reconciler_of(cluster, store, play.namespace)
    play.apply(play.document(**spec))
    play.live(reconciler, until=phase)
    play.apply(play.document("other"))
    play.look(reconciler, "other")
    cluster.delete(FINE_TUNE, play.namespace, "weather")
    assert cluster.get(FINE_TUNE, play.namespace, "weather") is None

    def left() -> set[str]:
        return set().union(*(owners(cluster, kind, play.namespace) for kind in (RAY_JOB, JOB, CONFIG_MAP)))

    kube.wait_until(lambda: left() == {"other"}, what=lambda: str(left()))
    assert owners(cluster, JOB, play.namespace) == {"other"}
    assert reconciler.reconcile(play.namespace, "weather") is None  # nobody's document, nothing to do


def test_a_document_that_an_earlier_release_holds_can_be_deleted(play: Play, store: Store, cluster: Cluster) -> None:
    document = play.document()
    document["metadata"]["finalizers"] = ["callwright.io/cancel", "example.com/theirs"]
    play.apply(document)
    cluster.delete(FINE_TUNE, play.namespace, "weather")
    assert reconciler_of(cluster, store, play.namespace).reconcile(play.namespace, "weather") is None
    found = cluster.get(FINE_TUNE, play.namespace, "weather")
    assert found is not None
    assert found["metadata"]["finalizers"] == ["example.com/theirs"]
    cluster.merge(FINE_TUNE, play.namespace, "weather", {"metadata": {"finalizers": None}})


def owners(cluster: Cluster, kind: Kind, namespace: str) -> set[str]:
    found = [each["metadata"].get("ownerReferences", ()) for each in cluster.find(kind, namespace)]
    return {owner["name"] for references in found for owner in references}


def test_a_document_of_the_same_name_waits_for_the_objects_of_the_one_before(
    play: Play, store: Store, cluster: Cluster
) -> None:
    reconciler = reconciler_of(cluster, store, play.namespace)
    play.apply(play.document())
    play.live(reconciler, until="Training")
    job = f"{play.status()['run']}-train"
    cluster.merge(RAY_JOB, play.namespace, job, {"metadata": {"finalizers": ["ray.io/rayjob-finalizer"]}})  # KubeRay's
    cluster.delete(FINE_TUNE, play.namespace, "weather")
    cluster.delete(JOB, play.namespace, job.replace("-train", "-prepare"))
    play.apply(play.document())
    play.look(reconciler)
    play.turn(but="train")
    reconciler.reconcile(play.namespace, "weather")
    assert "waiting until an earlier RayJob is gone" in play.status()["message"]
    cluster.delete(RAY_JOB, play.namespace, job)
    cluster.merge(RAY_JOB, play.namespace, job, {"metadata": {"finalizers": None}})
    play.live(reconciler)


def test_refused_manifest_fails_the_stage_with_the_servers_words(play: Play, store: Store, cluster: Cluster) -> None:
    reconciler = reconciler_of(cluster, store, play.namespace)
    sizes = reconciler.config.pods.merge.model_copy(update={"memory": "8 gigabytes"})
    config = reconciler.config.model_copy(update={"pods": reconciler.config.pods.model_copy(update={"merge": sizes})})
    play.apply(play.document())
    play.live(Reconciler(cluster, config), until="Failed")
    assert "merge failed: Refused" in play.status()["message"]


def test_the_status_of_a_document_is_never_written_to_another_of_its_name(
    play: Play, store: Store, cluster: Cluster
) -> None:
    class Slow(Cluster):
        """Another document has come in this one's place before the status is written."""

        def merge(self, kind: Kind, namespace: str, name: str, patch: Object, **more: Any) -> Object | None:
            if more.get("subresource") == "status":
                cluster.delete(FINE_TUNE, namespace, name)
                play.apply(play.document(suspend=True))
            return super().merge(kind, namespace, name, patch, **more)

    play.apply(play.document())
    with pytest.raises(Conflict):
        reconciler_of(Slow(cluster._api), store, play.namespace).reconcile(play.namespace, "weather")
    assert play.status() == {}
