"""The weighted next-token loss, in chunks, so that the logits of a large vocabulary never exist whole.

Knows no models beyond what turns hidden states into logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

Logits = Callable[[Tensor], Tensor]
"""Turns hidden states (positions, width) into logits (positions, vocabulary)."""
CHUNK_POSITIONS = 1024


@dataclass(frozen=True)
class LossSums:
    """Sums over the weighted positions of a batch; scalars."""

    loss: Tensor
    """Sum of weight x cross-entropy, in nats."""
    hits: Tensor
    """Positions whose likeliest token is the right one."""
    positions: Tensor
    """Positions with a weight above 0."""


def weighted_loss(
    hidden: Tensor, head: Logits, targets: Tensor, weights: Tensor, places: Tensor, *, frozen: bool = False
) -> LossSums:
    """Sum the weighted cross-entropy of each next token.

    hidden: (rows, tokens, width); targets and weights: (predicted,), the tokens that count and their weights; places:
    (predicted,), where in hidden's flattened rows each is predicted. Logits are made only there, in float32: once, when
    the head is `frozen` and gradients of the hidden states are all that is wanted, else again in the backward pass.
    """
    states = hidden.flatten(0, 1).index_select(0, places)
    zero = hidden.new_zeros((), dtype=torch.float32)
    loss, hits = zero, zero
    for at in range(0, len(targets), CHUNK_POSITIONS):
        part = slice(at, at + CHUNK_POSITIONS)
        given = states[part], head, targets[part], weights[part]
        if frozen and torch.is_grad_enabled():
            chunk_loss, chunk_hits = _with_gradient(*given)
        else:
            chunk_loss, chunk_hits = checkpoint(_chunk, *given, use_reentrant=False, preserve_rng_state=False)
        loss, hits = loss + chunk_loss, hits + chunk_hits
    return LossSums(loss, hits, zero + len(targets))


class _KnownGradient(torch.autograd.Function):
    """A value that was computed from `states` before, and its gradient, which is known already."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None


def _with_gradient(states: Tensor, head: Logits, targets: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """As `_chunk`, with the gradient worked out at once, so that the logits are neither kept nor made again."""
    inner = states.detach().requires_grad_()
    loss, hits = _chunk(inner, head, targets, shares)
    (gradient,) = torch.autograd.grad(loss, inner)
    known: Tensor = _KnownGradient.apply(states, loss.detach(), gradient)  # type: ignore[no-untyped-call]
    return known, hits


def _chunk(states: Tensor, head: Logits, targets: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    logits = head(states).float()
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    return (losses * shares).sum(), (logits.detach().argmax(-1) == targets).float().sum()
