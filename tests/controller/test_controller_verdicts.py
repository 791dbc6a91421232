"""When a canary is kept and when it is taken back, by what the sidecars count; and the text that has one."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from callwright.controller import canary, serving, sidecars
from callwright.controller.canary import Trial, Verdict
from callwright.controller.sidecars import Counts, Pod
from callwright.errors import InvalidInput
from callwright.server.config import ServerConfig
from callwright.sidecar.admission import Gate
from callwright.sidecar.budget import Budget
from callwright.sidecar.telemetry import Metrics
from callwright.spec.model import Canary
from callwright.store.manifest import CANARY_PREFIX
from manifests import CHARTS, only, render, values_of

NOW = "2026-01-01T00:00:00Z"
BOUNDS = Canary(weight=10, minutes=30, max_malformed_rate=0.1, max_error_rate=0.02, max_ttft_seconds=2)
QUICK, SLOW = {"0.5": 20, "1.0": 100, "5.0": 100, "+Inf": 100}, {"0.5": 20, "1.0": 90, "5.0": 100, "+Inf": 100}


def after(minutes: float) -> str:
    return (datetime.fromisoformat(NOW) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def judged(minutes: float, *, is_healthy: bool = True, problem: str = "", **counts: Any) -> Verdict | None:
    trial = Trial(weight=10, since=NOW, counted=NOW, candidate=Counts(**counts), problem=problem)
    return canary.judge(BOUNDS, trial, is_healthy=is_healthy, now=after(minutes))


@pytest.mark.parametrize(
    ("minutes", "counts", "reason"),
    [
        (29, {"answered": 500}, None),
        (30, {"answered": 500}, "Kept"),
        (30, {"answered": 98, "failed": 2, "calls": 90, "malformed": 10, "first_tokens": QUICK}, "Kept"),
        (30, {"answered": 97, "failed": 3}, "Errors"),
        (30, {"answered": 500, "calls": 89, "malformed": 11}, "MalformedCalls"),
        (30, {"answered": 500, "first_tokens": SLOW}, "FirstTokens"),
        # too few requests: as long again, and then what is there
        (59, {"answered": 49}, None),
        (60, {"answered": 49}, "TooFewRequests"),
        (60, {}, "TooFewRequests"),
        (59, {"failed": 49}, None),
        (60, {"answered": 1, "failed": 1}, "Errors"),
        (60, {"answered": 9, "calls": 1, "malformed": 1}, "MalformedCalls"),
        # an early end: where the bound would be broken with more requests too
        (1, {"answered": 97, "failed": 3}, None),
        (1, {"answered": 85, "failed": 15}, "Errors"),
        (1, {"answered": 100, "calls": 84, "malformed": 16}, None),
        (1, {"answered": 100, "calls": 60, "malformed": 40}, "MalformedCalls"),
        (1, {"answered": 100, "first_tokens": {"1.0": 50, "5.0": 100, "+Inf": 100}}, "FirstTokens"),
        (1, {"answered": 10, "failed": 39}, None),
    ],
)
def test_a_verdict(minutes: float, counts: dict[str, Any], reason: str | None) -> None:
    verdict = judged(minutes, **counts)
    assert (verdict and verdict.reason) == reason
    if verdict is not None:
        assert verdict.is_kept == (reason in ("Kept", "TooFewRequests"))


@pytest.mark.parametrize("outcome", ["refused", "left"])
@pytest.mark.parametrize(
    ("minutes", "bad", "standing", "reason"),
    [
        # Nothing is answered: users would get nothing of it once it is promoted.
        (1, 60, (500, 0), "broken"),
        (59, 10, (90, 0), None),
        (60, 10, (90, 0), "broken"),
        (60, 60, (0, 0), "broken"),
        # It is the clients: what stands is asked, and answers, likewise.
        (60, 60, (0, 500), "TooFewRequests"),
        (60, 1, (9, 0), "TooFewRequests"),
    ],
)
def test_a_version_that_refuses_or_keeps_waiting_more_than_the_one_that_stands_is_taken_back(
    outcome: str, minutes: float, bad: int, standing: tuple[int, int], reason: str | None
) -> None:
    others = Counts(answered=standing[0]).plus(Counts(**{outcome: standing[1]}))
    trial = Trial(weight=10, since=NOW, candidate=Counts(**{outcome: bad}), standing=others)
    verdict = canary.judge(BOUNDS, trial, is_healthy=True, now=after(minutes))
    wanted = {"refused": "Refusals", "left": "GivenUp"}[outcome] if reason == "broken" else reason
    assert (verdict and verdict.reason) == wanted
    if verdict is not None and reason == "broken":
        assert not verdict.is_kept
        assert {"refused": "refused 100 %", "left": "given up 100 %"}[outcome] in verdict.message


def test_as_many_refusals_as_what_stands_has_are_kept() -> None:
    mine, others = Counts(answered=90, refused=10), Counts(answered=900, refused=100)
    trial = Trial(weight=10, since=NOW, candidate=mine, standing=others)
    verdict = canary.judge(BOUNDS, trial, is_healthy=True, now=after(30))
    assert verdict is not None
    assert verdict.reason == "Kept"


def test_a_version_that_is_not_healthy_at_its_end_is_taken_back() -> None:
    assert judged(29, is_healthy=False, answered=500) is None
    verdict = judged(30, is_healthy=False, answered=500)
    assert verdict is not None
    assert (verdict.is_kept, verdict.reason) == (False, "Unhealthy")


def test_nothing_is_judged_while_no_sidecar_tells_anything() -> None:
    assert judged(600, answered=500, problem="pod a: http://10.0.0.1:8100/metrics: timed out") is None
    trial = Trial(weight=10, problem="pod a: why")
    assert canary.told(BOUNDS, trial) == "canary of 10 %: no sidecar tells its metrics: pod a: why"


def test_figures_and_bounds_are_told_beside_those_of_the_version_that_stands() -> None:
    standing = Counts(answered=995, failed=5, calls=99, malformed=1, first_tokens=QUICK)
    counts = Counts(answered=85, failed=15, calls=45, malformed=5, first_tokens=SLOW)
    trial = Trial(weight=10, since=NOW, candidate=counts, standing=standing)
    assert canary.told(BOUNDS, trial) == (
        "canary of 10 % with 100 requests: errors 15 % (at most 2 %; standing 0.5 %), malformed calls 10 % (at most "
        "10 %; standing 1 %), first token, p95 3 s (at most 2 s; standing 0.969 s)"
    )
    shown = trial.seen_by("v2", "so far").figures
    assert (shown.candidate.requests, shown.candidate.calls, shown.candidate.streams) == (100, 50, 100)
    assert canary.figures(Counts()).model_dump(exclude_defaults=True) == {}, "what nobody counted is unknown"


def test_a_time_beyond_the_last_bucket_is_told_as_its_edge_and_is_over_every_bound() -> None:
    counts = Counts(answered=100, first_tokens={"1.0": 0, "300.0": 0, "+Inf": 100})
    assert canary.figures(counts).ttft_seconds == 300
    bounds = BOUNDS.model_copy(update={"max_ttft_seconds": 1000.0})
    verdict = canary.judge(bounds, Trial(weight=10, since=NOW, candidate=counts), is_healthy=True, now=after(1))
    assert verdict is not None
    assert verdict.reason == "FirstTokens"


# --- counting ---


def pod(uid: str, *, created: str = NOW, **counts: Counts) -> Pod:
    return Pod(uid, created, counts)


def counted(*looks: list[Pod]) -> Trial:
    trial = Trial(weight=10)
    for minute, pods in enumerate(looks, 1):
        trial = Trial.model_validate_json(trial.model_dump_json(exclude_defaults=True))  # as the annotation keeps it
        trial = canary.count(trial, pods, "v2", now=after(minute))
    return trial


def test_what_was_counted_before_the_trial_is_no_part_of_it() -> None:
    old = Counts(answered=1000, failed=7, first_tokens={"1.0": 3, "+Inf": 4})
    new = old.plus(Counts(answered=2, first_tokens={"1.0": 1, "+Inf": 2}))
    trial = counted([pod("a", v2=old, v1=old)], [pod("a", v2=new, v1=old)])
    assert trial.candidate == Counts(answered=2, first_tokens={"1.0": 1, "+Inf": 2})
    assert trial.standing.answered == trial.standing.failed == 0
    assert trial.since == after(1)


def test_pods_and_other_versions_are_summed() -> None:
    begin = [pod("a"), pod("b")]
    trial = counted(
        begin, [pod("a", v2=Counts(calls=1), v1=Counts(calls=10)), pod("b", v2=Counts(calls=2), v0=Counts(calls=5))]
    )
    assert (trial.candidate.calls, trial.standing.calls) == (3, 15)


def test_a_sidecar_that_begins_anew_counts_on() -> None:
    trial = counted(
        [pod("a")],
        [pod("a", v2=Counts(answered=10))],
        [pod("a", v2=Counts(answered=4))],
        [pod("a", v2=Counts(answered=6))],
    )
    assert trial.candidate.answered == 16


def test_a_pod_that_comes_counts_from_its_beginning_and_one_that_was_silent_from_its_first_word() -> None:
    first = [pod("a"), Pod("b", NOW, None, "why")]
    second = [pod("a"), pod("b", v2=Counts(answered=99)), pod("c", created=after(2), v2=Counts(answered=5))]
    third = [pod("a"), pod("b", v2=Counts(answered=100))]
    assert counted(first, second, third).candidate.answered == 6


def test_a_pod_that_is_silent_for_a_while_loses_nothing() -> None:
    silent = [Pod("a", NOW, None, "why")]
    trial = counted([pod("a")], silent, [pod("a", v2=Counts(answered=8))])
    assert trial.candidate.answered == 8
    assert counted([pod("a")], silent).problem == "why"
    assert counted([]).problem == "there is no pod with a sidecar"
    assert counted([]).since is None, "it begins when something can be counted"


def test_it_is_counted_every_ten_seconds_at_most() -> None:
    trial = counted([pod("a")])
    assert not trial.is_due(now=after(1.1))
    assert trial.is_due(now=after(1.2))


def test_a_sidecar_s_metrics_are_read() -> None:
    metrics = Metrics(Gate(1, 1), Budget(1))
    for model, version, number in (
        ("m", "v1", 3),
        ("alias", "v1", 2),
        ("other", "v1", 50),
        ("m", "v2", 1),
        ("m", "", 9),
    ):
        for outcome in ("ok", "failed", "refused", "left"):
            metrics.answers.labels(outcome, model, version).inc(number)
        for name in ("a", "b"):
            for _ in range(number):
                metrics.count_call(name, model, version)
        metrics.malformed_calls.labels("why", model, version).inc(number)
        metrics.first_token.labels(model, version).observe(0.03)
    found = sidecars.counts(metrics.text().decode(), frozenset({"m", "alias"}))
    assert found.keys() == {"v1", "v2"}
    mine = found["v1"]
    assert (mine.refused, mine.left) == (5, 5)
    assert (mine.answered, mine.failed, mine.calls, mine.malformed) == (5, 5, 10, 5)
    assert (mine.first_tokens["0.025"], mine.first_tokens["0.05"], mine.first_tokens["+Inf"]) == (0, 2, 2)


BUCKET = 'callwright_first_token_seconds_bucket{model="m",version="v2",le=%s} %s\n'


@pytest.mark.parametrize(
    "told",
    [
        BUCKET % ('"soon"', 1),
        BUCKET % ('"1.0"', -1),
        BUCKET % ('"1.0"', "NaN"),
        BUCKET % ('"1.0"', "+Inf"),
        'callwright_first_token_seconds_bucket{model="m",version="v2"} 1\n',
        "".join(BUCKET % (f'"{edge}.0"', 1) for edge in range(5000)),
        "callwright_answers_total{",
        "}{",
    ],
)
def test_metrics_that_no_sidecar_writes_are_no_figures(told: str) -> None:
    """They stand in an annotation of bounded size, and are reckoned with at every look."""
    text = "# TYPE callwright_answers_total counter\n# TYPE callwright_first_token_seconds histogram\n" + told
    with pytest.raises((ValueError, OverflowError, LookupError)):
        sidecars.counts(text, frozenset({"m"}))


def test_a_sidecar_that_counts_no_answers_is_an_earlier_release_s_and_tells_nothing() -> None:
    """Else a canary that gets no requests of it would be promoted for having had too few."""
    text = "# TYPE callwright_requests_total counter\ncallwright_requests_total 7\n"
    with pytest.raises(ValueError, match="earlier release"):
        sidecars.counts(text, frozenset({"m"}))


# --- the text ---

BLOCK = """\
applications:
  # ours
  - name: assistant  # first
    route_prefix: /
    import_path: callwright.server.app:build
    deployments:
      - name: engine
        max_surge_percent: 10
    args:
      store: s3://bucket
      minReplicas: 2
      maxReplicas: 15
      autoscaling: {initial_replicas: 9, upscaling_factor: 2}
      models:
        - id: weather
          aliases: [w]
          name: m
          version: "12345678"
          adapters: [{id: lora, path: run:r}]
  - {name: b, import_path: "other:build"}
