"""A version is served, then healthy, then promoted; one that does not start leaves pointer and traffic where they were.

Against the real API server; KubeRay is played.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sidecar_pods import Sidecars
from test_controller_crash import KilledError, Mortal

from callwright.controller import rollout
from callwright.controller.cluster import FINE_TUNE, RAY_SERVICE, Cluster
from callwright.controller.observed import Seen
from callwright.controller.reconcile import Reconciler
from callwright.spec.model import Canary
from callwright.store import Registry, Store
from cast import NOW, SERVICE, Play, reconciler_of

LATER = "2026-01-01T01:00:00Z"


@pytest.fixture
def registry(play: Play, store: Store) -> Registry:
    """With four versions, the first of which is promoted and served."""
    found = Registry(store)
    for version in ("v1", "v2", "v3", "v4"):
        play.publish("weather", version)
    found.promote("weather", "v1")
    play.install_service("weather", "other")
    rollout.put_version(play.cluster, play.service(), model="weather", version="v1", store=store.url)
    return found


def look(
    play: Play,
    registry: Registry,
    version: str,
    *,
    begun: bool = True,
    by: str = "a test",
    now: str = LATER,
    **more: Any,
) -> Seen:
    """Do the next thing for a rollout of that version."""
    target = rollout.Target(
        "weather", version, registry.store.url, by,
        lambda expect: registry.promote("weather", version, expect=expect), **more,
    )  # fmt: skip
    return rollout.advance(play.cluster, play.service(), target, registry, begun=begun, now=now)


def stands(play: Play, registry: Registry) -> tuple[str | None, str]:
    """The version that is promoted, and the one that is to be served."""
    return registry.promoted("weather"), play.served()[0]


def test_the_pointer_moves_once_the_version_is_healthy(play: Play, registry: Registry) -> None:
    assert look(play, registry, "v2", begun=False).state == "running"
    assert stands(play, registry) == ("v1", "v2")
    for status in ("DEPLOYING", "UNHEALTHY", "DEPLOYING"):
        play.rolled_out(status)
        assert look(play, registry, "v2").state == "running"
        assert stands(play, registry) == ("v1", "v2")
    play.rolled_out("RUNNING")
    assert look(play, registry, "v2").state == "succeeded"
    assert stands(play, registry) == ("v2", "v2")
    assert play.served() == ["v2", ""], "of this model alone"
    assert look(play, registry, "v2").state == "succeeded", "also when it is asked again"
    kept = json.loads(play.service()["metadata"]["annotations"]["callwright.io/rollouts"])
    assert kept["weather"] == {
        "version": "v2", "by": "a test", "before": {"llm": "v1"}, "pointer": "v1", "since": LATER,
        "outcome": "Succeeded",
    }  # fmt: skip


@pytest.mark.parametrize("status", ["RUNNING", "DEPLOY_FAILED"])
def test_what_kuberay_tells_before_it_has_looked_is_not_believed(play: Play, registry: Registry, status: str) -> None:
    """It tells a generation together with what Serve made of the one before."""
    look(play, registry, "v2", begun=False)
    play.rolled_out(status, since="2026-01-01T00:59:58Z")
    assert look(play, registry, "v2").state == "running"
    assert stands(play, registry) == ("v1", "v2")


def test_the_pointer_waits_until_no_sidecar_s_engine_lists_another_version(
    play: Play, registry: Registry, sidecars: Sidecars
) -> None:
    """Serve may not have begun while KubeRay goes on telling what it said of the version before."""
    look(play, registry, "v2", begun=False)
    play.rolled_out("RUNNING")
    for listed in (["m", "weather@v1"], ["m"]), (["m", "weather@v2"], ["m", "weather@v1"], ["m", "weather@v2"]):
        sidecars.listed = [*listed, ["m", "weather@v1"]]
        seen = look(play, registry, "v2")
        assert seen.state == "running"
        assert re.fullmatch(r"pod worker-\d serves weather@v1 still", seen.message)
        assert stands(play, registry) == ("v1", "v2")
    sidecars.listed = [["m", "weather@v2", "other@v1"]]
    assert look(play, registry, "v2").state == "succeeded"
    assert stands(play, registry) == ("v2", "v2")


def test_sidecars_that_nobody_reaches_hold_nothing_up(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    """As from outside of the cluster, and for whoever may not list pods."""
    look(play, registry, "v2", begun=False)
    sidecars.fall_silent()
    play.rolled_out("RUNNING")
    assert look(play, registry, "v2").state == "succeeded"


def test_a_version_that_does_not_start_is_taken_back(play: Play, registry: Registry) -> None:
    look(play, registry, "v2", begun=False)
    play.rolled_out("DEPLOY_FAILED", "out of memory")
    for _ in range(2):
        seen = look(play, registry, "v2")
        assert (seen.state, seen.reason) == ("failed", "DeployFailed")
        assert seen.message == "version v1 is back in its place: llm is DEPLOY_FAILED: out of memory"
        assert stands(play, registry) == ("v1", "v1")
    assert rollout.rollouts(play.service())["weather"].message == seen.message, "whoever looks at it is told"

    assert look(play, registry, "v2", begun=False).state == "running", "it may be tried again"
    play.rolled_out("RUNNING")
    look(play, registry, "v2")
    assert stands(play, registry) == ("v2", "v2")


def test_a_version_that_is_not_served_in_time_is_taken_back(play: Play, registry: Registry) -> None:
    """Also one that is not tried in time; a trial itself has time of its own."""
    begun, last, over = (f"2026-01-01T{time}Z" for time in ("02:00:00", "02:59:59", "03:00:00"))
    for canary, says in ((None, "version v1 is back in its place"), (Canary(), "its canary is")):
        hour: dict[str, Any] = {"deadline_seconds": 3600, "canary": canary}
        look(play, registry, "v2", begun=False, now=begun, **hour)
        play.rolled_out("DEPLOYING")
        assert look(play, registry, "v2", now=last, **hour).state == "running"
        for _ in range(2):
            seen = look(play, registry, "v2", now=over, **hour)
            assert (seen.state, seen.reason) == ("failed", "DeadlineExceeded")
            assert says in seen.message
            assert "not served within 3600 seconds: llm" in seen.message or canary
            assert stands(play, registry) == ("v1", "v1")


def test_another_model_of_the_service_is_nobody_s_business(play: Play, registry: Registry) -> None:
    play.publish("other", "o1")
    target = rollout.Target("other", "o1", registry.store.url, "b", lambda expect: registry.promote("other", "o1"))
    look(play, registry, "v2", begun=False)
    rollout.advance(play.cluster, play.service(), target, registry, begun=False, now=LATER)
    play.rolled_out("DEPLOY_FAILED")
    assert look(play, registry, "v2").state == "failed"
    assert play.served() == ["v1", "o1"]
    play.rolled_out("RUNNING")
    assert rollout.advance(play.cluster, play.service(), target, registry, begun=True, now=LATER).state == "succeeded"
    assert (registry.promoted("weather"), registry.promoted("other")) == ("v1", "o1")


def test_an_interrupted_rollout_is_not_what_the_next_one_goes_back_to(play: Play, registry: Registry) -> None:
    look(play, registry, "v2", begun=False, by="somebody who left")
    look(play, registry, "v3", begun=False)
    assert look(play, registry, "v2", by="somebody who left") == Seen(
        "failed", "a test has brought version v3 meanwhile", "Superseded"
    )
    play.rolled_out("DEPLOY_FAILED")
    look(play, registry, "v3")
    assert stands(play, registry) == ("v1", "v1")


def test_whoever_promotes_meanwhile_is_heeded(play: Play, registry: Registry) -> None:
    look(play, registry, "v2", begun=False)
    registry.promote("weather", "v3")
    play.rolled_out("RUNNING")
    for _ in range(2):
        assert look(play, registry, "v2").reason == "Superseded"
        assert stands(play, registry) == ("v3", "v1")


def test_whoever_promotes_in_that_very_moment_is_heeded(play: Play, registry: Registry) -> None:
    look(play, registry, "v2", begun=False)
    play.rolled_out("RUNNING")

    def move(expect: str | None) -> None:
        registry.promote("weather", "v3")
        registry.promote("weather", "v2", expect=expect)

    target = rollout.Target("weather", "v2", registry.store.url, "a test", move)
    seen = rollout.advance(play.cluster, play.service(), target, registry, begun=True, now=LATER)
    assert seen == Seen("failed", "v3 was promoted meanwhile", "Superseded")
    assert stands(play, registry) == ("v3", "v1")


def test_whoever_sets_another_version_meanwhile_is_not_fought(play: Play, registry: Registry) -> None:
    look(play, registry, "v2", begun=False)
    rollout.put_version(play.cluster, play.service(), model="weather", version="v3", store=registry.store.url)
    play.rolled_out("RUNNING")
    for _ in range(2):
        seen = look(play, registry, "v2")
        assert (seen.message, seen.reason) == ("somebody has put v3 in its place", "Superseded")
        assert stands(play, registry) == ("v1", "v3")


def test_an_annotation_that_nobody_understands_does_no_harm(play: Play, registry: Registry) -> None:
    note = {"metadata": {"annotations": {rollout.ROLLOUTS: '{"weather": 7}'}}}
    play.cluster.merge(RAY_SERVICE, play.namespace, SERVICE, note)
    look(play, registry, "v2", begun=False)
    play.rolled_out("RUNNING")
    look(play, registry, "v2")
    assert stands(play, registry) == ("v2", "v2")


def condition(status: dict, kind: str) -> tuple[str, str]:
    (found,) = [each for each in status["conditions"] if each["type"] == kind]
    return found["status"], found["reason"]


def test_a_run_whose_version_does_not_start_fails_and_is_tried_again_when_the_document_changes(
    play: Play, reconciler: Reconciler, registry: Registry
) -> None:
    play.apply(play.document(deploy={"service": SERVICE}))
    run = play.live(reconciler, until="Deploying", but="deploy")["run"]
    assert stands(play, registry) == ("v1", run)
    play.rolled_out("RUNNING", since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    reconciler.reconcile(play.namespace, "weather")
    assert play.status()["phase"] == "Deploying"
    play.rolled_out("DEPLOY_FAILED", "no more memory")
    status = play.live(reconciler, until="Failed", but="deploy")
    assert stands(play, registry) == ("v1", "v1")
    assert condition(status, "Deployed") == ("False", "DeployFailed")
    assert "Promoted" not in {each["type"] for each in status["conditions"]}
    assert "version v1 is back in its place: llm is DEPLOY_FAILED: no more memory" in status["message"]

    play.change(cluster={"mounts": [{"path": "/mnt/more", "configMap": "more"}]})
    status = play.live(reconciler)
    assert (status["attempt"], status["run"]) == (1, run)
    assert stands(play, registry) == (run, run)
    assert condition(status, "Promoted") == ("True", "Succeeded")


def test_killed_after_any_write_of_a_failing_rollout_it_comes_to_the_same_end(
    play: Play, store: Store, cluster: Cluster, registry: Registry
) -> None:
    reconciler = reconciler_of(cluster, store, play.namespace)
    document = {"deploy": {"service": SERVICE, "model": "weather"}}
    lives = 1
    while True:
        name = f"killed-{lives}"
        play.apply(play.document(name, **document))
        play.live(reconciler, name, until="Deploying", but="deploy", model="weather")
        play.rolled_out("DEPLOY_FAILED", "out of memory")
        mortal = Mortal(cluster, lives)
        try:
            reconciler_of(mortal, store, play.namespace).reconcile(play.namespace, name)
        except KilledError:
            lives += 1
        status = play.live(reconciler, name, until="Failed", but="deploy")
        assert stands(play, registry) == ("v1", "v1")
        assert "llm is DEPLOY_FAILED: out of memory" in status["message"]
        if mortal.lives > 0:
            break
    assert lives > 3


@pytest.mark.parametrize("what", ["suspended", "deleted", "another version", "elsewhere"])
def test_a_document_that_asks_for_its_version_no_more_has_it_taken_back(
    play: Play, reconciler: Reconciler, registry: Registry, what: str
) -> None:
    """Else what nobody has promoted would be served, or would not start, and nobody would see to it."""
    play.apply(play.document(deploy={"service": SERVICE}))
    run = play.live(reconciler, until="Deploying", but="deploy")["run"]
    play.change(train={"logSteps": 3})
    reconciler.reconcile(play.namespace, "weather")
    assert stands(play, registry) == ("v1", run), "it is asked for still"
    match what:
        case "suspended":
            play.change(suspend=True)
        case "deleted":
            play.cluster.delete(FINE_TUNE, play.namespace, "weather")
        case "another version":
            play.change(merge={"dtype": "float16"})
        case _:
            play.change(deploy={"service": "elsewhere"})
    reconciler.reconcile(play.namespace, "weather")
    assert stands(play, registry) == ("v1", "v1")
    assert rollout.rollouts(play.service())["weather"].outcome == "Superseded"
    if what == "suspended":
        play.change(suspend=False)
        assert play.live(reconciler)["run"] == run
        assert stands(play, registry) == (run, run)


def test_a_run_that_somebody_has_overtaken_stays_so_when_its_document_is_edited(
    play: Play, reconciler: Reconciler, registry: Registry
) -> None:
    play.apply(play.document(deploy={"service": SERVICE}))
    run = play.live(reconciler, until="Deploying", but="deploy")["run"]
    registry.promote("weather", "v3")
    for change in ("first", "second"):
        play.live(reconciler, until="Completed")
        assert stands(play, registry) == ("v3", "v1")
        assert f"--service {SERVICE} --namespace {play.namespace}" in play.status()["message"]
        play.change(cluster={"mounts": [{"path": f"/mnt/{change}", "configMap": change}]})
    registry.promote("weather", run)  # as somebody says who knows better
    play.live(reconciler)
    assert stands(play, registry) == (run, run)


def test_a_run_that_waits_for_somebody_says_how_its_version_is_served(
    play: Play, reconciler: Reconciler, registry: Registry
) -> None:
    play.apply(play.document(deploy={"service": SERVICE}, evaluate={"promote": "manual"}))
    status = play.live(reconciler, until="AwaitingPromotion")
    run = status["run"]
    command = f"callwright promote weather {run} --store {registry.store.url}"
    assert f"{command} --service {SERVICE} --namespace {play.namespace}" in status["message"]
    look(play, registry, run, begun=False, by="callwright promote")
    reconciler.reconcile(play.namespace, "weather")
    assert play.status()["phase"] == "AwaitingPromotion"
    play.rolled_out("RUNNING", since=NOW)
    look(play, registry, run, by="callwright promote")
    generation = play.service()["metadata"]["generation"]
    play.live(reconciler)
    assert play.service()["metadata"]["generation"] == generation, "it is served already"
