"""The figures that a person reads, in order, with their words: the one list behind the terminal's table and the report.

    console.print(comparison({"base": report, "candidate": other}))

The shares and numbers come from `callwright.evaluator.report`; this module words them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.table import Table

from callwright.evaluator.compare import Comparison, Paired
from callwright.evaluator.report import Measures, Report


class Line(NamedTuple):
    """One measure: its words, and one cell for each report; None where there is nothing to say."""

    words: str
    cells: tuple[str | None, ...]


_Shown = Callable[[Measures], str | None]

_DECIDED: tuple[tuple[str, _Shown], ...] = (
    ("tool-call accuracy", lambda m: counted(m.accuracy, m.calls_due)),
    ("no call where no tool fits", lambda m: counted(m.no_call_accuracy, m.no_call_due)),
)
"""What stands for each set by itself, too."""
_BRIEF: tuple[tuple[str, _Shown], ...] = (
    ("malformed calls", lambda m: percent(m.malformed)),
    ("general loss (nats/token)", lambda m: number(m.general_loss)),
    ("requests without an answer", lambda m: str(m.errors) if m.errors else None),
)
_FULL: tuple[tuple[str, _Shown], ...] = (
    ("95 % interval", lambda m: interval(m.accuracy_interval)),
    ("accuracy, normalised", lambda m: percent(m.normalised_accuracy)),
    ("called at all", lambda m: percent(m.called)),
    ("right tool", lambda m: percent(m.right_tool)),
    ("arguments right", lambda m: percent(m.arguments)),
    ("several calls at once", lambda m: percent(m.parallel_accuracy)),
    ("calls that fit the schema", lambda m: percent(m.schema_valid)),
    *_BRIEF[:1],
    ("the same call again", lambda m: percent(m.repeated)),
    ("answer's overlap with the reference", lambda m: number(m.answer_overlap)),
    ("answers judged right", lambda m: percent(m.judged_right)),
    *_BRIEF[1:2],
    ("general overlap with the reference", lambda m: number(m.general_overlap)),
    ("latency, median / 95 %", lambda m: _latency(m)),
    ("tokens read / written", lambda m: f"{m.prompt_tokens:,} / {m.completion_tokens:,}"),
    ("requests", lambda m: f"{m.requests:,}"),
    *_BRIEF[2:],
)


def comparison(reports: Mapping[str, Report], *, title: str | None = None) -> Table:
    """Make a table for a terminal, with a column for each report (by its heading) and a row for each brief figure."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in reports:
        table.add_column(heading, justify="right")
    for line in _of_totals(reports, _BRIEF):
        table.add_row(line.words, *(cell or "–" for cell in line.cells))
    return table


def full(reports: Mapping[str, Report]) -> list[Line]:
    """Every measure over all sets."""
    return _of_totals(reports, _FULL)


def of_set(reports: Mapping[str, Report], name: str) -> list[Line]:
    """Every measure of one set."""
    return _lines((*_DECIDED, *_FULL), [report.sets.get(name) for report in reports.values()])


def _of_totals(reports: Mapping[str, Report], wanted: Iterable[tuple[str, _Shown]]) -> list[Line]:
    """What is decided, per set, and over all of them where there is more than one; then the wanted measures."""
    names = dict.fromkeys(name for report in reports.values() for name in report.sets)
    totals = [report.total for report in reports.values()]
    lines: list[Line] = []
    for words, shown in _DECIDED:
        of_sets = [
            line
            for name in names
            for line in _lines([(f"{words}, {name}", shown)], [report.sets.get(name) for report in reports.values()])
        ]
        lines += of_sets + (_lines([(f"{words}, all sets", shown)], totals) if len(of_sets) > 1 else [])
    return [*lines, *_lines(wanted, totals)]


def _lines(wanted: Iterable[tuple[str, _Shown]], measures: Sequence[Measures | None]) -> list[Line]:
    """Return the lines that any report has something for."""
    lines = [Line(words, tuple(shown(m) if m else None for m in measures)) for words, shown in wanted]
    return [line for line in lines if any(cell is not None for cell in line.cells)]


def compared(comparison: Comparison) -> Iterator[str]:
    """Lines on how the second differs from the first, with intervals and p-values."""
    if comparison.calls:
        yield f"calls: {_pair(comparison.calls)}"
    if len(comparison.sets) > 1:
        for name, pair in comparison.sets.items():
            yield f"calls, {name}: {_pair(pair)}"
    if comparison.no_calls:
        yield f"no call where no tool fits: {_pair(comparison.no_calls)}"
    if losses := comparison.losses:
        low, high = losses.interval
        yield (
            f"general loss: {losses.first:.3f} to {losses.second:.3f} nats/token ({losses.difference:+.3f}, "
            f"95 % interval {low:+.3f} to {high:+.3f}) over {losses.rows} conversations"
        )
    if comparison.unshared:
        yield f"{comparison.unshared} requests that only one of the two was asked are left out"


def _pair(pair: Paired) -> str:
    low, high = pair.interval
    return (
        f"{percent(pair.first)} to {percent(pair.second)} ({points(pair.difference)}, 95 % "
        f"interval {100 * low:+.1f} to {100 * high:+.1f}; McNemar {p_value(pair.p_value)}) over "
        f"{pair.requests} requests, {pair.only_second} only now right, {pair.only_first} no longer"
    )


def counted(share: float | None, of: int) -> str | None:
    """`92.0 % (184/200)`, or None of None."""
    return None if share is None else f"{percent(share)} ({round(share * of)}/{of})"


def percent(share: float | None) -> str | None:
    """`92.0 %`, or None of None."""
    return None if share is None else f"{100 * share:.1f} %"


def number(value: float | None) -> str | None:
    """Three decimals, or None of None."""
    return None if value is None else f"{value:.3f}"


def interval(ends: tuple[float, float] | None) -> str | None:
    """`87.4 to 95.1 %`, or None of None."""
    return None if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def points(difference: float) -> str:
    """`+3.5 points`."""
    return f"{100 * difference:+.1f} points"


def p_value(value: float) -> str:
    """`p < 0.001` or `p = 0.042`."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _latency(measures: Measures) -> str | None:
    if measures.latency_p50_seconds is None or measures.latency_p95_seconds is None:
        return None
    return f"{measures.latency_p50_seconds:.3f} / {measures.latency_p95_seconds:.3f} s"
