"""What a changed document, or a newer controller, does anew: what depends on the change, and nothing else."""

from typing import Any

import pytest

from callwright import spec
from callwright.controller import desired
from callwright.controller.cluster import JOB, RAY_JOB, Cluster
from callwright.controller.reconcile import Reconciler
from callwright.errors import InvalidInput
from callwright.store import Store
from cast import Play, reconciler_of


@pytest.fixture
def reconciler(cluster: Cluster, store: Store, namespace: str) -> Reconciler:
    return reconciler_of(cluster, store, namespace)


def started(play: Play) -> dict[str, int]:
    """The objects of each stage, of all runs."""
    labels = {desired.FINE_TUNE_LABEL: "weather"}
    names = [
        child["metadata"]["labels"][desired.STAGE_LABEL]
        for kind in (RAY_JOB, JOB)
        for child in play.cluster.find(kind, play.namespace, labels=labels)
    ]
    return {stage: names.count(stage) for stage in ("prepare", "train", "merge", "evaluate")}


SHAPE_NOTHING: dict[str, Any] = {
    "train": {"logSteps": 1, "maxFailures": 1},
    "merge": {"tolerance": 0.1},
    "evaluate": {"concurrency": 3, "gate": {"minAccuracy": 0.5}},
    "resources": {"memoryPerWorker": "16Gi"},
}


def test_what_shapes_no_result_does_nothing_again(play: Play, reconciler: Reconciler):
    play.apply(play.document())
    run = play.live(reconciler)["run"]
    play.change(**SHAPE_NOTHING)
    after = play.live(reconciler)
    assert (after["run"], after["version"], after["phase"]) == (run, run, "Promoted")
    assert started(play) == {"prepare": 1, "train": 1, "merge": 1, "evaluate": 1}


def test_a_changed_gate_is_decided_over_the_reports_without_a_pod(play: Play, reconciler: Reconciler):
    play.apply(play.document(evaluate={"gate": {"minAccuracy": 0.95}}))
    play.live(reconciler, but="evaluate", until="Evaluating")
    play.evaluated(play.status()["run"], passed=False)
    play.job("evaluate")
    rejected = play.live(reconciler, until="Rejected")
    play.change(evaluate={"gate": {"minAccuracy": 0.94}})
    again = play.live(reconciler, until="Rejected")
    assert "minAccuracy: got 0.93; expected at least 0.94" in again["message"]
    play.change(evaluate={"gate": {"minAccuracy": 0.9}})
    promoted = play.live(reconciler)
    assert promoted["run"] == rejected["run"]
    assert started(play) == {"prepare": 1, "train": 1, "merge": 1, "evaluate": 1}


@pytest.mark.parametrize(
    ("changed", "anew"),
    [
        (
            {"evaluate": {"sets": [{"name": "s", "path": "hf://datasets/owner/sets/s.jsonl"}]}},
            {"prepare": 1, "train": 1, "merge": 1, "evaluate": 2},
        ),
        ({"merge": {"dtype": "float16"}}, {"prepare": 1, "train": 1, "merge": 2, "evaluate": 2}),
    ],
)
def test_what_depends_on_a_change_is_done_anew(play: Play, reconciler: Reconciler, changed: Any, anew: dict[str, int]):
    play.apply(play.document(evaluate={"promote": "manual"}))
    before = play.live(reconciler, until="AwaitingPromotion")
    play.change(**changed)
    play.live(reconciler, until="Evaluating", but="evaluate")
    after = play.live(reconciler, until="AwaitingPromotion")
    assert after["run"] == before["run"]
    assert (after["version"] == before["version"]) is ("evaluate" in changed)
    assert started(play) == anew


def test_a_dialect_that_a_document_names_after_its_end_is_trained(play: Play, reconciler: Reconciler):
    """Also the one that an older release took where none was named."""
    runs = []
    for changed in ({}, {"dialect": "ms_agent"}, {"dialect": None}):
        if runs:
            play.change(**changed)
        else:
            play.apply(play.document())
        runs.append(play.live(reconciler)["run"])
    assert runs[0] == runs[2] != runs[1]
    once = {"prepare": 1, "train": 1, "merge": 1, "evaluate": 1}
    assert started(play) == once, "objects of a run that is over are gone"


def test_a_release_that_names_runs_otherwise_trains_nothing_again(
    play: Play, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
):
    play.apply(play.document())
    with monkeypatch.context() as older:
        older.setattr(spec, "run_name", lambda finetune: "weather-0123abcd")
        assert play.live(reconciler)["run"] == "weather-0123abcd"
    reconciler.reconcile(play.namespace, "weather")
    play.change(**SHAPE_NOTHING)
    assert play.live(reconciler)["run"] == "weather-0123abcd"
    assert started(play) == {"prepare": 1, "train": 1, "merge": 1, "evaluate": 1}
    play.change(lora={"rank": 16})
    assert play.live(reconciler, until="Training")["run"] == spec.run_name(play.parsed())


def test_a_release_that_takes_a_document_no_more_leaves_what_has_ended(
    play: Play, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
):
    def refuse(document: object, *, where: str = "") -> spec.FineTune:
        raise InvalidInput("spec.train.seed: got 5000000000")

    play.apply(play.document())
    promoted = play.live(reconciler)
    with monkeypatch.context() as newer:
        newer.setattr(spec, "validate", refuse)
        assert reconciler.reconcile(play.namespace, "weather") is None
        assert play.status() == promoted
        play.change(train={"steps": 3})
        reconciler.reconcile(play.namespace, "weather")
        assert play.status()["phase"] == "Failed"
