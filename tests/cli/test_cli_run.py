"""How `callwright run` does stages again, and what a changed document does anew."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from callwright.cli.run import open_run, redo_from
from callwright.datasets.prepare import prepare_run

Write = Callable[..., Path]


def test_from_data_reads_the_corpora_anew(write: Write, tmp_path: Path) -> None:
    run = open_run(write(), root=tmp_path / "root")
    first = prepare_run(run)
    assert prepare_run(run).reused
    for left in ("prepared.json", "data/train.arrow", "evaluation/base.jsonl", "adapter/adapter_config.json"):
        run.store.put_bytes(run.key(left), b"{}")  # by a cluster, or by the stages that follow
    redo_from(run, "data")
    assert run.store.list(run.key("").rstrip("/")) == []
    again = prepare_run(run)
    assert (again.reused, again.train_rows) == (False, first.train_rows)


def test_a_changed_corpus_is_another_run_and_a_changed_gate_is_not(write: Write, tmp_path: Path) -> None:
    run = open_run(write(), root=tmp_path / "root")
    gated = open_run(write(evaluate={"gate": {"minAccuracy": 0.5}}, train={"logSteps": 1}), root=tmp_path / "root")
    assert (gated.name, gated.version) == (run.name, run.version)
    halved = open_run(write(merge={"dtype": "float16"}), root=tmp_path / "root")
    assert halved.name == run.name
    assert halved.version != run.version
    with (tmp_path / "rows.jsonl").open("a") as corpus:
        corpus.write('{"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]}\n')
    assert open_run(write(), root=tmp_path / "root").name != run.name


@pytest.mark.parametrize(
    ("left", "goes_on"),
    [
        ({"report.json": {}}, True),
        ({"data/parity.json": {"template": {}}}, True),
        ({"data/parity.json": {"dialect": "hermes"}}, True),
        ({"data/parity.json": {"dialect": "ms_agent"}}, False),
        ({}, False),
    ],
    ids=["finished", "begun", "of the release between", "asked for by its name", "nothing"],
)
def test_a_document_without_a_dialect_goes_on_with_what_an_older_release_began(
    write: Write, tmp_path: Path, left: dict[str, dict[str, str]], goes_on: bool
) -> None:
    """That took ms_agent where none is named, and left no dialect beside the sample."""
    root = tmp_path / "root"
    older = open_run(write(dialect="ms_agent"), root=root)
    for key, content in left.items():
        older.store.put_bytes(older.key(key), json.dumps(content).encode())
    assert (open_run(write(), root=root).name == older.name) is goes_on
    assert open_run(write(dialect="ms_agent"), root=root).name == older.name
    assert open_run(write(dialect="native"), root=root).name != older.name


def test_a_run_of_the_base_s_own_format_is_no_other_after_an_older_one(write: Write, tmp_path: Path) -> None:
    root = tmp_path / "root"
    own, older = open_run(write(), root=root), open_run(write(dialect="ms_agent"), root=root)
    assert own.name != older.name
    for run in (own, older):
        run.store.put_bytes(run.key("report.json"), b"{}")
    assert open_run(write(), root=root).name == own.name
