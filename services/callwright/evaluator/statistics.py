"""Arithmetic of measured shares: intervals, quantiles, and whether two models really differ.

Knows numbers only.
"""

import math
from collections.abc import Sequence

import numpy

_Z95 = 1.959963984540054


def wilson(successes: int, count: int) -> tuple[float, float] | None:
    """95 % interval of a share, by Wilson's score; None of nothing."""
    if not count:
        return None
    share, z2 = successes / count, _Z95 * _Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    # The ends are exact where rounding would leave a trace of 1e-17.
    return 0.0 if not successes else middle - half, 1.0 if successes == count else middle + half


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of `values` lie, by linear interpolation; None of nothing."""
    return float(numpy.quantile(values, share)) if len(values) else None


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two models are equally often right, from the rows where just one of them is."""
    count, fewer = only_first + only_second, min(only_first, only_second)
    if not count:
        return 1.0
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))


def paired_difference(
    only_first: int, only_second: int, count: int, *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of (second - first) in share right, by paired bootstrap over `count` rows; None of nothing.

    A resample of pairs is determined by how many of each outcome it holds, so it is drawn as one multinomial.
    """
    if not count:
        return None
    generator = numpy.random.default_rng(seed)
    shares = numpy.array([only_first, only_second, count - only_first - only_second]) / count
    drawn = generator.multinomial(count, shares, size=resamples)
    low, high = numpy.quantile((drawn[:, 1] - drawn[:, 0]) / count, (0.025, 0.975))
    return float(low), float(high)


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> float:
    """ROUGE-L's F1 of two token lists: overlap by the longest common subsequence, in 0..1."""
    if not candidate or not reference:
        return float(not candidate and not reference)
    masks: dict[str, int] = {}
    for place, token in enumerate(candidate):
        masks[token] = masks.get(token, 0) | 1 << place
    # Hyyrö's bit-parallel LCS: one big-integer step a token instead of a table row.
    full = (1 << len(candidate)) - 1
    row = full
    for token in reference:
        hits = row & masks.get(token, 0)
        row = ((row + hits) | (row - hits)) & full
    common = len(candidate) - row.bit_count()
    return 2 * common / (len(candidate) + len(reference))
