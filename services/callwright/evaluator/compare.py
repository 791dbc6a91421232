"""Two reports on the same requests: where they differ, and whether the difference is more than chance.

Requests that only one of them has are counted and left out.
"""

import math
from collections.abc import Mapping

import numpy
import numpy.typing

from callwright.evaluator.report import Report, ReportModel, Share

_RESAMPLES = 10_000


class Paired(ReportModel):
    """Right and wrong, request by request."""

    requests: int
    """Requests that both were asked."""
    first: Share
    """Share right of the first."""
    second: Share
    """Share right of the second."""
    only_first: int
    """Requests that only the first got right."""
    only_second: int
    """Requests that only the second got right."""
    difference: float
    """Second minus first."""
    interval: tuple[float, float]
    """95 % interval of the difference, by paired bootstrap."""
    p_value: float
    """Exact McNemar test of no difference."""


class Losses(ReportModel):
    """Loss on general conversations, row by row."""

    rows: int
    """Conversations that both were measured on."""
    first: float
    """Nats per token of the first."""
    second: float
    """Nats per token of the second."""
    difference: float
    """Second minus first: above 0, the second has forgotten."""
    interval: tuple[float, float]
    """95 % interval of the difference, by paired bootstrap over conversations."""


class Comparison(ReportModel):
    """Second against first."""

    first: str
    """Heading of the first."""
    second: str
    """Heading of the second."""
    calls: Paired | None
    """Requests that a call answers; None where the two share none."""
    no_calls: Paired | None
    """Requests that no tool fits."""
    sets: dict[str, Paired]
    """The calls of each set."""
    losses: Losses | None
    """General conversations."""
    unshared: int
    """Requests that only one of the two was asked."""


def compare(reports: Mapping[str, Report], first: str, second: str) -> Comparison | None:
    """Compare two of the reports, by their headings. None when they share no request."""
    one, other = reports[first], reports[second]
    keys = one.calls.keys() & other.calls.keys()
    names = sorted({key.partition("/")[0] for key in keys})
    comparison = Comparison(
        first=first,
        second=second,
        calls=_paired(one.calls, other.calls),
        no_calls=_paired(one.no_calls, other.no_calls),
        sets={name: pair for name in names if (pair := _paired(_within(one.calls, name), _within(other.calls, name)))},
        losses=_losses(one.losses, other.losses),
        unshared=sum(
            len(mine.keys() ^ theirs.keys())
            for mine, theirs in ((one.calls, other.calls), (one.no_calls, other.no_calls), (one.losses, other.losses))
        ),
    )
    return comparison if comparison.calls or comparison.no_calls or comparison.losses else None


def _within(outcomes: dict[str, bool], name: str) -> dict[str, bool]:
    return {key: right for key, right in outcomes.items() if key.partition("/")[0] == name}


def _paired(first: dict[str, bool], second: dict[str, bool]) -> Paired | None:
    keys = first.keys() & second.keys()
    if not keys:
        return None
    count = len(keys)
    only_first = sum(first[key] and not second[key] for key in keys)
    only_second = sum(second[key] and not first[key] for key in keys)
    return Paired(
        requests=count,
        first=sum(first[key] for key in keys) / count,
        second=sum(second[key] for key in keys) / count,
        only_first=only_first,
        only_second=only_second,
        difference=(only_second - only_first) / count,
        interval=paired_difference(only_first, only_second, count),
        p_value=mcnemar(only_first, only_second),
    )


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


def paired_difference(only_first: int, only_second: int, count: int) -> tuple[float, float]:
    """95 % interval of (second - first) in share right, by paired bootstrap over `count` rows.

    A resample of pairs is determined by how many of each outcome it holds, so it is drawn as one multinomial.
    """
    shares = numpy.array([only_first, only_second, count - only_first - only_second]) / count
    drawn = numpy.random.default_rng(0).multinomial(count, shares, size=_RESAMPLES)
    return _middle_95((drawn[:, 1] - drawn[:, 0]) / count)


def _losses(first: dict[str, tuple[float, int]], second: dict[str, tuple[float, int]]) -> Losses | None:
    keys = sorted(first.keys() & second.keys())
    if not keys:
        return None
    # The two may split text into tokens differently, so each is divided by its own count.
    table = numpy.array([[*first[key], *second[key]] for key in keys], dtype=float)
    generator = numpy.random.default_rng(0)
    drawn = numpy.array([table[generator.integers(len(keys), size=len(keys))].sum(axis=0) for _ in range(_RESAMPLES)])
    one, other = (float(nats / tokens) for nats, tokens in table.sum(axis=0).reshape(2, 2))
    interval = _middle_95(drawn[:, 2] / drawn[:, 3] - drawn[:, 0] / drawn[:, 1])
    return Losses(rows=len(keys), first=one, second=other, difference=other - one, interval=interval)


def _middle_95(drawn: numpy.typing.NDArray[numpy.float64]) -> tuple[float, float]:
    low, high = numpy.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
