"""Which sequences a step sees, in which order, and which worker takes which: pure functions of the seed.

Owns the order of the data and the learning rate's schedule, so that a resumed run needs nothing but the step's number.
Knows no torch and no Ray.
"""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from callwright.spec.model import Train


@dataclass(frozen=True)
class BatchPlan:
    """The steps of a run over `lengths`, the token counts of its sequences."""

    lengths: tuple[int, ...]
    train: Train
    workers: int
    packed: bool = False
    """Whether a forward pass takes its sequences one after the other, without padding."""

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        if self.train.steps is not None:
            return self.train.steps
        return max(1, math.ceil(self.train.epochs * len(self.lengths) / self.train.sequences_per_step))

    def sequences(self, step: int) -> list[int]:
        """Row numbers of step `step` (from 1): the epochs' shuffles, one after the other, cut into steps."""
        rows, size = len(self.lengths), self.train.sequences_per_step
        first = (step - 1) * size
        return [_shuffled(rows, self.train.seed, k // rows)[k % rows] for k in range(first, first + size)]

    def micro_batches(self, step: int, worker: int) -> list[list[int]]:
        """Return the row numbers that `worker` takes in `step`, a list a forward pass.

        Where they are padded, rows of like length stand together; else every pass has about as many tokens.
        """
        arrange = pack if self.packed else split
        return arrange(self.sequences(step), self.lengths, self.train.batch_size)[worker :: self.workers]

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of `step` (from 1): a linear rise, then the schedule down to 0 after the last
        step.
        """
        peak, steps = self.train.learning_rate, self.steps
        warmup = math.ceil(steps * self.train.warmup_ratio)
        if step <= warmup:
            return peak * step / warmup
        done = (step - 1 - warmup) / max(1, steps - warmup)
        match self.train.schedule:
            case "constant":
                return peak
            case "linear":
                return peak * (1 - done)
            case "cosine":
                return peak * 0.5 * (1 + math.cos(math.pi * done))


def split(rows: Sequence[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Group rows of like length into batches of at most `batch_size`, the longest first."""
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


def pack(rows: Sequence[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Share rows over the fewest batches of at most `batch_size`, with about as many tokens in each."""
    batches: list[list[int]] = [[] for _ in range(math.ceil(len(rows) / batch_size))]
    open_batches = [(0, number) for number in range(len(batches))]
    for row in sorted(rows, key=lambda row: (-lengths[row], row)):
        tokens, number = heapq.heappop(open_batches)
        batches[number].append(row)
        if len(batches[number]) < batch_size:
            heapq.heappush(open_batches, (tokens + lengths[row], number))
    return batches


@lru_cache(maxsize=4)
def _shuffled(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(rows))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)
