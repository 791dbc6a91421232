"""What is served is the user's to take back: a rollback holds until a new run is promoted or somebody promotes by hand.

Against the real API server: the pointer in the store and the RayService's version after each edit of the document.
"""

from typing import Any

import pytest

from callwright.controller.cluster import FINE_TUNE
from callwright.controller.reconcile import Reconciler
from callwright.controller.rollout import put_version
from callwright.store import Registry, Store
from cast import SERVICE, Play


@pytest.fixture
def registry(play: Play, store: Store) -> Registry:
    """With a version that was promoted before."""
    play.publish("weather", "before")
    found = Registry(store)
    found.promote("weather", "before")
    return found


def serve(play: Play, version: str) -> None:
    """What `--service` of `callwright promote` and `rollback` does, and a Helm upgrade with a pinned version."""
    put_version(play.cluster, play.service(), model="weather", version=version, store=play.store.url)


def served(play: Play) -> str:
    (version,) = play.served()
    return version


def edit(play: Play, reconciler: Reconciler, *, until: str, **spec: Any) -> dict[str, Any]:
    """Change the document and see it through to its end."""
    play.change(**spec)
    changed = play.cluster.get(FINE_TUNE, play.namespace, "weather")
    assert changed is not None
    status = play.live(reconciler, until=until)
    assert status["observedGeneration"] == changed["metadata"]["generation"]
    return status


def test_an_edit_that_makes_no_new_run_leaves_a_rollback(
    play: Play, reconciler: Reconciler, registry: Registry
) -> None:
    play.install_service("weather")
    play.apply(play.document(deploy={"service": SERVICE}))
    run = play.live(reconciler)["run"]
    assert (registry.promoted("weather"), served(play)) == (run, run)
    registry.rollback("weather")
    serve(play, "before")

    status = edit(play, reconciler, until="Completed", cluster={"mounts": [{"path": "/mnt/more", "configMap": "more"}]})
    assert (status["run"], registry.promoted("weather"), served(play)) == (run, "before", "before")
    for words in (
        "before is now",
        f"promote weather {run} --store {play.store.url} --service {SERVICE} --namespace {play.namespace}",
    ):
        assert words in status["message"]

    registry.promote("weather", run)
    serve(play, run)
    edit(play, reconciler, until="Promoted", cluster={"mounts": [{"path": "/mnt/third", "configMap": "third"}]})
    assert (registry.promoted("weather"), served(play)) == (run, run)


def test_a_new_run_is_served_after_a_rollback(play: Play, reconciler: Reconciler, registry: Registry) -> None:
    play.install_service("weather")
    play.apply(play.document(deploy={"service": SERVICE}))
    first = play.live(reconciler)["run"]
    registry.rollback("weather")
    serve(play, "before")
    second = edit(play, reconciler, until="Promoted", train={"seed": 7})["run"]
    assert second != first
    assert (registry.promoted("weather"), served(play)) == (second, second)


def test_a_rollback_while_the_service_takes_the_version_is_not_fought(
    play: Play, reconciler: Reconciler, registry: Registry
) -> None:
    play.install_service("weather")
    play.apply(play.document(deploy={"service": SERVICE}))
    run = play.live(reconciler, until="Deploying", but="deploy")["run"]
    assert served(play) == run
    serve(play, "before")
    status = play.live(reconciler, until="Completed")
    assert (registry.promoted("weather"), served(play)) == ("before", "before")
    (deployed,) = (each for each in status["conditions"] if each["type"] == "Deployed")
    assert (deployed["status"], deployed["reason"]) == ("False", "Superseded")


def test_a_version_pinned_in_the_service_stays(play: Play, reconciler: Reconciler, registry: Registry) -> None:
    play.install_service("weather")
    play.apply(play.document(deploy={"service": SERVICE}))
    run = play.live(reconciler)["run"]
    serve(play, "before")  # with Helm, say: the pointer stays
    status = edit(play, reconciler, until="Promoted", cluster={"mounts": [{"path": "/mnt/more", "configMap": "more"}]})
    assert (status["service"], registry.promoted("weather"), served(play)) == (SERVICE, run, "before")


def test_a_service_that_is_named_later_takes_the_promoted_version(play: Play, reconciler: Reconciler) -> None:
    play.install_service("weather")
    play.apply(play.document())
    run = play.live(reconciler)["run"]
    assert served(play) == ""
    assert edit(play, reconciler, until="Promoted", deploy={"service": SERVICE})["run"] == run
    assert served(play) == run