proxy_location: EveryNode
"""
FLOW = (
    '{"applications": [{"name": "a", "import_path": "callwright.server.app:build", "args": '
    '{"models": [{"id": "m", "name": "m", "version": "v1"}]}}]}'
)


@pytest.mark.parametrize("text", [BLOCK, FLOW], ids=["block", "flow"])
def test_a_canary_comes_into_the_text_and_goes_without_a_trace(text: str) -> None:
    made = serving.with_canary(text, model="m", version="v2", weight=10)
    assert serving.canary(made) is not None
    before, after_it = yaml.safe_load(text), yaml.safe_load(made)
    first, *rest = after_it.pop("applications")
    assert rest == before.pop("applications")
    assert after_it == before
    assert (first["route_prefix"], first["args"]["canaryWeight"]) == ("/canary", 10)
    assert serving.with_canary(made, model="m", version="v2", weight=10) == made
    assert serving.versions(made, model="m") == serving.versions(text, model="m"), "it is no version that stands"
    assert serving.without_canary(made) == text
    assert serving.without_canary(text) == text
    changed = serving.with_canary(made, model="m", version="v3", weight=20)
    assert serving.without_canary(changed) == text
    assert (serving.canary(changed) or first).version == "v3"


def test_comments_beside_a_dash_stay() -> None:
    text = BLOCK.replace("  - name: assistant  # first\n", "  - # first-rate - ours\n    name: assistant\n")
    assert serving.without_canary(serving.with_canary(text, model="m", version="v2", weight=10)) == text


def test_an_application_of_somebody_else_s_is_no_canary() -> None:
    text = BLOCK.replace('import_path: "other:build"', 'import_path: "other:build", args: {canaryWeight: much}')
    assert serving.canary(text) is None
    assert serving.without_canary(text) == text


def test_a_canary_has_its_share_of_the_replicas_and_the_model_alone() -> None:
    made = yaml.safe_load(serving.with_canary(BLOCK, model="m", version="v2", weight=10))["applications"][0]
    assert made["name"] == "assistant-canary"
    assert made["deployments"] == [{"name": "engine", "max_surge_percent": 10}]
    args = made["args"]
    assert (args["minReplicas"], args["maxReplicas"], args["store"]) == (1, 2, "s3://bucket")
    assert args["autoscaling"] == {"upscaling_factor": 2}
    assert args["models"] == [{"id": "weather", "aliases": ["w"], "name": "m", "version": "v2"}]


def test_serve_takes_what_the_chart_makes_with_a_canary() -> None:
    text = only(render("serving", values_of(CHARTS / "serving/ci/production-values.yaml")), "RayService")["spec"]
    (standing,) = yaml.safe_load(text["serveConfigV2"])["applications"]
    model = standing["args"]["models"][0]["name"]
    made = yaml.safe_load(serving.with_canary(text["serveConfigV2"], model=model, version="v2", weight=10))
    assert [app.route_prefix for app in ServeDeploySchema.model_validate(made).applications] == [CANARY_PREFIX, "/"]
    config = ServerConfig.model_validate(made["applications"][0]["args"])
    assert (config.canary_weight, config.models[0].version) == (10, "v2")
    assert ServerConfig.model_validate(standing["args"]).canary_weight is None


def test_a_version_is_set_beside_a_canary() -> None:
    made = serving.with_canary(BLOCK, model="m", version="v2", weight=10)
    text = serving.set_version(made, model="m", version="v3", store="s3://bucket")
    assert serving.without_canary(text) == BLOCK.replace('"12345678"', "v3")
    assert serving.canary(text) == serving.canary(made)


def test_what_git_has_is_written_with_the_canary_of_now() -> None:
    current = serving.with_canary(BLOCK, model="m", version="v2", weight=10)
    git = BLOCK.replace('"12345678"', "promoted").replace("maxReplicas: 15", "maxReplicas: 40")
    kept = serving.with_versions_of(git, current)
    assert serving.without_canary(kept) == BLOCK.replace("maxReplicas: 15", "maxReplicas: 40")
    assert yaml.safe_load(kept)["applications"][0]["args"]["maxReplicas"] == 4
    assert serving.canary(serving.with_versions_of(FLOW.replace('"name": "m"', '"name": "n"'), current)) is None


def test_the_names_of_a_model() -> None:
    assert serving.names(BLOCK, "m") == {"m", "weather", "w"}


def test_a_text_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not YAML"):
        serving.canary("a: [")
