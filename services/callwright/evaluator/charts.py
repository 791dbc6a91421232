"""Reports as PNG charts: accuracy, what came, and differences, with their intervals. Needs no display.

pictures = draw(findings)          {"accuracy.png": b"…", "faults.png": b"…", "differences.png": b"…"}
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from callwright.evaluator import figures
from callwright.evaluator.compare import Comparison, Paired
from callwright.evaluator.findings import Findings
from callwright.evaluator.measures import FAULT_KINDS
from callwright.evaluator.report import Measures, Report

_OTHERS, _CANDIDATE = ("#a9b4bf", "#7fa9cf", "#c3a3b8"), "#4fa58a"
_FAULTS = {"right": "#1b6b57", "arguments": "#a7c957", "tool": "#f2c14e", "no call": "#f08a4b", "malformed": "#c8553d",
           "call": "#8f2d56", "again": "#6d597a", "no answer": "#495057"}  # fmt: skip
_WORDS = {"arguments": "wrong arguments", "tool": "wrong tool"}
"""How the legend words a kind of answer, where the kind alone does not say it."""
_INK, _QUIET = "#22303c", "#66737f"
_ROW_INCHES, _WIDTH_INCHES = 0.34, 8.0
_CHANCE = 0.05
"""A difference with a larger p-value is drawn in grey."""
_LABEL = 24
"""Characters of a name that a chart has room for."""


def draw(findings: Findings) -> dict[str, bytes]:
    """Return the PNG files by name; a chart without data is left out."""
    made = {}
    if any(report.total.calls_due for report in findings.reports.values()):
        made["accuracy.png"] = accuracy(findings.reports)
        made["faults.png"] = faults(findings.reports)
    pairs = [comparison for comparison in findings.comparisons if comparison.calls]
    if pairs:
        made["differences.png"] = differences(pairs)
    return made


def accuracy(reports: Mapping[str, Report]) -> bytes:
    """Bars of tool-call accuracy per set and in total, one for each report, with Wilson's 95 % interval."""
    names = dict.fromkeys(name for report in reports.values() for name, m in report.sets.items() if m.calls_due)
    groups: dict[str, list[Measures | None]] = {name: [r.sets.get(name) for r in reports.values()] for name in names}
    if len(groups) > 1:
        groups["all sets"] = [report.total for report in reports.values()]
    title = "Tool-call accuracy: right tool and every argument (lines: 95 % interval)"
    figure, axes = _figure(len(groups) * (len(reports) + 0.6), title)
    thickness = 0.8 / len(reports)
    for place, (heading, color) in enumerate(zip(reports, _colors(len(reports)), strict=True)):
        for group, measures in enumerate(groups.values()):
            found = measures[place]
            if found is None or found.accuracy is None or found.accuracy_interval is None:
                continue
            y, (low, high) = group - 0.4 + thickness * (place + 0.5), found.accuracy_interval
            label = None if group else _label(heading)
            axes.barh(y, found.accuracy, height=thickness * 0.86, color=color, label=label)
            axes.plot((low, high), (y, y), color=_INK, linewidth=1.2, solid_capstyle="butt")
            axes.text(high + 0.012, y, figures.percent(found.accuracy), va="center", fontsize=8.5, color=_INK)
    return _shares(figure, axes, list(groups), columns=len(reports) if len(reports) > 1 else 0)


def faults(reports: Mapping[str, Report]) -> bytes:
    """Return one stacked bar for each report: the calls due, by what is wrong with the answer."""
    figure, axes = _figure(len(reports) * 1.4 + 0.6, "Requests that a call answers, by what came")
    totals = {heading: report.total for heading, report in reports.items() if report.total.calls_due}
    for y, total in enumerate(totals.values()):
        start = 0.0
        for kind in FAULT_KINDS:
            share = total.faults.get(kind, 0) / total.calls_due
            axes.barh(y, share, left=start, height=0.62, color=_FAULTS[kind])
            if share >= 0.05:
                ink = "white" if kind in ("right", "malformed", "call", "again", "no answer") else _INK
                middle = start + share / 2
                axes.text(middle, y, f"{100 * share:.0f} %", ha="center", va="center", fontsize=8.5, color=ink)
            start += share
    for kind in FAULT_KINDS:
        if any(total.faults.get(kind) for total in totals.values()):
            axes.barh(0, 0, color=_FAULTS[kind], label=_WORDS.get(kind, kind))
    return _shares(figure, axes, list(totals), columns=len(FAULT_KINDS))


def differences(comparisons: list[Comparison]) -> bytes:
    """Differences in accuracy with their 95 % intervals; right of zero, the candidate is better."""
    rows: list[tuple[str, Paired]] = []
    for comparison in comparisons:
        against = f"against {_label(comparison.first)}"
        if len(comparison.sets) > 1:
            rows.extend((f"{against}, {_label(name)}", pair) for name, pair in comparison.sets.items())
        if comparison.calls:
            rows.append((f"{against}, all sets" if len(comparison.sets) > 1 else against, comparison.calls))
    figure, axes = _figure(len(rows) * 0.9 + 0.6, f"{_label(comparisons[0].second)}: difference in tool-call accuracy")
    for y, (_, pair) in enumerate(rows):
        color = _QUIET if pair.p_value >= _CHANCE else _FAULTS["right" if pair.difference > 0 else "malformed"]
        axes.plot(pair.interval, (y, y), color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot(pair.difference, y, "o", color=color, markersize=6)
        words = f"{figures.points(pair.difference)}, {figures.p_value(pair.p_value)}"
        axes.annotate(words, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=_INK)
    axes.axvline(0, color=_QUIET, linewidth=0.8)
    reach = max(0.05, *(abs(end) for _, pair in rows for end in pair.interval)) * 1.15
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f}" if value else "0")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    return _png(figure)


def _label(text: str) -> str:
    shown = text if len(text) <= _LABEL else f"…{text[-_LABEL:]}"
    return shown.replace("$", r"\$")  # matplotlib would set what stands between two of them as a formula


def _colors(count: int) -> list[str]:
    """The candidate, which comes last, always has the same colour."""
    return [*(list(_OTHERS) * count)[: count - 1], _CANDIDATE]


def _figure(rows: float, title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH_INCHES, 1.1 + _ROW_INCHES * rows), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11, color=_INK, pad=10)
    axes.tick_params(labelsize=9, colors=_INK, length=0)
    axes.grid(axis="x", color="#e4e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _shares(figure: Figure, axes: Any, names: Sequence[str], *, columns: int) -> bytes:
    """Finish a chart of shares with a row for each name, and a legend in as many columns."""
    axes.set_yticks(range(len(names)), list(map(_label, names)))
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.invert_yaxis()
    if columns:
        options = {"frameon": False, "fontsize": 8.5, "handlelength": 1.0, "columnspacing": 1.2}
        figure.legend(loc="outside lower left", ncols=columns, **options)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
