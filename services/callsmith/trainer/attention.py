"""Causal attention over packed sequences that never see each other, under transformers' attention interface.

On a GPU one flash-attention call of variable lengths; elsewhere scaled dot products per sequence, since a dense
block-diagonal mask would cost the square of the whole row. Knows no model: transformers' layers call it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from callsmith.trainer.rows import Segments

NAME = "callsmith_segments"
"""Name of this attention in transformers."""


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
    from torch.nn.attention.varlen import varlen_attn

    longest = max(segments.lengths)
    q, k, v = (each.squeeze(0).transpose(0, 1) for each in (query, key, value))
    made = varlen_attn(
        q, k, v, segments.ends, segments.ends, longest, longest, scale=scaling,
        window_size=(-1 if window is None else window - 1, 0), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    return made.unsqueeze(0)  # type: ignore[union-attr]
