"""The values of an output tensor, a block at a time: W + scale·B·A in float32, rounded once to the output's dtype.

Owns the arithmetic of LoRA, DoRA and biases. Works in blocks and in buffers that the caller gives, so memory does not
grow with the model. Does not know where the values come from or where the blocks go.
"""

import math
from collections.abc import Callable, Iterator

import torch

from callwright.errors import InvalidInput, StageFailed
from callwright.merger.adapter import LowRank
from callwright.merger.checkpoint import SIZES, TensorRef
from callwright.merger.plan import Step
from callwright.merger.reading import BLOCK_BYTES, Reader
from callwright.merger.tensors import TORCH, load
from callwright.merger.tensors import rows as read_rows

_TILE_ELEMENTS = 128 * 1024
"""Elements computed at once: their float32 values stay in a core's cache."""
_LEAST_ROWS = 8
"""A product of very few rows is computed by another routine, which rounds differently."""

Take = Callable[[int], memoryview]
"""Gives a buffer of that many bytes, which the caller fills."""


def blocks(step: Step, reader: Reader, take: Take) -> Iterator[memoryview]:
    """The bytes of the step's output, in order, in buffers got from `take`."""
    change = _change(step, reader)
    columns = math.prod(step.shape[1:]) if len(step.shape) > 1 else 1
    wide, narrow = columns * SIZES[step.source.dtype], columns * SIZES[step.dtype]
    read, tile = torch.empty(0, dtype=torch.uint8), torch.empty(0)
    for first, end in _spans(step.shape[0] if step.shape else 1, BLOCK_BYTES // max(wide, narrow)):
        count = end - first
        read = _grown(read, count * wide)
        reader.read_into(read.numpy().data[: count * wide], step.source.file, step.source.start + first * wide)
        values = read[: count * wide].view(TORCH[step.source.dtype]).view(count, columns)
        out = take(count * narrow)
        result = torch.frombuffer(out, dtype=TORCH[step.dtype]).view(count, columns)
        for at, to in _spans(count, _TILE_ELEMENTS // columns):
            tile = _grown(tile, (to - at) * columns)
            work = tile[: (to - at) * columns].view(to - at, columns)
            work.copy_(values[at:to])
            change(work, first + at, first + to)
            result[at:to].copy_(work)
        if step.dtype == "F16" and not torch.isfinite(result).all():
            raise StageFailed(f"merging: {step.name} has values beyond float16; choose bfloat16 or float32")
        yield out


def _spans(count: int, most: int) -> Iterator[tuple[int, int]]:
    """`count` rows in spans of about equal size, none above `most` as long as that leaves enough rows."""
    number = -(-count // max(_LEAST_ROWS, most))
    return ((count * n // number, count * (n + 1) // number) for n in range(number))


def _grown(buffer: torch.Tensor, size: int) -> torch.Tensor:
    """`buffer`, or a larger one."""
    return buffer if buffer.numel() >= size else torch.empty(size, dtype=buffer.dtype)


Change = Callable[[torch.Tensor, int, int], None]
"""Changes float32 rows `first` to `end` of a weight in place."""


def _change(step: Step, reader: Reader) -> Change:
    if step.bias is not None:
        return _bias_change(step.bias, reader)
    if step.low_rank is None:
        return lambda rows, first, end: None
    low = _Product(step.low_rank, step.transposed, reader)
    if step.low_rank.magnitude is None:
        return low.add
    magnitude = _finite(step.low_rank.magnitude, reader)
    if not step.transposed:
        return _dora_rows(low, magnitude)
    return _dora_columns(low, magnitude / _column_norms(step, low, reader))


class _Product:
    """scale · B·A, of which any rows can be had."""

    def __init__(self, low: LowRank, transposed: bool, reader: Reader) -> None:
        self._a, self._b = _finite(low.a, reader), _finite(low.b, reader)
        self._transposed = transposed
        self._scale = low.scale
        self._space = torch.empty(0)
        if math.frexp(low.scale)[0] == 0.5:  # a power of two: exact on either side of the product
            self._b = self._b * low.scale
            self._scale = 1.0

    def add(self, rows: torch.Tensor, first: int, end: int) -> None:
        """Add rows `first` to `end` of the product to `rows`."""
        shape = (self._b.shape[0], end - first) if self._transposed else (end - first, self._a.shape[1])
        self._space = _grown(self._space, math.prod(shape))
        delta = self._space[: math.prod(shape)].view(shape)
        if self._transposed:
            torch.mm(self._b, self._a[:, first:end], out=delta)
        else:
            torch.mm(self._b[first:end], self._a, out=delta)
        if self._scale != 1.0:
            delta.mul_(self._scale)
        rows.add_(delta.t() if self._transposed else delta)


def _bias_change(low: LowRank, reader: Reader) -> Change:
    if low.bias is None:
        raise AssertionError("planned only with a bias")
    added = _finite(low.bias, reader).mul_(low.scale).unsqueeze(1)

    def change(rows: torch.Tensor, first: int, end: int) -> None:
        rows.add_(added[first:end])

    return change


def _dora_rows(low: _Product, magnitude: torch.Tensor) -> Change:
    def change(rows: torch.Tensor, first: int, end: int) -> None:
        low.add(rows, first, end)
        norm = torch.linalg.vector_norm(rows, dim=1)
        rows.mul_((magnitude[first:end] / norm).unsqueeze(1))

    return change


def _dora_columns(low: _Product, factor: torch.Tensor) -> Change:
    def change(rows: torch.Tensor, first: int, end: int) -> None:
        low.add(rows, first, end)
        rows.mul_(factor)

    return change


def _column_norms(step: Step, low: _Product, reader: Reader) -> torch.Tensor:
    """Norms of the columns of W + scale·B·A: one more pass over the weight, summed in float64."""
    rows, columns = step.shape
    total = torch.zeros(columns, dtype=torch.float64)
    for first, end in _spans(rows, _TILE_ELEMENTS // columns):
        work = read_rows(reader, step.source, first, end).to(torch.float32, copy=True)
        low.add(work, first, end)
        total += work.double().square_().sum(dim=0)
    return total.sqrt_().float()


def _finite(tensor: TensorRef, reader: Reader) -> torch.Tensor:
    values = load(reader, tensor).float()
    if not torch.isfinite(values).all():
        raise InvalidInput(f"merging: {tensor.name} has values that are not finite: the training diverged")
    return values
