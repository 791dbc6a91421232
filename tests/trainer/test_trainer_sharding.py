"""Layers that are shared out over the workers change nothing but what a worker holds."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import distributed, multiprocessing

from callwright import spec
from callwright.errors import InvalidInput
from callwright.run import Run
from callwright.spec.model import Base, Lora, Train
from callwright.store import Store
from callwright.trainer import stage, worker
from callwright.trainer.forecast import Forecast, forecast
from callwright.trainer.learner import Learner
from callwright.trainer.model import load_model
from callwright.trainer.rows import Rows

ROWS = 11
SETTINGS: dict[str, Any] = {"steps": 3, "batch_size": 4, "sequences_per_step": 8, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_rows: Callable[..., Path]) -> Path:
    """A base of three layers in `base`, rows in `train.arrow` and `test.arrow`."""
    made = tmp_path_factory.mktemp("sharding")
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=96, hidden_size=32, intermediate_size=50, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    transformers.Qwen2ForCausalLM(config).save_pretrained(made / "base")
    for name in ("train", "test"):
        write_rows(
            made / f"{name}.arrow", [[3 + (row * 7 + k * k) % 90 for k in range(8 + 2 * row)] for row in range(ROWS)]
        )
    return made


def add_up(tensor: torch.Tensor) -> None:
    distributed.all_reduce(tensor)


def learner(folder: Path, *, rank: int, shards: int, **train: Any) -> Learner:
    settings, lora = Train(**SETTINGS, **train), Lora(rank=4, dropout=0.1)
    adapted = load_model(folder / "base", Base(model="b"), lora, settings, torch.device("cpu"), shards=shards)
    made = Learner(adapted, Rows.open(folder / "train.arrow"), settings, rank=rank, workers=2, sum_over_workers=add_up)
    torch.manual_seed(1)
    for parameter in made.parameters:  # LoRA's B starts at 0, which would hide half of the gradients
        parameter.data += 0.02 * torch.randn_like(parameter)
    return made


def weights(made: Learner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made.parameters])


def held(made: Learner) -> int:
    """Numbers of the base's layers that this worker keeps."""
    frozen = [p for name, p in made.model.named_parameters() if ".layers." in name and not p.requires_grad]
    return sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in frozen)


def compare(rank: int, folder: Path, meeting: str) -> None:
    """In each of two workers: whole copies and shares give the same steps, evaluations and resumed training."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    for checkpointing in (False, True):
        whole, shared = (
            learner(folder, rank=rank, shards=shards, gradient_checkpointing=checkpointing) for shards in (1, 2)
        )
        assert held(shared) == pytest.approx(held(whole) / 2, rel=0.05)
        before = weights(whole)
        for _ in range(2):
            one, other = whole.advance(), shared.advance()
            torch.testing.assert_close(other.figures, one.figures, rtol=1e-6, atol=0)
            torch.testing.assert_close(other.grad_norm, one.grad_norm, rtol=1e-5, atol=0)
        torch.testing.assert_close(weights(shared), weights(whole), rtol=1e-5, atol=1e-7)
        assert not torch.equal(weights(whole), before)
        assert len(shared.rows.lengths) / shared.plan.train.batch_size % 2 > 0, "one worker has a batch more"
        assert shared.evaluate(shared.rows) == pytest.approx(whole.evaluate(whole.rows), rel=1e-6)
        resumed = learner(folder, rank=rank, shards=2, gradient_checkpointing=checkpointing)
        resumed.load_state(copy.deepcopy(shared.state()))
        for each in (resumed, shared):
            each.advance()
        assert torch.equal(weights(resumed), weights(shared))
    distributed.destroy_process_group()


def test_shares_of_the_layers_train_as_whole_copies_do(folder: Path, tmp_path: Path) -> None:
    multiprocessing.spawn(compare, args=(folder, (tmp_path / "meeting").as_uri()), nprocs=2)


Make = Callable[..., spec.FineTune]


def document(finetune: Make, folder: Path, sharding: str) -> spec.FineTune:
    train = {**SETTINGS, "sharding": sharding}
    return finetune(folder / "base", lora={"rank": 4, "dropout": 0}, train=train, resources={"workers": 2})


def test_a_run_with_shares_ends_as_one_alone(finetune: Make, folder: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    asked, store = document(finetune, folder, "full"), Store.open((tmp_path / "store").as_uri())
    report = stage.train_run(Run(asked, "tiny", store, tmp_path), data=folder, on_note=notes.append)
    assert "share of the base" in notes[0]
    alone = load_model(folder / "base", asked.spec.base, asked.spec.lora, asked.spec.train, torch.device("cpu"))
    expected = Learner(alone, Rows.open(folder / "train.arrow"), asked.spec.train)
    losses = [expected.advance().metrics()["loss"] for _ in range(SETTINGS["steps"])]
    assert report["loss"] == pytest.approx(losses[-1], abs=1e-4)
    assert report["step"] == report["published_step"] == SETTINGS["steps"]
    assert json.loads((tmp_path / "store/runs/tiny/adapter/adapter_config.json").read_text())["r"] == 4


def work_out(
    folder: Path, *, workers: int = 2, capacity: int | None = None, quantize: Any = "none", **train: Any
) -> Forecast:
    return forecast(
        folder / "base", Base(model="tiny"), Lora(rank=4, quantize=quantize), Train(**SETTINGS, **train),
        lengths=(20,) * ROWS, workers=workers, dtype=torch.float32, capacity_bytes=capacity,
    )  # fmt: skip


def test_layers_are_shared_where_the_whole_does_not_fit(folder: Path) -> None:
    whole = work_out(folder, sharding="none")
    assert whole.sharded is False
    assert work_out(folder, capacity=whole.memory_bytes) == whole
    shared = work_out(folder, capacity=whole.memory_bytes - 1)
    assert shared == work_out(folder, sharding="full")
    assert shared.sharded is True
    assert work_out(folder, workers=8, sharding="full").weights_bytes < shared.weights_bytes
    assert work_out(folder, capacity=None).sharded is None, "a worker finds out"
    assert work_out(folder, workers=1, capacity=1).sharded is False, "there is nobody to share with"


def test_a_worker_finds_out_by_its_own_memory(
    finetune: Make, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(document(finetune, folder, "auto"), "tiny", Store.open(tmp_path.as_uri()), tmp_path)
    given = run, Rows.open(folder / "train.arrow"), torch.device("cpu"), 2
    assert not worker._needs_sharding(*given)
    monkeypatch.setattr(worker, "device_bytes", lambda device: 1000)
    assert worker._needs_sharding(*given)


def test_a_quantized_base_is_not_shared(folder: Path) -> None:
    assert work_out(folder, capacity=1, quantize="nf4").sharded is False
    with pytest.raises(InvalidInput, match=r"got lora.quantize nf4 with train.sharding full; expected one of them"):
        work_out(folder, quantize="nf4", sharding="full")
