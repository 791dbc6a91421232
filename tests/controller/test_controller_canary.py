"""A candidate takes a share of the requests before it is promoted: promoted where it keeps its bounds, taken back else.

Against the real API server, with sidecars' real metrics; KubeRay and the sidecars' users are played.
"""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from sidecar_pods import Sidecars
from test_controller_crash import KilledError, Mortal

from callwright.controller import reconcile, rollout, serving
from callwright.controller.cluster import FINE_TUNE, RAY_SERVICE, Cluster
from callwright.controller.observed import Seen
from callwright.controller.reconcile import Reconciler
from callwright.spec.model import Canary
from callwright.store import Registry, Store
from cast import SERVICE, Play

BEGIN = datetime.now(UTC) + timedelta(hours=1)
"""When the looks of these tests begin: after the pods were made."""
BOUNDS: dict[str, Any] = {
    "weight": 10, "minutes": 30, "maxMalformedRate": 0.1, "maxErrorRate": 0.02, "maxTtftSeconds": 2,
}  # fmt: skip


def at(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def registry(play: Play, store: Store) -> Registry:
    """With three versions, the first of which is promoted and served."""
    found = Registry(store)
    for version in ("v1", "v2", "v3"):
        play.publish("weather", version)
    found.promote("weather", "v1")
    play.install_service("weather", "other")
    rollout.put_version(play.cluster, play.service(), model="weather", version="v1", store=store.url)
    return found


def look(
    play: Play, registry: Registry, minutes: float = 0, *, begun: bool = True, by: str = "a test",
    version: str = "v2", model: str = "weather", bounds: dict[str, Any] | None = BOUNDS,
) -> Seen:  # fmt: skip
    """Do the next thing for a rollout, so many minutes after the beginning, by a controller that knows nothing yet."""
    target = rollout.Target(
        model, version, registry.store.url, by, lambda expect: registry.promote(model, version, expect=expect),
        canary=None if bounds is None else Canary.model_validate(bounds),
    )  # fmt: skip
    return rollout.advance(play.cluster, play.service(), target, registry, begun=begun, now=at(minutes))


def rolled_out(play: Play, status: str = "RUNNING", message: str = "") -> None:
    play.rolled_out(status, message, since=at(-5))


def begin(play: Play, registry: Registry) -> None:
    """To the first look at which the canary is healthy, at minute 0."""
    look(play, registry, -1, begun=False)
    rolled_out(play)
    look(play, registry)


def text_of(play: Play) -> str:
    return str(play.service()["spec"]["serveConfigV2"])


def stands(play: Play, registry: Registry) -> tuple[str | None, str, str | None]:
    """The version that is promoted, the one that is to be served, and the one that is tried beside it."""
    tried = serving.canary(text_of(play))
    return registry.promoted("weather"), play.served()[0], tried and tried.version


def ended(seen: Seen) -> tuple[str, str]:
    assert seen.canary is not None
    return seen.canary.truth, seen.canary.reason


def test_a_version_that_keeps_its_bounds_is_promoted(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    text = text_of(play)
    sidecars.see("v2", ok=900, failed=90, malformed=40)  # of an earlier trial
    assert look(play, registry, -1, begun=False).message == "takes version v2 as a canary of 10 %"
    assert stands(play, registry) == ("v1", "v1", "v2")
    assert serving.without_canary(text_of(play)) == text
    (canary, *_) = yaml.safe_load(text_of(play))["applications"]
    assert (canary["name"], canary["route_prefix"], canary["args"]["canaryWeight"]) == ("llm-canary", "/canary", 10)
    rolled_out(play, "DEPLOYING")
    assert look(play, registry, -0.5).message == "canary: llm-canary DEPLOYING"
    rolled_out(play)
    assert look(play, registry).state == "running"
    sidecars.see("v1", ok=600, failed=2, calls=100, malformed=2)
    sidecars.see("v2", ok=60, calls=40, malformed=2, seconds=0.04)
    assert look(play, registry, 10).state == "running"
    sidecars.begin_anew(0)
    sidecars.see("v2", ok=10)
    assert look(play, registry, 29.9).state == "running"
    assert stands(play, registry) == ("v1", "v1", "v2")
    seen = look(play, registry, 30.1)
    assert (seen.state, seen.message) == ("running", "takes version v2")
    assert stands(play, registry) == ("v1", "v2", None)
    assert ended(seen) == ("True", "Kept")
    assert seen.canary is not None
    figures = seen.canary.figures
    assert (figures.candidate.requests, figures.candidate.calls, figures.standing.requests) == (70, 42, 602)
    rolled_out(play)
    assert look(play, registry, 40).state == "succeeded"
    assert stands(play, registry) == ("v2", "v2", None)
    assert rollout.rollouts(play.service())["weather"].outcome == "Succeeded"


@pytest.mark.parametrize(
    ("counts", "minutes", "reason", "said"),
    [
        ({"ok": 97, "failed": 3}, 30.2, "Errors", "errors 3 % (at most 2 %; standing 0.5 %)"),
        ({"ok": 60, "failed": 40}, 1, "Errors", "errors 40 % (at most 2 %; standing 0.5 %)"),
        ({"ok": 100, "calls": 88, "malformed": 12}, 30.2, "MalformedCalls", "12 % (at most 10 %; standing 1 %)"),
        ({"ok": 100, "calls": 40, "malformed": 60}, 1, "MalformedCalls", "60 % (at most 10 %; standing 1 %)"),
        ({"ok": 100, "seconds": 4.0}, 1, "FirstTokens", "first token, p95 4.88 s (at most 2 s; standing 0.098 s)"),
    ],
    ids=["errors", "errors early", "malformed", "malformed early", "first tokens early"],
)
def test_a_version_that_breaks_a_bound_is_taken_back(
    play: Play, registry: Registry, sidecars: Sidecars, counts: dict[str, Any], minutes: float, reason: str, said: str
) -> None:
    text = text_of(play)
    begin(play, registry)
    sidecars.see("v1", ok=995, failed=5, calls=99, malformed=1)
    sidecars.see("v2", **counts)
    if minutes > 1:
        assert look(play, registry, 29.5).state == "running"
    seen = look(play, registry, minutes)
    assert (seen.state, seen.reason) == ("failed", "CanaryFailed")
    assert f"{reason}: canary of 10 % with 100 requests: " in seen.message
    assert said in seen.message
    assert ended(seen) == ("False", reason)
    assert (stands(play, registry), text_of(play)) == (("v1", "v1", None), text)
    again = look(play, registry, minutes)
    assert (again.state, again.canary) == ("failed", seen.canary), "also when it is asked again"

    begin(play, registry)  # it may be tried again, and what was counted before is no part of that
    assert look(play, registry, 30.2).state == "running"
    sidecars.see("v2", ok=100)
    assert look(play, registry, 31).message == "takes version v2"


def test_with_too_few_requests_it_goes_on_for_as_long_again(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    begin(play, registry)
    sidecars.see("v2", ok=10)
    for minutes in (30.2, 59.7):
        assert look(play, registry, minutes).state == "running"
        assert stands(play, registry) == ("v1", "v1", "v2")
    seen = look(play, registry, 60.2)
    assert stands(play, registry) == ("v1", "v2", None)
    assert ended(seen) == ("True", "TooFewRequests")


def test_nothing_is_decided_while_no_sidecar_tells_anything(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    begin(play, registry)
    sidecars.see("v2", ok=100)
    sidecars.fall_silent()
    seen = look(play, registry, 90)
    assert seen.state == "running"
    assert seen.message.startswith("canary of 10 %: no sidecar tells its metrics: pod worker-0: http://127.0.0.1:")
    assert stands(play, registry) == ("v1", "v1", "v2")


def test_a_canary_that_does_not_start_is_taken_back(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    look(play, registry, -1, begun=False)
    rolled_out(play, "DEPLOY_FAILED", "out of memory")
    seen = look(play, registry)
    assert (seen.state, seen.reason) == ("failed", "DeployFailed")
    assert "its canary does not start: llm-canary is DEPLOY_FAILED: out of memory" in seen.message
    assert stands(play, registry) == ("v1", "v1", None)


def test_a_canary_that_ails_is_counted_all_the_same_and_not_promoted(
    play: Play, registry: Registry, sidecars: Sidecars
) -> None:
    begin(play, registry)
    sidecars.see("v2", ok=100)
    rolled_out(play, "UNHEALTHY")
    assert "with 100 requests" in look(play, registry, 5).message
    seen = look(play, registry, 31)
    assert (seen.reason, ended(seen)) == ("CanaryFailed", ("False", "Unhealthy"))


def test_a_verdict_does_not_wait_for_kuberay_to_say_the_same_for_a_while(
    play: Play, registry: Registry, sidecars: Sidecars
) -> None:
    """Nor is a canary that gets another replica an ailing one."""
    begin(play, registry)
    sidecars.see("v2", ok=100)
    play.rolled_out("DEPLOYING", since=at(31))
    assert ended(look(play, registry, 31)) == ("True", "Kept")


def test_a_canary_that_somebody_has_written_over_comes_back(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    """As Helm does, which knows nothing of it."""
    begin(play, registry)
    sidecars.see("v2", ok=40)
    look(play, registry, 1)
    without = serving.without_canary(text_of(play))
    play.cluster.merge(RAY_SERVICE, play.namespace, SERVICE, {"spec": {"serveConfigV2": without}})
    assert look(play, registry, 2).state == "running"
    assert stands(play, registry) == ("v1", "v1", "v2")
    rolled_out(play)
    sidecars.see("v2", ok=40)
    assert "with 80 requests" in look(play, registry, 3).message, "what was counted counts"


def test_what_the_document_asks_for_now_holds(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    begin(play, registry)
    sidecars.see("v2", ok=90, failed=10)
    more = BOUNDS | {"weight": 25, "maxErrorRate": 0.5}
    assert look(play, registry, 31, bounds=more).message == "takes version v2 as a canary of 25 %"
    rolled_out(play)
    assert look(play, registry, 32, bounds=more).message == "takes version v2"


def test_a_document_that_asks_for_none_any_more_is_promoted_without(
    play: Play, registry: Registry, sidecars: Sidecars
) -> None:
    begin(play, registry)
    seen = look(play, registry, 1, bounds=None)
    assert stands(play, registry) == ("v1", "v2", None)
    assert ended(seen) == ("True", "NotAsked")


def test_the_first_version_of_a_model_has_nothing_to_stand_beside(
    play: Play, registry: Registry, sidecars: Sidecars
) -> None:
    play.publish("other", "o1")
    assert look(play, registry, begun=False, model="other", version="o1").message == "takes version o1"
    assert play.served() == ["v1", "o1"]


def test_one_canary_at_a_time(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    for version in ("o1", "o2"):
        play.publish("other", version)
    registry.promote("other", "o1")
    begin(play, registry)
    seen = look(play, registry, begun=False, model="other", version="o2")
    assert (seen.state, seen.message) == ("waiting", "waits for the end of the canary of weather v2")
    sidecars.see("v2", failed=100)
    assert look(play, registry, 1).state == "failed"
    seen = look(play, registry, begun=False, model="other", version="o2")
    assert seen.message == "takes version o2 as a canary of 10 %"


def test_whoever_brings_another_version_meanwhile_is_heeded(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    begin(play, registry)
    look(play, registry, by="callwright promote", version="v3", begun=False, bounds=None)
    assert stands(play, registry) == ("v1", "v3", None)
    assert look(play, registry, 1).reason == "Superseded"
    assert stands(play, registry) == ("v1", "v3", None)


@pytest.mark.parametrize("what", ["pointer", "version"])
def test_whoever_changes_what_stands_ends_the_trial(
    play: Play, registry: Registry, sidecars: Sidecars, what: str
) -> None:
    begin(play, registry)
    if what == "pointer":
        registry.promote("weather", "v3")
    else:
        rollout.put_version(play.cluster, play.service(), model="weather", version="v3", store=registry.store.url)
    seen = look(play, registry, 1)
    assert (seen.reason, ended(seen)) == ("Superseded", ("False", "Superseded"))
    assert stands(play, registry)[2] is None


def test_whoever_promotes_what_stands_ends_the_trial(play: Play, registry: Registry, sidecars: Sidecars) -> None:
    """Which is how a canary is ended by hand."""
    begin(play, registry)
    look(play, registry, 1, by="callwright promote", version="v1", begun=False, bounds=None)
    assert stands(play, registry) == ("v1", "v1", None)
    seen = look(play, registry, 2)
    assert (seen.reason, ended(seen)) == ("Superseded", ("False", "Superseded"))
    assert stands(play, registry) == ("v1", "v1", None)


# --- the whole way, of a document ---


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time that the controller goes by."""

    def set_to(minutes: float) -> None:
        monkeypatch.setattr(reconcile, "_now", lambda: at(minutes))

    return set_to


def condition(status: Any, kind: str) -> tuple[str, str, str]:
    (found,) = (each for each in status["conditions"] if each["type"] == kind)
    return found["status"], found["reason"], found.get("message", "")


def tried(play: Play, reconciler: Reconciler, name: str = "weather") -> str:
    """A document whose candidate has become a healthy canary; returns its version."""
    run = str(play.live(reconciler, name, until="Deploying", but="deploy", model="weather")["run"])
    rolled_out(play)
    reconciler.reconcile(play.namespace, name)
    return run


def test_a_document_s_status_tells_the_figures(
    play: Play, reconciler: Reconciler, registry: Registry, sidecars: Sidecars, clock: Callable[[float], None]
) -> None:
    """Under the role of the chart."""
    clock(0)
    play.apply(play.document(deploy={"service": SERVICE, "canary": BOUNDS}))
    run = tried(play, reconciler)
    assert condition(play.status(), "Canary")[:2] == ("Unknown", "Trying")
    sidecars.see("v1", ok=500)
    sidecars.see(run, ok=60, failed=1, calls=20, malformed=1, seconds=0.04)
    clock(1)
    reconciler.reconcile(play.namespace, "weather")
    status = play.status()
    assert status["phase"] == "Deploying"
    assert status["message"] == f"RayService {SERVICE}: {condition(status, 'Canary')[2]}"
    shown = status["canary"]
    assert (shown["version"], shown["weight"], shown["since"], shown["until"]) == (run, 10, at(0), at(1))
    assert shown["candidate"] == {
        "requests": 61, "errorRate": 0.0164, "refusedRate": 0, "leftRate": 0,
        "calls": 21, "malformedRate": 0.0476, "streams": 60, "ttftSeconds": 0.049,
    }  # fmt: skip
    assert shown["standing"]["requests"] == 500
    clock(31)
    play.live(reconciler)
    assert stands(play, registry) == (run, run, None)
    status = play.status()
    assert condition(status, "Canary")[:2] == ("True", "Kept")
    assert status["canary"]["candidate"]["requests"] == 61, "it stays to be read"


def test_a_document_whose_candidate_is_taken_back_fails_and_may_be_tried_again_without_training(
    play: Play, reconciler: Reconciler, registry: Registry, sidecars: Sidecars, clock: Callable[[float], None]
) -> None:
    clock(0)
    play.apply(play.document(deploy={"service": SERVICE, "canary": BOUNDS}))
    run = tried(play, reconciler)
    sidecars.see(run, ok=50, failed=50)
    clock(1)
    reconciler.reconcile(play.namespace, "weather")
    status = play.status()
    assert status["phase"] == "Failed"
    assert condition(status, "Canary")[:2] == ("False", "Errors")
    assert condition(status, "Deployed")[:2] == ("False", "CanaryFailed")
    assert "errors 50 % (at most 2 %; standing unknown)" in status["message"]
    assert stands(play, registry) == ("v1", "v1", None)

    play.change(deploy={"canary": {"maxErrorRate": 0.9, "minutes": 1}})
    assert tried(play, reconciler) == run
    sidecars.see(run, ok=50, failed=50)
    clock(3)
    status = play.live(reconciler)
    assert (status["run"], status["attempt"]) == (run, 1)
    assert stands(play, registry) == (run, run, None)


def test_killed_after_any_write_it_comes_to_the_same_end(
    play: Play, cluster: Cluster, registry: Registry, sidecars: Sidecars
) -> None:
    """Of a trial that is kept: what was counted before counts after."""
    lives = 1
    while True:
        version = f"k{lives}"
        play.publish("weather", version)
        mortal = Mortal(cluster, lives)
        dying = dataclasses.replace(play, cluster=mortal)
        for minutes in (-1, 0, 1, 31, 32):
            try:
                look(dying, registry, minutes, version=version, begun=minutes >= 0)
            except KilledError:
                lives += 1
                dying = play
                look(play, registry, minutes + 0.5, version=version, begun=True)
            rolled_out(play)
            if minutes == 0:
                sidecars.see(version, ok=60)
        assert look(play, registry, 40, version=version).state == "succeeded"
        assert stands(play, registry) == (version, version, None)
        trial = rollout.rollouts(play.service())["weather"].trial
        assert trial is not None
        assert (trial.reason, trial.candidate.answered) == ("Kept", 60)
        if dying is not play:
            break
    assert lives > 5


@pytest.mark.parametrize("what", ["suspended", "deleted", "manual", "another run"])
def test_a_document_that_asks_for_its_canary_no_more_leaves_none(
    play: Play,
    reconciler: Reconciler,
    registry: Registry,
    sidecars: Sidecars,
    clock: Callable[[float], None],
    what: str,
) -> None:
    """Else nobody would judge what users get, nor end it."""
    clock(0)
    play.apply(play.document(deploy={"service": SERVICE, "canary": BOUNDS}))
    run = tried(play, reconciler)
    match what:
        case "suspended":
            play.change(suspend=True)
        case "deleted":
            play.cluster.delete(FINE_TUNE, play.namespace, "weather")
        case "manual":
            play.change(deploy={"canary": None}, evaluate={"promote": "manual"})
        case _:
            play.change(train={"epochs": 7})
    reconciler.reconcile(play.namespace, "weather")
    assert stands(play, registry) == ("v1", "v1", None)
    assert rollout.rollouts(play.service())["weather"].outcome == "Superseded"
    if what == "suspended":
        assert play.status()["phase"] == "Suspended"
        play.change(suspend=False)
        assert tried(play, reconciler) == run
        assert stands(play, registry) == ("v1", "v1", run)
        assert condition(play.status(), "Canary")[:2] == ("Unknown", "Trying")


def test_a_document_that_goes_while_no_controller_watches_leaves_none(
    play: Play, reconciler: Reconciler, registry: Registry, sidecars: Sidecars, request: pytest.FixtureRequest
) -> None:
    """The next controller finds what it has left, from the RayService."""
    play.apply(play.document(deploy={"service": SERVICE, "canary": BOUNDS}))
    run = tried(play, reconciler)
    assert stands(play, registry) == ("v1", "v1", run)
    play.cluster.delete(FINE_TUNE, play.namespace, "weather")
    request.getfixturevalue("controller")
    play.wait_until(lambda: stands(play, registry) == ("v1", "v1", None), "no canary")
    assert rollout.rollouts(play.service())["weather"].outcome == "Superseded"
