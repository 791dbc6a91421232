"""The step's law: gradients depend on the step's sequences alone, not on how workers and micro-batches share them."""

import copy
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from callwright.spec.model import Base, Lora, Train
from callwright.trainer.batches import BatchPlan
from callwright.trainer.learner import Learner
from callwright.trainer.loss import weighted_loss
from callwright.trainer.model import load_model
from callwright.trainer.rows import Batch, Rows

LENGTHS = (9, 30, 17, 5, 24, 12, 21, 8, 14, 27, 11)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, write_rows: Callable[..., Path]) -> Rows:
    generator = torch.Generator().manual_seed(3)
    ids, weights = [], []
    for length in LENGTHS:
        ids.append(torch.randint(5, 200, (length,), generator=generator).tolist())
        weights.append([float(w) for w in torch.randint(0, 3, (length,), generator=generator)])
    return Rows.open(write_rows(tmp_path_factory.mktemp("rows") / "train.arrow", ids, weights))


def settings(**changed: object) -> Train:
    return Train(**{"sequences_per_step": 8, "batch_size": 8, "learning_rate": 1e-2, "steps": 4, **changed})


def learner(base_dir: Path, rows: Rows, train: Train, **share: int) -> Learner:
    lora = Lora(rank=4, alpha=8, dropout=0.0)
    model = load_model(base_dir, Base(model=str(base_dir)), lora, train, torch.device("cpu"))
    made = Learner(model, rows, train, **share)
    torch.manual_seed(1)
    for parameter in made.parameters:  # LoRA's B starts at 0, which would hide half of the gradients
        parameter.data += 0.02 * torch.randn_like(parameter)
    made.step = 1
    return made


def gradients(made: Learner) -> torch.Tensor:
    made._backward()
    return torch.cat([p.grad.flatten() for p in made.parameters if p.grad is not None])


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_gradients_are_equal_however_the_sequences_are_shared(
    base_dir: Path, rows: Rows, checkpointing: bool, packing: bool
) -> None:
    alone = gradients(learner(base_dir, rows, settings(batch_size=1, packing=False, gradient_checkpointing=False)))
    chosen = {"packing": packing, "gradient_checkpointing": checkpointing}
    whole = gradients(learner(base_dir, rows, settings(**chosen)))
    accumulated = gradients(learner(base_dir, rows, settings(batch_size=2, **chosen)))
    parts = [learner(base_dir, rows, settings(batch_size=4, **chosen), rank=rank, workers=2) for rank in (0, 1)]
    distributed = sum(gradients(part) for part in parts)
    for other in (whole, accumulated, distributed):
        assert (other - alone).norm() < 1e-5 * alone.norm()


def test_the_loss_is_the_weighted_mean_of_a_plain_computation(base_dir: Path, rows: Rows) -> None:
    made = learner(base_dir, rows, settings())
    losses, weights = [], []
    for row in made.plan.sequences(1):
        (described,) = rows.describe([row])
        ids, row_weights = torch.tensor([described["input_ids"]]), torch.tensor([described["weights"]])
        with torch.no_grad():
            logits = made.model(input_ids=ids).logits[0, :-1].float()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none") * row_weights[0, 1:])
        weights.append(row_weights[0, 1:])
    expected = torch.cat(losses).sum() / torch.cat(weights).sum()
    torch.testing.assert_close(made._backward()[0][0], expected, rtol=1e-5, atol=1e-6)


def test_packing_takes_no_padding_and_gives_the_same_loss(base_dir: Path, rows: Rows) -> None:
    packed, padded = (learner(base_dir, rows, settings(packing=packing)).advance() for packing in (True, False))
    assert packed.places == packed.tokens == padded.tokens < padded.places
    torch.testing.assert_close(packed.figures, padded.figures, rtol=1e-5, atol=1e-6)


def test_a_step_is_adamw_on_clipped_gradients(base_dir: Path, rows: Rows) -> None:
    chosen = settings(max_grad_norm=0.01, weight_decay=0.2, batch_size=4)
    made, other = learner(base_dir, rows, chosen), learner(base_dir, rows, chosen)
    other.step = 2
    gradient = gradients(other)
    expected = torch.nn.Parameter(torch.cat([p.detach().flatten() for p in made.parameters]))
    expected.grad = gradient * 0.01 / gradient.norm()
    torch.optim.AdamW([expected], lr=made.plan.learning_rate(2), weight_decay=0.2).step()
    result = made.advance()
    assert gradient.norm() > 0.01
    torch.testing.assert_close(result.grad_norm, gradient.norm())
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in made.parameters]), expected.detach())


def test_one_seed_gives_one_training_and_another_seed_another(base_dir: Path, rows: Rows) -> None:
    def trained(seed: int) -> torch.Tensor:
        lora, train = Lora(rank=4, dropout=0.3), settings(batch_size=4, seed=seed, neftune_alpha=5)
        made = Learner(load_model(base_dir, Base(model="base"), lora, train, torch.device("cpu")), rows, train)
        for _ in range(3):
            made.advance()
        return torch.cat([p.detach().flatten() for p in made.parameters])

    first = trained(1)
    assert torch.equal(first, trained(1))
    assert not torch.equal(first, trained(2))


