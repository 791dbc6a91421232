"""Encoded conversations, mapped from Arrow, and the batches that a forward pass takes.

A batch is packed (its sequences one after the other in one row, told apart by their positions) or padded on the right
(a row each). Knows no model and no order of the data.
"""

from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from callwright.datasets import arrow


@dataclass(frozen=True)
class Segments:
    """Where the sequences of a packed row lie."""

    lengths: tuple[int, ...]
    """Tokens of each sequence, in order."""
    ends: Tensor
    """0 and the end of each sequence: (sequences + 1,) int32, on the batch's device."""


@dataclass(frozen=True)
class Batch:
    """What one forward pass takes."""

    input_ids: Tensor
    """Tokens: (rows, tokens)."""
    targets: Tensor
    """The tokens whose prediction counts, in order: (predicted,)."""
    weights: Tensor
    """Loss weight of each target; never one of padding or of the first token of a sequence."""
    places: Tensor
    """Where in the flattened rows each target is predicted: at the token before it."""
    positions: Tensor | None = None
    """Positions within each sequence, of a packed batch."""
    segments: Segments | None = None
    """The sequences of a packed batch; None where each row is one sequence."""

    @classmethod
    def of(cls, ids: Tensor, weights: Tensor, device: torch.device) -> "Batch":
        """Return the batch of `ids` and the weights of their predictions, (rows, tokens) on the CPU, on `device`.

        The targets are found before they are on the device, which would have to be waited for.
        """
        (found,) = weights.flatten().nonzero(as_tuple=True)
        made = ids, ids.flatten()[found], weights.flatten()[found], found - 1
        ids, targets, weights, places = (each.to(device, non_blocking=True) for each in made)
        return cls(ids, targets, weights, places)


@dataclass
class Rows:
    """Encoded conversations, mapped from an Arrow file."""

    input_ids: Any
    weights: Any
    names: Any
    """Id and source of each row."""
    lengths: tuple[int, ...]
    totals: tuple[float, ...]
    """Sum of the loss weights of each row's predicted tokens."""

    @classmethod
    def open(cls, path: Path) -> "Rows":
        """Map the file; only lengths and weight sums are read at once."""
        table = arrow.read(path)
        lengths: list[int] = []
        totals: list[float] = []
        for chunk in table.column("weights").chunks:
            values, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
            if len(chunk):
                sums = np.add.reduceat(values, offsets[:-1], dtype=np.float64) - values[offsets[:-1]]
                totals += sums.tolist()
                lengths += np.diff(offsets).tolist()
        return cls(
            table.column("input_ids"), table.column("weights"), table.select(["id", "source"]), tuple(lengths),
            tuple(totals),
        )  # fmt: skip

    def batch(self, rows: list[int], device: torch.device, *, packed: bool = False) -> Batch:
        """Token ids and weights of `rows` as one packed row, or padded on the right to the longest."""
        return self._packed(rows, device) if packed else self._padded(rows, device)

    def describe(self, rows: list[int]) -> list[dict[str, Any]]:
        """`rows` as JSON values: id, source, input_ids, weights."""
        columns = {"input_ids": self.input_ids, "weights": self.weights}
        return [
            self.names.slice(row, 1).to_pylist()[0] | {name: column[row].as_py() for name, column in columns.items()}
            for row in rows
        ]

    def _padded(self, rows: list[int], device: torch.device) -> Batch:
        width = max(self.lengths[row] for row in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        weights = torch.zeros(len(rows), width)
        for i, row in enumerate(rows):
            length = self.lengths[row]
            ids[i, :length] = _tensor(self.input_ids[row])
            weights[i, 1:length] = _tensor(self.weights[row])[1:]
        return Batch.of(ids, weights, device)

    def _packed(self, rows: list[int], device: torch.device) -> Batch:
        lengths = tuple(self.lengths[row] for row in rows)
        ends = list(accumulate(lengths, initial=0))
        ids = torch.cat([_tensor(self.input_ids[row]) for row in rows]).long()
        weights = torch.cat([_tensor(self.weights[row]) for row in rows])
        weights[ends[:-1]] = 0
        positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)
        segments = Segments(lengths, torch.tensor(ends, dtype=torch.int32, device=device))
        made = Batch.of(ids.unsqueeze(0), weights.unsqueeze(0), device)
        return replace(made, positions=positions.to(device, non_blocking=True), segments=segments)


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values.values.to_numpy())
