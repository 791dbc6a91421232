"""What a training says before its first step, and what it refuses then, with the numbers."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from callwright.errors import InvalidInput
from callwright.spec.model import Base, Lora, Train
from callwright.trainer.forecast import Forecast, forecast
from callwright.trainer.model import load_model


def work_out(
    base_dir: Path, lengths: tuple[int, ...] = (40, 60, 50), train: Train | None = None, **lora: Any
) -> Forecast:
    chosen = train or Train(sequences_per_step=2, epochs=4)
    return forecast(
        base_dir,
        Base(model="tiny"),
        Lora(**{"rank": 4} | lora),
        chosen,
        lengths=lengths,
        workers=1,
        dtype=torch.float32,
    )


def train_apart(folder: Path, shape: dict[str, Any], train: dict[str, Any], lengths: tuple[int, int]) -> dict[str, Any]:
    """Train in a process of its own on sequences of random lengths; its forecast, and its peak after each step."""
    generator = random.Random(7)
    whole = {"num_attention_heads": 8, "num_key_value_heads": 4, "tie_word_embeddings": True, "vocab_size": 2000}
    settings = {"shape": whole | shape, "train": train, "lengths": [generator.randint(*lengths) for _ in range(200)]}
    command = [sys.executable, str(Path(__file__).with_name("training_process.py")), str(folder), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("lora", [
    {}, {"targets": "all"}, {"targets": ("q_proj", "embed_tokens")}, {"dora": True}, {"modules_to_save": ("lm_head",)},
], ids=str)  # fmt: skip
def test_parameters_are_those_that_will_be_trained(base_dir: Path, lora: dict[str, Any]) -> None:
    made = load_model(base_dir, Base(model="tiny"), Lora(rank=4, **lora), Train(), torch.device("cpu"))
    expected = work_out(base_dir, **lora)
    assert expected.trained_parameters == sum(p.numel() for p in made.parameters)


def test_it_says_what_it_will_do(base_dir: Path) -> None:
    said = work_out(base_dir).describe()
    assert "3 sequences and 150 tokens an epoch, 6 steps" in said
    assert "trained parameters" in said
    assert "a worker" in said


def test_memory_grows_with_what_needs_it(base_dir: Path) -> None:
    small = work_out(base_dir)
    assert work_out(base_dir, rank=32).optimizer_bytes == 8 * small.optimizer_bytes
    assert work_out(base_dir, lengths=(400, 600, 500)).activations_bytes == pytest.approx(
        10 * small.activations_bytes, rel=0.1
    )
    kept = work_out(base_dir, train=Train(gradient_checkpointing=False, batch_size=3, sequences_per_step=3))
    assert kept.activations_bytes > small.activations_bytes
    assert small.weights_bytes == 4 * small.base_parameters
    assert work_out(base_dir, quantize="nf4").weights_bytes < 0.7 * small.weights_bytes


@pytest.mark.parametrize(("shape", "train"), [
    ({"hidden_size": 128, "num_hidden_layers": 2, "intermediate_size": 512, "vocab_size": 24_000},
     {"dtype": "bfloat16"}),
    ({"hidden_size": 128, "num_hidden_layers": 16, "intermediate_size": 384},
     {"dtype": "bfloat16", "gradient_checkpointing": False}),
    ({"hidden_size": 128, "num_hidden_layers": 10, "intermediate_size": 352, "tie_word_embeddings": False},
     {"dtype": "float32", "gradient_checkpointing": False}),
], ids=["large vocabulary", "many layers", "float32"])  # fmt: skip
def test_memory_is_what_the_training_takes_at_most(
    tmp_path: Path, shape: dict[str, Any], train: dict[str, Any]
) -> None:
    told = train_apart(tmp_path, shape, {"batch_size": 4, "sequences_per_step": 4, "steps": 2, **train}, (400, 1700))
    assert told["forecast"] == pytest.approx(told["peaks"][-1], rel=0.15)


def test_sequences_of_ever_new_lengths_take_no_more_memory(tmp_path: Path) -> None:
    shape = {"hidden_size": 64, "num_hidden_layers": 1, "intermediate_size": 128}
    train = {"dtype": "bfloat16", "batch_size": 1, "sequences_per_step": 4, "steps": 40}
    peaks = train_apart(tmp_path, shape, train, (20, 400))["peaks"]
    assert peaks[-1] - peaks[4] < 100e6


def test_what_cannot_fit_is_refused_with_numbers(base_dir: Path) -> None:
    expected = work_out(base_dir, lengths=(100_000,) * 4)
    expected.check_memory(expected.memory_bytes, where="a GPU here")
    with pytest.raises(
        InvalidInput, match=r"training tiny: a worker needs about .* MB .*; a GPU here has 1 MB for it; lower"
    ):
        expected.check_memory(1_000_000, where="a GPU here")


@pytest.mark.parametrize(("lora", "lengths", "message"), [
    ({}, (), "got no sequences; expected at least one"),
    ({"rank": 65}, (9,), r"lora.rank is 65, larger than 7 of the layers, such as .* with 64; expected at most 64"),
    ({"targets": ("query", "q_proj")}, (9,), r"lora.targets names query, .*expected some of .*down_proj.*q_proj"),
    ({"modules_to_save": ("head",)}, (9,), r"lora.modulesToSave names head, .*expected some of .*lm_head"),
], ids=["no rows", "rank", "targets", "modules to save"])  # fmt: skip
def test_bad_input_says_what_is_wrong(
    base_dir: Path, lora: dict[str, Any], lengths: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        work_out(base_dir, lengths=lengths, **lora)
