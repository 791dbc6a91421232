"""The stage `prepare` of a cluster: what it leaves in the store is all that a training needs, on another machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buckets import BUCKET, s3_server
from callwright import spec
from callwright.errors import InvalidInput, NotFound
from callwright.run import Run
from callwright.store import Store
from callwright.trainer.stage import keep_refusal, prepare_training, train_run
from callwright.trainer.worker import fetch_data
from hub import COMMIT, serving_hub
from models import tiny_model

MODEL = "owner/tiny"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    turns = [
        [{"from": "user", "value": f"I am number {n}"}, {"from": "assistant", "value": "Hello " * (n + 1)}]
        for n in range(8)
    ]
    path.write_text("".join(json.dumps({"conversations": each}) + "\n" for each in turns))
    return path


@pytest.fixture
def document(rows: Path) -> Callable[..., dict[str, Any]]:
    """Makes a document of a short training of the hub's model, on machines with GPUs where it says so."""

    def make(**chosen: Any) -> dict[str, Any]:
        asked = {
            "base": {"model": MODEL},
            "data": {"sources": [{"path": str(rows)}], "testFraction": 0.2},
            "train": {"steps": 2, "batchSize": 2, "sequencesPerStep": 4},
        }
        head = {"apiVersion": spec.API_VERSION, "kind": "FineTune", "metadata": {"name": "tiny"}}
        return {**head, "spec": asked | chosen}

    return make


@pytest.fixture
def bucket() -> Iterator[Store]:
    with s3_server():
        yield Store.open(f"s3://{BUCKET}/prepared")


@pytest.mark.slow
def test_a_training_needs_neither_the_hub_nor_the_corpora_any_more(
    tmp_path: Path, document: Callable[..., dict[str, Any]], rows: Path, bucket: Store
) -> None:
    """Each stage in a process and a folder of its own, as in a pod."""
    file = tmp_path / "finetune.yaml"
    file.write_text(json.dumps(document()))

    def stage(name: str, hub: str) -> str:
        command = [sys.executable, "-m", "callwright.trainer", "--spec", file, "--run", "tiny-1", "--store", bucket.url]
        command += ["--workdir", tmp_path / name, "--stage", name]
        environment = os.environ | {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    with serving_hub(MODEL, tiny_model(tmp_path / "base")) as (url, asked):
        said = stage("prepare", url)
    assert "prepare: " in said
    assert "trained parameters" in said
    assert json.loads(bucket.get_bytes("runs/tiny-1/prepared.json"))["rows"] == 6
    assert bucket.exists(f"bases/{MODEL}/{COMMIT}/model.safetensors")
    assert any("model.safetensors" in each for each in asked)
    rows.unlink()
    assert "conversations encoded" not in stage("train", "http://127.0.0.1:1")
    assert bucket.exists("runs/tiny-1/adapter/adapter_config.json")


def test_workers_of_one_pod_share_a_copy_that_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where two fetch it at once: the other is done while this one's copy is half there."""
    store = Store.open((tmp_path / "store").as_uri())
    run = Run(spec.FineTune.model_construct(), "tiny-1", store, tmp_path)
    for name in ("a", "b"):
        store.put_bytes(f"runs/tiny-1/data/{name}", name.encode())
    real, others = Store.get_file, []

    def slowly(self: Store, key: str, path: Path) -> None:
        if not others:
            others.append(None)
            others[0] = fetch_data(run)
        assert not (tmp_path / "runs/tiny-1/data").is_dir() or len(list(others[0].iterdir())) == 2
        real(self, key, path)

    monkeypatch.setattr(Store, "get_file", slowly)
    assert fetch_data(run) == others[0] == fetch_data(run)
    assert {path.name: path.read_text() for path in others[0].iterdir()} == {"a": "a", "b": "b"}
    assert [path.name for path in run.workdir.iterdir()] == ["data"]


def run_of(document: dict[str, Any], store: Store, root: Path) -> Run:
    return Run(spec.parse(json.dumps(document)), "tiny-1", store, root)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"lora": {"rank": 1024}}, "lora.rank is 1024, larger"),
        ({"lora": {"targets": ["nowhere"]}}, "lora.targets"),
        ({"data": {"sources": [{"path": "FILE"}], "strict": "fail"}}, "line 9"),
    ],
)
def test_a_wrong_input_is_told_before_gpus_are_asked_for(
    tmp_path: Path, document: Callable[..., dict[str, Any]], rows: Path, wrong: dict[str, Any], told: str
) -> None:
    with rows.open("a") as file:
        file.write("no JSON\n")
    wrong = json.loads(json.dumps(wrong).replace("FILE", str(rows)))
    base = {"model": str(tiny_model(tmp_path / "base"))}
    asked = document(base=base, resources={"gpusPerWorker": 1}, **wrong)
    store = Store.open((tmp_path / "store").as_uri())
    with pytest.raises(InvalidInput, match=told):
        prepare_training(run_of(asked, store, tmp_path))
    assert not store.exists("runs/tiny-1/prepared.json")


