"""The values of an output tensor, a block at a time: W + scale·B·A in float32, rounded once to the output's dtype.

Does the arithmetic of LoRA, DoRA and biases. Memory does not grow with the model. Does not know where the blocks go.
"""

import math
from collections.abc import Callable, Iterator

import torch

from callwright.errors import InvalidInput, StageFailed
from callwright.merger.adapter import LowRank
from callwright.merger.checkpoint import BLOCK_BYTES, SIZES, Read, TensorRef, read_local
from callwright.merger.plan import OutputTensor

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Torch's dtype of each safetensors dtype."""
_LEAST_ROWS = 8
"""A product of very few rows is computed by another routine, which rounds differently."""

Change = Callable[[torch.Tensor, int, int], None]
"""Changes float32 rows `first` to `end` of a weight in place."""


def merged_blocks(tensor: OutputTensor) -> Iterator[memoryview]:
    """Yield the bytes of an output tensor, in order: read a few rows, add what the adapter adds, round.

    Raises `InvalidInput` for an adapter that is not finite and `StageFailed` for values beyond the output's dtype.
    """
    change = _change(tensor)
    for first, end in _spans(tensor.source):
        values = rows(tensor.source, first, end).float()
        change(values, first, end)
        result = values.to(TORCH[tensor.dtype])
        if tensor.dtype == "F16" and not torch.isfinite(result).all():
            raise StageFailed(f"merging: {tensor.name} has values beyond float16; choose bfloat16 or float32")
        yield result.flatten().view(torch.uint8).numpy().data


def rows(tensor: TensorRef, first: int, end: int, read: Read = read_local) -> torch.Tensor:
    """[rows, width] rows `first` to `end` of a tensor, that is, along its first dimension."""
    width = math.prod(tensor.shape[1:])
    size = width * SIZES[tensor.dtype]
    data = read(tensor.file, tensor.start + first * size, (end - first) * size)
    return torch.frombuffer(data, dtype=TORCH[tensor.dtype]).view(end - first, width)


def load(tensor: TensorRef, read: Read = read_local) -> torch.Tensor:
    """Return a whole tensor in memory."""
    return rows(tensor, 0, tensor.shape[0] if tensor.shape else 1, read).view(tensor.shape)


def _spans(tensor: TensorRef) -> Iterator[tuple[int, int]]:
    """Yield the tensor's rows in spans of about equal size, each a block as long as that leaves enough rows."""
    count = tensor.shape[0] if tensor.shape else 1
    most = BLOCK_BYTES * count // max(1, tensor.nbytes)
    number = -(-count // max(_LEAST_ROWS, most))
    return ((count * n // number, count * (n + 1) // number) for n in range(number))


def _change(tensor: OutputTensor) -> Change:
    if tensor.bias is not None:
        return _bias_change(tensor.bias)
    if tensor.low_rank is None:
        return lambda rows, first, end: None
    product = _Product(tensor.low_rank, tensor.transposed)
    if tensor.low_rank.magnitude is None:
        return product.add
    magnitude = _finite(tensor.low_rank.magnitude)
    if not tensor.transposed:
        return _dora_rows(product, magnitude)
    return _dora_columns(product, magnitude / _column_norms(tensor, product))


class _Product:
    """scale · B·A; any of its rows can be computed alone."""

    def __init__(self, low: LowRank, transposed: bool) -> None:
        self._a, self._b = _finite(low.a), _finite(low.b)
        self._transposed = transposed
        self._scale = low.scale

    def add(self, rows: torch.Tensor, first: int, end: int) -> None:
        """Add rows `first` to `end` of the product to `rows`."""
        delta = (self._b @ self._a[:, first:end]).t() if self._transposed else self._b[first:end] @ self._a
        rows.add_(delta.mul_(self._scale))


def _bias_change(low: LowRank) -> Change:
    if low.bias is None:
        raise AssertionError("planned only with a bias")
    added = _finite(low.bias).mul_(low.scale).unsqueeze(1)

    def change(rows: torch.Tensor, first: int, end: int) -> None:
        rows.add_(added[first:end])

    return change


def _dora_rows(product: _Product, magnitude: torch.Tensor) -> Change:
    def change(rows: torch.Tensor, first: int, end: int) -> None:
        product.add(rows, first, end)
        norm = torch.linalg.vector_norm(rows, dim=1)
        rows.mul_((magnitude[first:end] / norm).unsqueeze(1))

    return change


def _dora_columns(product: _Product, factor: torch.Tensor) -> Change:
    def change(rows: torch.Tensor, first: int, end: int) -> None:
        product.add(rows, first, end)
        rows.mul_(factor)

    return change


def _column_norms(tensor: OutputTensor, product: _Product) -> torch.Tensor:
    """Norms of the columns of W + scale·B·A: one more pass over the weight, summed in float64."""
    total = torch.zeros(tensor.shape[1], dtype=torch.float64)
    for first, end in _spans(tensor.source):
        work = rows(tensor.source, first, end).float()
        product.add(work, first, end)
        total += work.double().square_().sum(dim=0)
    return total.sqrt_().float()


def _finite(tensor: TensorRef) -> torch.Tensor:
    values = load(tensor).float()
    if not torch.isfinite(values).all():
        raise InvalidInput(f"merging: {tensor.name} has values that are not finite: the training diverged")
    return values
