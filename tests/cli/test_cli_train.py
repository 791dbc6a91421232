"""What `callwright train` prints; of what it cannot train a line, an exit code, and never a traceback."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callwright.cli.app import main
from callwright.cli.run import open_run
from callwright.trainer import stage
from models import tiny_model

Write = Callable[..., Path]
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs `callwright train` on a document that it refuses; returns what stands on stderr."""

    def run(file: Path, *, code: int = 2) -> str:
        monkeypatch.setattr(sys, "argv", ["callwright", "train", str(file), "--root", str(tmp_path / "root")])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        assert (end.value.code, told.out) == (code, ""), told.err
        return told.err

    return run


def test_what_is_trained_is_told_and_not_trained_again(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = write(), tmp_path / "root"
    run, report = open_run(file, root=root), {"status": "completed", "loss": 1.5, "step": 2}
    run.store.put_bytes(f"runs/{run.name}/report.json", json.dumps(report).encode())
    run.store.put_bytes(f"runs/{run.name}/adapter/adapter_config.json", b"{}")
    monkeypatch.setattr(sys, "argv", ["callwright", "train", str(file), "--root", str(root), "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert json.loads(capsys.readouterr().out) == report


@pytest.mark.parametrize(("changed", "words"), [
    ({"lora": {"rank": 100}},
     ["lora.rank is 100, larger than 7 of the layers, such as model.layers.0.self_attn.q_proj with 64"]),
    ({"lora": {"targets": ["c_attn", "q_proj"]}},
     ["lora.targets names c_attn, which it does not have; expected some of down_proj, embed_tokens, gate_"]),
    ({"resources": {"gpusPerWorker": 1}},
     ["resources.gpusPerWorker is 1 for 1 workers; got 0 GPUs for torch; set resources.gpusPerWorker to 0"]),
    ({"lora": {"quantize": "nf4"}},
     ["lora.quantize is nf4; got cpu",
      "expected a GPU and bitsandbytes; set resources.gpusPerWorker and install callwright[gpu]"]),
    ({"data": {"maxLength": 16}}, ["got no row to train on; expected at least one"]),
], ids=["rank", "targets", "no GPU", "four bits", "no rows"])  # fmt: skip
def test_what_cannot_be_trained_is_refused_before_anything_starts(
    write: Write,
    refused: Refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    words: list[str],
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    said = refused(write(**changed))
    assert all(each in said for each in words), said
    assert not (tmp_path / "store").exists()


def test_a_base_without_a_chat_template(write: Write, refused: Refused, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "bare")
    (base / "chat_template.jinja").unlink()
    assert "chat template" in refused(write(base={"model": str(base)}))


@pytest.mark.parametrize(("workers", "where"), [
    (1, "this machine has 1 MB"), (2, "this machine, shared by 2 workers, has 0 MB"),
])  # fmt: skip
def test_what_does_not_fit(
    write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch, workers: int, where: str
) -> None:
    monkeypatch.setattr(stage, "device_bytes", lambda device: 1_000_000)
    said = refused(write(resources={"workers": workers}))
    assert "a worker needs about " in said
    assert f"{where} for it; lower train.batchSize or data.maxLength" in said


@pytest.fixture
def stale_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of Ray's in which a cluster that is gone has left its address."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # short, for sockets
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("stale_cluster")
def test_a_loss_that_is_no_number(write: Write, refused: Refused, tmp_path: Path) -> None:
    said = refused(write(train={"learningRate": 1.0e30, "warmupRatio": 0, "steps": 5}), code=1)
    assert said.index("trained parameters (") < said.index("expected finite ones")
    (batch,) = (tmp_path / "store").glob("runs/*/failed-batch.json")
    assert f"its sequences are in runs/{batch.parent.name}/failed-batch.json of the store; look for faulty rows" in said
    assert len(json.loads(batch.read_text())["rows"]) == 4
    report = json.loads((batch.parent / "report.json").read_text())
    assert (report["status"], report["step"]) == ("failed", 2)
    assert report["message"] in said
