"""How `callwright run` does stages again, and what a changed document does anew."""

from collections.abc import Callable
from pathlib import Path

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
