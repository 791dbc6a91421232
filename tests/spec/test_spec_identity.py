"""What a run, its version and its evaluation are named by, and what leaves their names as they are."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import Field

from callwright import spec
from callwright.spec import FineTune, FineTuneSpec, identity
from callwright.spec.model import DialectName, SpecModel, Train

DOCUMENTS = Path(__file__).parent / "documents"
"""Documents as users wrote them, and as an API server of the first release stored them, with the names they had."""
LATER = DOCUMENTS / "without-dialect"
"""Of a later release, which takes the base's own dialect where none is named."""
_FIRST = {"dialect": "ms_agent"}
"""What an API server of the first release wrote into a document that names no dialect."""
SHORT: dict[str, Any] = {
    "apiVersion": spec.API_VERSION,
    "kind": "FineTune",
    "metadata": {"name": "demo"},
    "spec": {"base": {"model": "./base"}, "data": {"sources": [{"path": "a.jsonl"}]}},
}


def made(**parts: Any) -> FineTune:
    return FineTune.model_validate(SHORT | {"spec": SHORT["spec"] | parts})


def names(finetune: FineTune) -> list[str]:
    run = spec.run_name(finetune)
    version = spec.version_name(finetune, run)
    return [run, version, spec.measurement(finetune, version)]


@pytest.mark.parametrize("path", sorted(DOCUMENTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_document_keeps_its_names(path: Path):
    """One that the user wrote names no dialect, and asks for another one today: its run goes by its earlier name."""
    stored = json.loads(path.read_text())
    document = FineTune.model_validate(stored["document"])
    assert spec.earlier_run_name(document) == stored["names"][0]
    if document.spec.dialect is None:
        assert names(document)[0] != stored["names"][0]
        document = FineTune.model_validate(stored["document"] | {"spec": stored["document"]["spec"] | _FIRST})
    assert names(document) == stored["names"]


@pytest.mark.parametrize("path", sorted(LATER.glob("*.json")), ids=lambda path: path.stem)
def test_a_document_that_a_later_release_stored_keeps_its_names(path: Path):
    stored = json.loads(path.read_text())
    assert names(FineTune.model_validate(stored["document"])) == stored["names"]


def test_a_stored_document_holds_every_default_that_names_depend_on():
    """So that changing one is seen by its names. Write a field that is added into it; the names stay."""
    stored = json.loads((LATER / "every-field-stored.json").read_text())["document"]
    parts = {*identity.TRAINING, *identity.MERGE, *identity.MEASUREMENT}
    full = FineTune.model_validate(stored).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert {part: full["spec"].get(part) for part in parts} == {part: stored["spec"].get(part) for part in parts}


def test_a_document_has_the_same_names_once_all_defaults_are_written_into_it():
    short = made(train={"epochs": 1}, evaluate={"sets": [{"name": "s", "path": "s.jsonl"}]}, merge={"dtype": "float16"})
    assert names(FineTune.model_validate(short.model_dump(by_alias=True))) == names(short)
    assert names(FineTune.model_validate(short.model_dump(by_alias=True, exclude_none=True))) == names(short)


@pytest.mark.parametrize("given", [{}, {"train": {"epochs": 3}}])
def test_a_field_that_is_added_with_a_default_names_nothing_anew(monkeypatch: pytest.MonkeyPatch, given: Any):
    class Wider(Train):
        added: int = Field(default=7)

    monkeypatch.setitem(identity.FIRST_DEFAULTS, "WiderSpec.dialect", "ms_agent")

    class WiderSpec(FineTuneSpec):
        train: Wider = Wider()
        part: SpecModel = SpecModel()

    class WiderDocument(FineTune):
        spec: WiderSpec

    before = made(**given)
    document = before.model_dump(by_alias=True)
    document["spec"]["train"]["added"] = 7  # as the API server writes it
    assert names(WiderDocument.model_validate(document)) == names(before)
    document["spec"]["train"]["added"] = 8
    assert names(WiderDocument.model_validate(document))[0] != names(before)[0]


def test_a_default_that_changes_names_nothing_anew_where_it_was_written_down(monkeypatch: pytest.MonkeyPatch):
    class Later(Train):
        warmup_ratio: float = 0.1

    class LaterSpec(FineTuneSpec):
        train: Later = Later()

    class LaterDocument(FineTune):
        spec: LaterSpec

    monkeypatch.setitem(identity.FIRST_DEFAULTS, "Later.warmup_ratio", 0.03)
    monkeypatch.setitem(identity.FIRST_DEFAULTS, "LaterSpec.dialect", "ms_agent")
    before = made(train={"epochs": 3}, dialect="ms_agent")
    assert names(LaterDocument.model_validate(before.model_dump(by_alias=True))) == names(before)
    short = LaterDocument.model_validate(before.model_dump(by_alias=True, exclude_unset=True))
    assert spec.run_name(short) != spec.run_name(before), "it asks for another warm-up now"
    assert spec.earlier_run_name(short) == spec.run_name(before)


def test_each_dialect_is_a_run_of_its_own_and_so_is_none():
    """`native` refuses a base that none falls back for."""
    runs = [spec.run_name(made(**part)) for part in ({}, *({"dialect": name} for name in get_args(DialectName)))]
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ({"base": {"model": "./other"}}, "training"),
        ({"dialect": "hermes"}, "training"),
        ({"data": {"sources": [{"path": "b.jsonl"}]}}, "training"),
        ({"data": {"sources": [{"path": "a.jsonl", "count": 3}]}}, "training"),
        ({"data": {"sources": [{"path": "a.jsonl"}], "loss": {"action": 3}}}, "training"),
        ({"lora": {"rank": 16}}, "training"),
        ({"train": {"learningRate": 1e-4}}, "training"),
        ({"merge": {"dtype": "float16"}}, "version"),
        ({"merge": {"shardBytes": 1_000_000}}, "version"),
        ({"evaluate": {"sets": [{"name": "s", "path": "s.jsonl"}]}}, "measurement"),
        ({"evaluate": {"maxTokens": 64}}, "measurement"),
        ({"evaluate": {"compareBase": False}}, "measurement"),
        ({"evaluate": {"gate": {"minAccuracy": 0.5}}}, None),
        ({"deploy": {"service": "s", "canary": {"weight": 20, "minutes": 5}}}, None),
        ({"evaluate": {"promote": "manual", "concurrency": 4}}, None),
        ({"merge": {"tolerance": 0.1}}, None),
        ({"train": {"logSteps": 1, "maxFailures": 0, "reportTo": ["mlflow"], "saveTotalLimit": 1}}, None),
        ({"train": {"learningRate": 5e-5}, "lora": {}, "evaluate": {"gate": {}}}, None),
        ({"store": "s3://elsewhere"}, None),
        ({"resources": {"memoryPerWorker": "32Gi"}, "cluster": {"secret": "s"}, "suspend": True}, None),
        ({"deploy": {"service": "s", "engine": {"maxModelLen": 64}}}, None),
    ],
)
def test_a_change_names_anew_what_depends_on_it(part: dict[str, Any], changed: str | None):
    stages = ["training", "version", "measurement"]
    differs = [before != after for before, after in zip(names(made()), names(made(**part)), strict=True)]
    assert differs == [changed is not None and stages.index(changed) <= index for index in range(3)]


def test_every_field_of_a_document_has_its_place():
    """A new part of the spec shapes a stage's result, or is listed here as what shapes none."""
    shape_nothing = {"store", "resources", "cluster", "deploy", "suspend"}
    placed = {**identity.TRAINING, **identity.MERGE, **identity.MEASUREMENT}
    assert set(FineTuneSpec.model_fields) == set(placed) | shape_nothing
    for name, left_out in placed.items():
        fields = getattr(FineTuneSpec.model_fields[name].annotation, "model_fields", {})
        assert set(left_out) <= set(fields)


def test_names_say_whose_they_are():
    assert spec.run_name(made()).startswith("demo-")
    assert spec.run_name(made()) != spec.run_name(made(), "other corpora")
    numbered = FineTune.model_validate(SHORT | {"metadata": {"name": "7b-" + "long-" * 9 + "x"}})
    assert spec.run_name(numbered).startswith("r7b-long-")
    assert len(spec.run_name(numbered) + "-train-12") <= 47
    assert spec.run_name(made(deploy={"model": "another"})) != spec.run_name(made())
