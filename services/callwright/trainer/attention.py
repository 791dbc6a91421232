"""Causal attention over packed sequences that never see each other, under transformers' attention interface.

On a GPU one flash-attention call of variable lengths; elsewhere scaled dot products per sequence, since a dense
block-diagonal mask would cost the square of the whole row. Knows no model: transformers' layers call it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import create_selective_checkpoint_contexts
from transformers import AttentionInterface

from callwright.trainer.rows import Segments

NAME = "callwright_segments"
"""Name of this attention in transformers."""


_remembering: ContextVar[AbstractContextManager[Any] | None] = ContextVar("remembering", default=None)


def checkpoint_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the `context_fn` pair for `torch.utils.checkpoint` that keeps attention's outputs.

    A layer that runs again in the backward pass then computes everything but attention, whose outputs take little
    memory and whose cost alone grows with the square of a sequence. This is torch's selective checkpointing, entered
    around attention only: entered around whole layers it costs on a CPU as much time as it saves.
    """
    aten = torch.ops.aten
    keep, take = create_selective_checkpoint_contexts(
        [
            aten._scaled_dot_product_flash_attention_for_cpu.default,
            aten._scaled_dot_product_flash_attention.default,
            aten._scaled_dot_product_efficient_attention.default,
            aten._scaled_dot_product_cudnn_attention.default,
            torch.ops.torch_attn._varlen_attn.default,
        ]
    )
    return _remember(keep), _remember(take)


@contextmanager
def _remember(mode: AbstractContextManager[Any]) -> Iterator[None]:
    token = _remembering.set(mode)
    try:
        yield
    finally:
        _remembering.reset(token)


def register() -> None:
    """Make this attention known to transformers; once or more often."""
    AttentionInterface.register(NAME, attend)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segments: Segments | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend from each token to those before it in its own sequence; (rows, tokens, heads, width) and no weights.

    query: (rows, heads, tokens, width); key and value: the same with as many or fewer heads; one row where `segments`
    are given, else each row is a sequence, padded on the right. `attention_mask` is always None: transformers makes
    none for an attention that it does not know.
    """
    # Dropout draws random numbers, which what comes later would then find drawn or not.
    with (not dropout and _remembering.get()) or nullcontext():
        if segments is None:
            made = _sequence(query, key, value, dropout, scaling, sliding_window)
        elif query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
            return _varlen(query, key, value, segments, scaling, sliding_window), None
        else:
            parts = (each.split(segments.lengths, dim=2) for each in (query, key, value))
            each_made = [_sequence(q, k, v, dropout, scaling, sliding_window) for q, k, v in zip(*parts, strict=True)]
            made = torch.cat(each_made, dim=2)
    return made.transpose(1, 2).contiguous(), None


def _sequence(
    query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float | None, window: int | None
) -> Tensor:
    mask = None
    if window is not None and query.shape[2] > window:
        ones = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device)
        mask = ones.tril() & ones.triu(1 - window)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling, is_causal=mask is None,
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None, window: int | None
) -> Tensor:
    longest = max(segments.lengths)
    q, k, v = (each.squeeze(0).transpose(0, 1) for each in (query, key, value))
    made = varlen.varlen_attn(
        q, k, v, segments.ends, segments.ends, longest, longest, scale=scaling,
        window_size=(-1 if window is None else window - 1, 0), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    return made.unsqueeze(0)  # type: ignore[union-attr]
