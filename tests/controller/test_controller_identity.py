"""What a changed document, or a newer controller, does anew: what depends on the change, and nothing else."""

from typing import Any

import pytest

from callwright import spec
from callwright.controller import desired
from callwright.controller.cluster import FINE_TUNE, JOB, RAY_JOB, Cluster
from callwright.controller.reconcile import Reconciler
from callwright.errors import InvalidInput
from callwright.store import Registry, Store
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
    rejected = play.live(reconciler, until="Rejected")
    play.change(evaluate={"gate": {"minAccuracy": 0.94}})
    again = play.live(reconciler, until="Rejected")
    assert "minAccuracy: got 0.93; expected at least 0.94" in again["message"]
    play.change(evaluate={"gate": {"minAccuracy": 0.9}})
    promoted = play.live(reconciler)
    assert promoted["run"] == rejected["run"]
    assert started(play) == {"prepare": 1, "train": 1, "merge": 1, "evaluate": 1}


@pytest.mark.parametrize("is_applied_again", [False, True])
def test_what_the_store_has_asks_for_no_gpu_again(play: Play, reconciler: Reconciler, is_applied_again: bool):
    """Where a stage's object has gone before a controller saw its end; where a document is deleted and applied again,
    as out of a backup.
    """
    play.apply(play.document())
    for stage, phase in (("train", "Training"), ("merge", "Merging"), ("evaluate", "Evaluating")):
        run = play.live(reconciler, until=phase, but=stage)["run"]
        play.turn()
        if stage == "train":
            play.completed(run)
        kind = RAY_JOB if stage == "train" else JOB
        play.cluster.delete(kind, play.namespace, play.child(kind, stage)["metadata"]["name"])
    assert play.live(reconciler)["run"] == run
    if is_applied_again:
        play.cluster.delete(FINE_TUNE, play.namespace, "weather")
        play.apply(play.document())
        play.cluster.delete(JOB, play.namespace, f"{run}-prepare")
        again = play.live(reconciler)
        assert (again["version"], again["progress"], again["accuracy"]) == (run, "120/120", 0.93)
    assert started(play) == {"prepare": 1, "train": 0, "merge": 0, "evaluate": 0}


SETS: dict[str, Any] = {"evaluate": {"sets": [{"name": "s", "path": "hf://datasets/owner/sets/s.jsonl"}]}}
DTYPE: dict[str, Any] = {"merge": {"dtype": "float16"}}


@pytest.mark.parametrize(
    ("changed", "anew"),
    [
        (SETS, {"prepare": 1, "train": 1, "merge": 1, "evaluate": 2}),
        (DTYPE, {"prepare": 1, "train": 1, "merge": 2, "evaluate": 2}),
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


@pytest.mark.parametrize(
    ("phase", "stage", "changed", "has_ended"),
    [
        ("Merging", "merge", DTYPE, False),
        ("Merging", "merge", DTYPE, True),
        ("Evaluating", "evaluate", DTYPE, False),
        ("Evaluating", "evaluate", SETS, False),
        ("Evaluating", "evaluate", SETS, True),
    ],
)
def test_what_changes_while_it_is_made_is_made_anew(
    play: Play, reconciler: Reconciler, phase: str, stage: str, changed: Any, has_ended: bool
):
    """Also where the controller has not seen the end of what was asked for before."""
    play.apply(play.document())
    run = play.live(reconciler, until=phase, but=stage)["run"]
    before = play.child(JOB, stage)["metadata"]["uid"]
    if has_ended:
        play.turn()
    play.change(**changed)
    after = play.live(reconciler)
    assert (after["run"], after["version"]) == (run, spec.version_name(play.parsed(), run))
    left = play.cluster.find(JOB, play.namespace, labels={desired.STAGE_LABEL: stage})
    assert before not in {each["metadata"]["uid"] for each in left}, "it would hold its GPUs"
    assert started(play)["evaluate"] == 1


def test_a_gate_that_changes_during_the_evaluation_counts(play: Play, reconciler: Reconciler):
    """Though the evaluation's own decision is by the one that it began with."""
    play.apply(play.document(evaluate={"gate": {"minAccuracy": 0.9}}))
    play.live(reconciler, until="Evaluating", but="evaluate")
    play.turn()
    play.change(evaluate={"gate": {"minAccuracy": 0.95}})
    assert "got 0.93; expected at least 0.95" in play.live(reconciler, until="Rejected")["message"]
    assert started(play) == {"prepare": 1, "train": 1, "merge": 1, "evaluate": 1}


def test_a_version_that_is_promoted_during_the_evaluation_is_measured_beside(
    play: Play, store: Store, reconciler: Reconciler
):
    """Where the gate asks how much is lost against it."""
    play.apply(play.document(evaluate={"gate": {"maxRegression": 0.1}}))
    play.live(reconciler, until="Evaluating", but="evaluate")
    play.turn()
    play.publish("weather", "other")
    Registry(store).promote("weather", "other")
    play.live(reconciler, until="Evaluating", but="evaluate")
    reconciler.reconcile(play.namespace, "weather")
    reconciler.reconcile(play.namespace, "weather")
    again = play.child(JOB, "evaluate")["spec"]["template"]["spec"]["containers"][0]["command"]
    assert again[-2:] == ["--promoted-id", "weather@other"]


@pytest.mark.parametrize(("promote", "phase"), [("never", "Completed"), ("manual", "AwaitingPromotion")])
def test_a_promotion_that_is_asked_for_later_starts_nothing(
    play: Play, store: Store, reconciler: Reconciler, promote: str, phase: str
):
    play.apply(play.document(evaluate={"promote": promote}))
    before = play.live(reconciler, until=phase)
    play.change(evaluate={"promote": "auto"})
    assert play.live(reconciler)["run"] == before["run"]
    assert Registry(store).promoted("weather") == before["version"]
    assert started(play) == {"prepare": 1, "train": 1, "merge": 1, "evaluate": 1}


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
    assert started(play) == {"prepare": 1, "train": 1, "merge": 0, "evaluate": 0}, (
        "objects of a run that is over are gone, and what one has left in the store is not made again"
    )


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
