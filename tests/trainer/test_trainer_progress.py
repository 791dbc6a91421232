"""What a training tells reaches the files, TensorBoard and the trackers that were asked for."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from callwright.errors import InvalidInput
from callwright.trainer.metrics import MetricsWriter, read_metrics
from callwright.trainer.trackers import Trackers
from fakes import FakeMlflow

METRICS = {
    "loss": 2.5, "learning_rate": 1e-4, "grad_norm": 0.3, "token_accuracy": 0.5, "tokens_per_second": 900.0,
    "padding_share": 0.1, "peak_rss_bytes": 10_000,
}  # fmt: skip
LINES: list[dict[str, Any]] = [
    {"step": 0, "steps": 2, "time": time.time(), "eval_loss": 3.0, "eval_token_accuracy": 0.25},
    {"step": 1, "steps": 2, "time": time.time(), **METRICS},
    {"step": 2, "steps": 2, "time": time.time(), **METRICS, "loss": 2.25, "failed": "words are no metric"},
]


def write(folder: Path, trackers: Trackers | None = None) -> MetricsWriter:
    with MetricsWriter(folder, trackers) as metrics:
        for line in LINES:
            metrics.add(line)
    return metrics


def test_every_metric_is_in_the_files_and_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = write(tmp_path)
    assert read_metrics(tmp_path / "metrics.jsonl") == LINES
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {*METRICS, "eval_loss", "eval_token_accuracy"}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 2.5), (2, 2.25)]
    assert metrics.latest["loss"] == 2.25


def trackers(folder: Path, *names: str) -> Trackers:
    return Trackers(names, run="tiny", folder=folder, settings={"lora": {"rank": 8}})


def test_mlflow_is_told_settings_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    write(tmp_path, trackers(tmp_path, "mlflow"))
    assert mlflow.run == "tiny"
    assert mlflow.params == {"lora.rank": 8}
    assert [step for step, _ in mlflow.metrics] == [0, 1, 2]
    assert mlflow.metrics[1][1] == METRICS
    assert mlflow.ended


def told(folder: Path, name: str) -> None:
    """Tell all lines to a real tracker."""
    pytest.importorskip(name, reason=f"needs {name} itself, which is in no lock: pip install {name}")
    write(folder, trackers(folder, name))


def test_mlflow_itself_keeps_settings_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    told(tmp_path, "mlflow")
    (param,) = (tmp_path / "mlruns").glob("*/*/params/lora.rank")
    assert param.read_text() == "8"
    losses = (param.parent.parent / "metrics" / "loss").read_text().splitlines()
    assert [line.split()[1:] for line in losses] == [["2.5", "1"], ["2.25", "2"]]
    assert "status: 3" in (param.parent.parent / "meta.yaml").read_text(), "the run is finished"


def test_weights_and_biases_itself_keeps_settings_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    told(tmp_path, "wandb")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = file.read_bytes()  # records, uncompressed; there since the run is finished
    for expected in (b"tiny", b"lora.rank", b"train/loss", b"train/tokens_per_second", b"eval/token_accuracy", b"2.25"):
        assert expected in written


def test_a_tracker_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow = FakeMlflow(fails_at=1)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    write(tmp_path, trackers(tmp_path, "mlflow"))
    assert [step for step, _ in mlflow.metrics] == [0]
    assert "mlflow takes no metrics any more: no server" in caplog.text
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(f"transformers.integrations.is_{name}_available", lambda: False)
    with pytest.raises(InvalidInput, match=rf"train.reportTo names {name}; .*pip install {name}"):
        trackers(tmp_path, name)
