"""One worker's share of a training step: forward, backward, the sum over workers, clipping, AdamW.

A step's loss is the weighted sum over all its tokens, on every worker and in every micro-batch, divided by the sum of
all their weights. Dropout's seed follows from the step's number, so the learner's state is adapter, optimizer and
that number. Knows no Ray: how tensors are summed over workers is given to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from callsmith.datasets import arrow
from callsmith.spec.model import Train
from callsmith.trainer.batches import Plan, split
from callsmith.trainer.loss import weighted_loss
from callsmith.trainer.model import adapter_state, hidden_states, load_adapter_state

SumOverWorkers = Callable[[Tensor], None]
"""Replaces a tensor by its sum over all workers, in place."""


@dataclass
class Rows:
    """Encoded conversations, mapped from an Arrow file."""

    input_ids: Any
    weights: Any
    lengths: tuple[int, ...]
    totals: tuple[float, ...]
    """Sum of the loss weights of each row's predicted tokens."""

    @classmethod
    def open(cls, path: Path) -> "Rows":
        """Map the file; only lengths and weight sums are read at once."""
        table = arrow.read(path)
        ids, weights = table.column("input_ids"), table.column("weights")
        totals = tuple(float(sum(row.as_py()[1:])) for row in weights)
        return cls(ids, weights, tuple(len(row) for row in ids), totals)

    def batch(self, rows: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Token ids and weights of `rows`, padded on the right to the longest: two (rows, tokens) tensors."""
        width = max(self.lengths[row] for row in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        weights = torch.zeros(len(rows), width)
        for i, row in enumerate(rows):
            length = self.lengths[row]
            ids[i, :length] = torch.tensor(self.input_ids[row].as_py())
            weights[i, :length] = torch.tensor(self.weights[row].as_py())
        return ids.to(device, non_blocking=True), weights.to(device, non_blocking=True)


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did; tensors are scalars, the same on every worker."""

    loss: Tensor
    token_accuracy: Tensor
    grad_norm: Tensor
    tokens: int
    """Tokens that this worker took through the model, without padding."""
    places: int
    """The same with padding."""

    def metrics(self) -> dict[str, float]:
        """The figures as plain numbers, which waits for the device."""
        return {
            "loss": self.loss.item(),
            "token_accuracy": self.token_accuracy.item(),
            "grad_norm": self.grad_norm.item(),
        }


class Learner:
    """The adapter and its optimizer on one device, and the steps that change them."""

    def __init__(
        self,
        model: PeftModel,
        rows: Rows,
        train: Train,
        *,
        rank: int = 0,
        workers: int = 1,
        sum_over_workers: SumOverWorkers = lambda tensor: None,
    ) -> None:
        self.model, self.rows, self.rank = model, rows, rank
        self.plan = Plan(rows.lengths, train, workers)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=0.0, weight_decay=train.weight_decay)
        self.device = self.parameters[0].device
        self.step = 0
        self._sum = sum_over_workers
        self._head = model.get_base_model().get_output_embeddings()

    def advance(self) -> StepResult:
        """Do the next step."""
        self.step += 1
        train = self.plan.train
        sums, tokens, places = self._backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, train.max_grad_norm)
        self.optimizer.param_groups[0]["lr"] = self.plan.learning_rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(sums[0], sums[1] / sums[2].clamp(min=1), norm, tokens, places)

    def _backward(self) -> tuple[Tensor, int, int]:
        """Gradients of the step's loss in every parameter; sums of loss, hits and weighted positions."""
        torch.manual_seed((self.plan.train.seed * 1_000_003 + self.step) * 4099 + self.rank)
        self.model.train()
        total = max(sum(self.rows.totals[row] for row in self.plan.sequences(self.step)), 1e-9)
        sums = torch.zeros(3, device=self.device)
        tokens = places = 0
        for batch in self.plan.micro_batches(self.step, self.rank):
            ids, weights = self.rows.batch(batch, self.device)
            result = weighted_loss(hidden_states(self.model, ids), self._head, ids, weights)
            (result.loss / total).backward()
            sums += torch.stack((result.loss.detach() / total, result.hits, result.positions))
            tokens, places = tokens + sum(self.rows.lengths[row] for row in batch), places + ids.numel()
        self._sum_gradients()
        self._sum(sums)
        return sums, tokens, places

    def _sum_gradients(self) -> None:
        """One all-reduce of the adapter's gradients, as one flat tensor."""
        for p in self.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        grads = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        self._sum(flat)
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    @torch.no_grad()
    def evaluate(self, rows: Rows) -> dict[str, float]:
        """Weighted loss in nats per token and token accuracy on `rows`, over all workers."""
        self.model.eval()
        sums = torch.zeros(4, device=self.device)
        batches = split(range(len(rows.lengths)), rows.lengths, self.plan.train.batch_size)
        for batch in batches[self.rank :: self.plan.workers]:
            ids, weights = rows.batch(batch, self.device)
            result = weighted_loss(hidden_states(self.model, ids), self._head, ids, weights)
            total = torch.tensor(sum(rows.totals[row] for row in batch), device=self.device)
            sums += torch.stack((result.loss, total, result.hits, result.positions))
        self._sum(sums)
        loss, total_weight, hits, positions = sums.tolist()
        return {"eval_loss": loss / max(total_weight, 1e-9), "eval_token_accuracy": hits / max(positions, 1.0)}

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint needs."""
        return {"step": self.step, "adapter": adapter_state(self.model), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        load_adapter_state(self.model, state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
