"""One worker's share of an optimizer step: forward, backward, the sum over workers, clipping, AdamW.

    result = Learner(load_model(…), Rows.open(path), train).advance()
    result.metrics()["loss"]

A step's loss is the weighted sum over all its tokens, on every worker and in every micro-batch, divided by the sum of
all their weights. Dropout's seed follows from the step's number, so the learner's state is adapter, optimizer and
that number. Knows no Ray: how tensors are summed over workers is given to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from callwright.spec.model import Train
from callwright.trainer import host_memory
from callwright.trainer.batches import BatchPlan, split
from callwright.trainer.loss import LossSums, weighted_loss
from callwright.trainer.model import AdaptedModel
from callwright.trainer.rows import Rows

SumOverWorkers = Callable[[Tensor], None]
"""Replaces a tensor by its sum over all workers, in place."""


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did; only `tokens` and `places` differ between workers."""

    figures: Tensor
    """Loss, hits, weighted positions and workers that want to stop, summed over workers: (4,)."""
    grad_norm: Tensor
    """Norm of the gradients before clipping, a scalar."""
    tokens: int
    """Tokens that this worker took through the model, without padding."""
    places: int
    """The same with padding."""

    def metrics(self) -> dict[str, float]:
        """Return the figures as plain numbers, which waits for the device."""
        loss, hits, positions, _ = self.figures.tolist()
        return {"loss": loss, "token_accuracy": hits / max(positions, 1), "grad_norm": self.grad_norm.item()}

    def health(self) -> tuple[float, bool]:
        """Return a number that is finite if loss and gradients are, and whether any worker wants to stop."""
        health, stop = torch.stack((self.figures[0] + self.grad_norm, self.figures[3])).tolist()
        return health, stop > 0


class Learner:
    """The adapter and its optimizer on one device, and the steps that change them."""

    def __init__(
        self,
        adapted: AdaptedModel,
        rows: Rows,
        train: Train,
        *,
        rank: int = 0,
        workers: int = 1,
        sum_over_workers: SumOverWorkers = lambda tensor: None,
    ) -> None:
        self.adapted, self.model, self.rows, self.rank = adapted, adapted.model, rows, rank
        self.plan = BatchPlan(rows.lengths, train, workers, packed=adapted.packable)
        self.parameters = adapted.parameters
        self.optimizer = torch.optim.AdamW(self.parameters, lr=0.0, weight_decay=train.weight_decay)
        self.device = self.parameters[0].device
        self.step = 0
        self._sum = sum_over_workers
        self._logits = adapted.logits()
        head = adapted.model.get_base_model().get_output_embeddings()
        self._frozen_head = not any(p.requires_grad for p in head.parameters())

    def advance(self, *, stop: bool = False) -> StepResult:
        """Do the next step. `stop` tells all workers, in the step's result, that this one wants to stop."""
        self.step += 1
        train = self.plan.train
        figures, tokens, places = self._backward(stop=stop)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, train.max_grad_norm)
        self.optimizer.param_groups[0]["lr"] = self.plan.learning_rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(figures, norm, tokens, places)

    def _backward(self, *, stop: bool = False) -> tuple[Tensor, int, int]:
        """Gradients of the step's loss in every parameter; a `StepResult`'s figures, tokens and places."""
        torch.manual_seed(((self.plan.train.seed * 1_000_003 + self.step) * 4099 + self.rank) % 2**63)
        self.model.train()
        total = max(sum(self.rows.totals[row] for row in self.plan.sequences(self.step)), 1e-9)
        figures = torch.tensor([0.0, 0.0, 0.0, float(stop)], device=self.device)
        tokens = places = 0
        micro_batches = self.plan.micro_batches(self.step, self.rank)
        self._draw_dropout(micro_batches)
        for rows in micro_batches:
            if self.device.type == "cpu":
                host_memory.release_free()
            result, size = self._forward(self.rows, rows)
            (result.loss / total).backward()
            figures[:3] += torch.stack((result.loss.detach() / total, result.hits, result.positions))
            tokens, places = tokens + sum(self.rows.lengths[row] for row in rows), places + size
        self._sum_gradients()
        self._sum(figures)
        return figures, tokens, places

    def _forward(self, rows: Rows, numbers: list[int]) -> tuple[LossSums, int]:
        """Loss sums of some of `rows`, and the places that they took."""
        batch = rows.batch(numbers, self.device, packed=self.adapted.packable)
        states = self.adapted.hidden_states(batch)
        sums = weighted_loss(states, self._logits, batch.targets, batch.weights, batch.places, frozen=self._frozen_head)
        return sums, batch.input_ids.numel()

    def _draw_dropout(self, micro_batches: list[list[int]]) -> None:
        if (bits := self.adapted.bits) is None:
            return
        lengths, packed = self.rows.lengths, self.adapted.packable
        places = (
            sum(lengths[row] for row in rows) if packed else len(rows) * max(lengths[row] for row in rows)
            for rows in micro_batches
        )
        bits.draw(max(places, default=0) * self.adapted.widest_input, dtype=self.model.dtype, device=self.device)

    def _sum_gradients(self) -> None:
        """One all-reduce of the adapter's gradients, as one flat tensor."""
        for p in self.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        grads = [p.grad for p in self.parameters if p.grad is not None]
        if self.plan.workers == 1:
            return
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
        mine = batches[self.rank :: self.plan.workers]
        for batch in mine:
            result, _ = self._forward(rows, batch)
            total = torch.tensor(sum(rows.totals[row] for row in batch), device=self.device)
            sums += torch.stack((result.loss, total, result.hits, result.positions))
        if self.adapted.sharded and len(mine) < len(batches[:: self.plan.workers]):
            self._forward(rows, batches[-1])  # the others need this worker's share of the layers
        self._sum(sums)
        loss, total_weight, hits, positions = sums.tolist()
        return {"eval_loss": loss / max(total_weight, 1e-9), "eval_token_accuracy": hits / max(positions, 1.0)}

    def state(self) -> dict[str, Any]:
        """Return everything that a checkpoint needs."""
        return {"step": self.step, "adapter": self.adapted.state(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.adapted.load_state(state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
