"""Around the steps: stop early, keep the best, stop on a notice, give up on a loss that is no number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from callwright.spec.model import Base, Lora, Train
from callwright.store import Store
from callwright.trainer.checkpoints import Checkpoints
from callwright.trainer.learner import Learner
from callwright.trainer.metrics import read_metrics
from callwright.trainer.model import load_model
from callwright.trainer.rows import Rows
from callwright.trainer.train_loop import TrainLoop


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_rows: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, count in (("train", 12), ("test", 3)):
        rows = [[5 + (row * 7 + k) % 90 for k in range(10 + row)] for row in range(count)]
        write_rows(folder / f"{name}.arrow", rows)
    return folder


class Run:
    """A loop on a fresh learner, and the lines that it told."""

    def __init__(self, base_dir: Path, data: Path, store: Path, **train: Any) -> None:
        settings = {"steps": 8, "batch_size": 2, "sequences_per_step": 4, "learning_rate": 1e-2, "log_steps": 1}
        made = Train(**{**settings, "eval_steps": 1, "save_steps": 2, **train})
        adapted = load_model(base_dir, Base(model="b"), Lora(rank=2, dropout=0), made, torch.device("cpu"))
        self.learner = Learner(adapted, Rows.open(data / "train.arrow"), made)
        self.checkpoints = Checkpoints(Store.open(store.as_uri()), "run")
        self.lines: list[dict[str, Any]] = []
        self.loop = TrainLoop(self.learner, Rows.open(data / "test.arrow"), self.checkpoints, publish=self.lines.append)

    def told(self, name: str) -> list[Any]:
        return [line[name] for line in self.lines if name in line]

    def evaluating_to(self, monkeypatch: pytest.MonkeyPatch, *losses: float) -> "Run":
        left = iter(losses)
        monkeypatch.setattr(self.learner, "evaluate", lambda rows: {"eval_loss": next(left)})
        return self


def test_a_run_tells_and_saves_where_it_should(base_dir: Path, data: Path, tmp_path: Path) -> None:
    run = Run(base_dir, data, tmp_path, eval_steps=3, save_steps=5)
    run.loop.run()
    assert [line["step"] for line in run.lines if "loss" in line] == list(range(1, 9))
    assert [line["step"] for line in run.lines if "eval_loss" in line] == [0, 3, 6, 8]
    assert run.told("saved_step") == [5, 8]
    assert run.told("eval_loss")[-1] < run.told("eval_loss")[0]
    assert all(value > 0 for value in run.told("tokens_per_second"))
    assert set(run.told("padding_share")) == {0.0}


def test_evaluations_without_a_lower_loss_end_it(
    base_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(base_dir, data, tmp_path, early_stopping=2).evaluating_to(monkeypatch, 5, 4, 3, 3.5, 3)
    run.loop.run()
    assert run.learner.step == 4
    assert [(each.step, each.eval_loss) for each in run.checkpoints.list()] == [(2, 3.0), (4, 3.0)]
    again = Run(base_dir, data, tmp_path, early_stopping=2)
    again.loop.run()
    assert again.learner.step == 4, "it stays ended"


def test_the_best_checkpoint_is_evaluated_and_kept(
    base_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(base_dir, data, tmp_path, publish="best", eval_steps=100, save_total_limit=1)
    run.evaluating_to(monkeypatch, 9, 4, 2, 3, 5).loop.run()
    best = run.checkpoints.best()
    assert best
    assert best.step == 4
    assert [each.step for each in run.checkpoints.list()] == [4, 8]


def test_a_notice_to_stop_saves_and_the_next_run_carries_on(base_dir: Path, data: Path, tmp_path: Path) -> None:
    whole = Run(base_dir, data, tmp_path / "whole")
    whole.loop.run()
    stopped = Run(base_dir, data, tmp_path / "parts", save_steps=100)
    stopped.loop.wants_stop = lambda: stopped.learner.step == 2
    stopped.loop.run()
    assert (stopped.told("saved_step"), stopped.told("stopped_step")) == ([3], [3])
    resumed = Run(base_dir, data, tmp_path / "parts", save_steps=100)
    resumed.loop.run()
    assert resumed.told("resumed_step") == [3]
    assert resumed.told("loss")[0] == stopped.told("loss")[-1], "what was known at the checkpoint is told again"
    assert resumed.told("loss")[-1] == whole.told("loss")[-1]
    for one, other in zip(whole.learner.parameters, resumed.learner.parameters, strict=True):
        assert torch.equal(one, other)
    assert resumed.loop.evaluations == whole.loop.evaluations


def test_a_machine_about_to_go_is_a_checkpoint_and_no_end(base_dir: Path, data: Path, tmp_path: Path) -> None:
    run = Run(base_dir, data, tmp_path, save_steps=100)
    run.loop.is_preempted = lambda: run.learner.step >= 3
    run.loop.run()
    assert run.told("notice_step") == [3]
    assert run.told("saved_step") == [3, 8]


def test_a_loss_that_is_no_number_stops_with_the_batch_saved(base_dir: Path, data: Path, tmp_path: Path) -> None:
    run = Run(base_dir, data, tmp_path)

    def spoil() -> bool:
        if run.learner.step == 2:
            run.learner.parameters[0].data.fill_(float("nan"))
        return False

    run.loop.wants_stop = spoil
    run.loop.run()
    assert run.learner.step == 3
    (said,) = run.told("failed")
    assert "got loss nan and gradient norm nan in step 3; expected finite ones" in said
    saved = json.loads((tmp_path / "runs" / "run" / "failed-batch.json").read_text())
    assert [row["id"] for row in saved["rows"]] == [f"train-{row}" for row in run.learner.plan.sequences(3)]
    assert all(row["input_ids"] and row["weights"] for row in saved["rows"])
    assert [each.step for each in run.checkpoints.list()] == [2], "nothing is saved after it"


def test_metrics_of_a_step_that_was_run_again_are_the_last_ones(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "saved_step": 2}, {"step": 2, "loss": 1.0}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    read = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["loss"]) for line in read] == [(1, 3.0), (2, 1.0)]
