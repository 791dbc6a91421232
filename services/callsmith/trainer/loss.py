"""The weighted next-token loss, in chunks, so that the logits of a large vocabulary never exist whole.

Knows no models beyond what turns hidden states into logits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
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


def weighted_loss(hidden: Tensor, head: Logits, input_ids: Tensor, weights: Tensor) -> LossSums:
    """Sum the weighted cross-entropy of each next token.

    hidden: (rows, tokens, width); input_ids and weights: (rows, tokens), where the weight of a token counts its own
    prediction from the tokens before it in its row. Logits are made only for weighted positions, in float32, and made
    again in the backward pass.
    """
    chosen = weights[:, 1:] > 0
    states, targets, shares = hidden[:, :-1][chosen], input_ids[:, 1:][chosen], weights[:, 1:][chosen]
    zero = hidden.new_zeros((), dtype=torch.float32)
    loss, hits = zero, zero
    for at in range(0, len(targets), CHUNK_POSITIONS):
        part = slice(at, at + CHUNK_POSITIONS)
        chunk_loss, chunk_hits = checkpoint(
            _chunk, states[part], head, targets[part], shares[part], use_reentrant=False, preserve_rng_state=False
        )
        loss, hits = loss + chunk_loss, hits + chunk_hits
    return LossSums(loss, hits, zero + len(targets))


def _chunk(states: Tensor, head: Logits, targets: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    logits = head(states).float()
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    return (losses * shares).sum(), (logits.detach().argmax(-1) == targets).float().sum()