@pytest.mark.parametrize("dropout", [0, 0.3])
def test_resumed_equals_uninterrupted(base_dir: Path, rows: Rows, dropout: float) -> None:
    def fresh() -> Learner:
        train = settings(batch_size=4, neftune_alpha=5 if dropout else None)
        lora = Lora(rank=4, dropout=dropout)
        return Learner(load_model(base_dir, Base(model="base"), lora, train, torch.device("cpu")), rows, train)

    straight, interrupted, resumed = fresh(), fresh(), fresh()
    for _ in range(4):
        straight.advance()
    for _ in range(2):
        interrupted.advance()
    resumed.load_state(copy.deepcopy(interrupted.state()))
    for _ in range(2):
        resumed.advance()
    for one, other in zip(straight.parameters, resumed.parameters, strict=True):
        assert torch.equal(one, other)


def test_evaluation_is_the_same_for_any_number_of_workers(base_dir: Path, rows: Rows) -> None:
    alone = learner(base_dir, rows, settings(batch_size=2)).evaluate(rows)
    seen: list[torch.Tensor] = []
    for rank in (0, 1):
        part = learner(base_dir, rows, settings(batch_size=2), rank=rank, workers=2)
        part._sum = lambda sums: seen.append(sums.clone())
        part.evaluate(rows)
    loss, total, hits, positions = sum(seen).tolist()  # type: ignore[union-attr]
    assert loss / total == pytest.approx(alone["eval_loss"], rel=1e-5)
    assert hits / positions == pytest.approx(alone["eval_token_accuracy"])


@pytest.mark.parametrize("frozen", [False, True])
def test_chunks_do_not_change_the_loss(monkeypatch: pytest.MonkeyPatch, frozen: bool) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(2, 40, 8, requires_grad=True), torch.nn.Linear(8, 50)
    ids, weights = torch.randint(0, 50, (2, 40)), torch.randint(0, 3, (2, 40)).float()
    weights[:, 0] = 0
    batch = Batch.of(ids, weights, torch.device("cpu"))
    given = hidden, head, batch.targets, batch.weights, batch.places
    whole = weighted_loss(*given)
    plain = torch.nn.functional.cross_entropy(
        head(hidden[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    torch.testing.assert_close(whole.loss, (plain * weights[:, 1:].flatten()).sum())
    whole.loss.backward()
    expected = hidden.grad.clone()  # type: ignore[union-attr]
    hidden.grad = None
    monkeypatch.setattr("callwright.trainer.loss.CHUNK_POSITIONS", 7)
    chunked = weighted_loss(*given, frozen=frozen)
    chunked.loss.backward()
    torch.testing.assert_close(chunked.loss, whole.loss)
    torch.testing.assert_close(hidden.grad, expected)
    assert chunked.hits == whole.hits
    assert chunked.positions == (weights[:, 1:] > 0).sum()


class Operations(TorchDispatchMode):
    """Counts the operations that are computed, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_a_step_waits_for_nothing_on_the_device(
    base_dir: Path, rows: Rows, packing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(base_dir, rows, settings(packing=packing, batch_size=4))
    batches = {tuple(n): rows.batch(n, made.device, packed=packing) for n in made.plan.micro_batches(made.step, 0)}
    monkeypatch.setattr(Rows, "batch", lambda rows, numbers, device, *, packed: batches[tuple(numbers)])
    with Operations() as operations:
        made._backward()  # what follows in the optimizer reads only its own step numbers, on the CPU
    assert not operations.seen.keys() & {"nonzero", "masked_select", "_local_scalar_dense", "equal", "unique_dim"}


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_a_layer_that_runs_again_does_not_attend_again(base_dir: Path, rows: Rows, packing: bool) -> None:
    counts = []
    for checkpointing in (False, True):
        made = learner(base_dir, rows, settings(packing=packing, gradient_checkpointing=checkpointing))
        with Operations() as operations:
            made._backward()
        counts.append(operations.seen)
    kept, again = counts
    assert again["mm"] > kept["mm"]
    assert again["_scaled_dot_product_flash_attention_for_cpu"] == kept["_scaled_dot_product_flash_attention_for_cpu"]


@given(
    rows=st.integers(1, 50),
    per_step=st.sampled_from([2, 4, 8]),
    workers=st.sampled_from([1, 2]),
    epochs=st.integers(1, 3),
)
def test_every_epoch_sees_every_row_once(rows: int, per_step: int, workers: int, epochs: int) -> None:
    train = Train(sequences_per_step=per_step, batch_size=per_step // workers, epochs=epochs)
    plan = BatchPlan(tuple(range(1, rows + 1)), train, workers)
    seen = [row for step in range(1, plan.steps + 1) for row in plan.sequences(step)]
    for epoch in range(epochs):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    shared = [row for worker in range(workers) for batch in plan.micro_batches(1, worker) for row in batch]
    assert sorted(shared) == sorted(plan.sequences(1))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_learning_rate_rises_to_its_peak_and_falls(schedule: str) -> None:
    plan = BatchPlan((5,) * 100, settings(steps=100, warmup_ratio=0.1, schedule=schedule, learning_rate=1.0), 1)
    rates = [plan.learning_rate(step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert max(rates) == pytest.approx(1.0)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[9:]))
    assert rates[-1] == (1.0 if schedule == "constant" else pytest.approx(0.0, abs=0.02))