@pytest.mark.parametrize("stage", [prepare_training, train_run])
@pytest.mark.parametrize("where", ["a folder", "a store"])
def test_a_base_without_its_weights_is_told_before_gpus_are_asked_for_and_before_ray_starts(
    tmp_path: Path, document: Callable[..., dict[str, Any]], stage: Callable[[Run], Any], where: str
) -> None:
    """Nor are they asked for by copying what there is of them."""
    base = tiny_model(tmp_path / "base")
    (base / "model.safetensors").rename(base / "other.safetensors")
    asked = document(base={"model": str(base) if where == "a folder" else base.as_uri()})
    run = run_of(asked, Store.open((tmp_path / "store").as_uri()), tmp_path)
    with pytest.raises(NotFound, match=f"reading the base {asked['spec']['base']['model']}: no model.safetensors"):
        stage(run)
    assert run.store.list() == []
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize("starter", ["report", ""])
def test_a_training_that_is_refused_ends_as_its_starter_reads_it(
    tmp_path: Path, document: Callable[..., dict[str, Any]], starter: str
) -> None:
    """A RayJob that does not exit 0 is tried again; who reads no report, as earlier releases, gets the exit code."""
    store, file = Store.open((tmp_path / "store").as_uri()), tmp_path / "finetune.yaml"
    file.write_text(json.dumps(document(base={"model": str(tiny_model(tmp_path / "base"))}, lora={"rank": 1024})))
    command = [sys.executable, "-m", "callwright.trainer", "--spec", file, "--run", "tiny-1", "--store", store.url]
    environment = os.environ | {"CALLWRIGHT_REFUSALS": starter}
    done = subprocess.run([*command, "--workdir", tmp_path], env=environment, capture_output=True, text=True)
    assert "lora.rank" in done.stderr
    assert (done.returncode, store.exists("runs/tiny-1/report.json")) == ((0, True) if starter else (2, False))
    if starter:
        report = json.loads(store.get_bytes("runs/tiny-1/report.json"))
        assert report["status"] == "refused"
        assert "lora.rank" in report["message"]


def test_a_refusal_that_cannot_be_kept_is_known_by_the_exit_code(
    tmp_path: Path, document: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise InvalidInput("writing s3://bucket/key: refused: AccessDenied")

    monkeypatch.setattr(Store, "put_bytes", refuse)
    run = run_of(document(), Store.open((tmp_path / "store").as_uri()), tmp_path)
    assert not keep_refusal(run, InvalidInput("lora.rank"))


def test_a_preparation_is_made_once_and_its_data_are_trained_on(
    tmp_path: Path, document: Callable[..., dict[str, Any]], rows: Path
) -> None:
    """A corpus that changes afterwards changes no run that has begun; a machine of one's own prepares for itself."""
    base = {"model": str(tiny_model(tmp_path / "base"))}
    store = Store.open((tmp_path / "store").as_uri())
    run = run_of(document(base=base), store, tmp_path / "one")
    first = prepare_training(run)
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:4]))
    assert prepare_training(run_of(document(base=base), store, tmp_path / "other")) == first
    notes: list[str] = []
    assert keep_refusal(run, InvalidInput("of an earlier try"))
    train_run(run_of(document(base=base), store, tmp_path / "third"), on_note=notes.append)
    assert json.loads(store.get_bytes("runs/tiny-1/report.json"))["status"] == "completed"
    assert any(f"{first['rows']} sequences" in note for note in notes)
    assert not (tmp_path / "store/bases").exists(), "a folder is used where it is"
