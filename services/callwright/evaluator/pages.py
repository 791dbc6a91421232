"""Findings as documents: Markdown with charts beside it, and the same as one HTML file that holds everything.

What a model or a data set wrote stays text: it stands in code blocks and escaped, and HTML in it is not let through.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from callwright.errors import InvalidInput
from callwright.evaluator import charts, figures
from callwright.evaluator.figures import Line
from callwright.evaluator.findings import Findings
from callwright.evaluator.report import Report, ShownRow

_CHARTS = {"accuracy.png": "Accuracy", "faults.png": "What came", "differences.png": "Differences",
           "curve.png": "The training"}  # fmt: skip
_CELL = 240
"""Characters of a request or an answer that a cell of a table has room for."""
_MARKUP = re.compile(r"([\\`*_\[\]<>&|#~!])")
_STYLE = """
:root { color-scheme: light dark; --ink: #22303c; --quiet: #66737f; --line: #dde3e8; --good: #1b6b57; --bad: #b3402a;
        --paper: #ffffff; --block: #f5f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebef; --quiet: #9aa8b4; --line: #33414d; --good: #63c7a6;
        --bad: #f08a70; --paper: #151c22; --block: #1e272f; } img { background: #ffffff; border-radius: 4px; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin-bottom: 0;
       border-top: 1px solid var(--line); padding-top: .6rem; }
table { border-collapse: collapse; margin: .8rem 0; } th, td { padding: .25rem .9rem .25rem 0;
       border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; vertical-align: top;
       overflow-wrap: anywhere; }
img { width: 100%; max-width: 48rem; height: auto; }
table:has(th:last-child:not([style])) { table-layout: fixed; width: 100%; font-size: .85rem; }
h1 + p, blockquote, h3 ~ p { color: var(--quiet); } blockquote { margin: 0; }
.passed p > strong, td strong { color: var(--good); } .failed p > strong, td em { color: var(--bad); }
td em { font-style: normal; }
pre { background: var(--block); padding: .5rem .7rem; margin: .2rem 0 .6rem; white-space: pre-wrap;
       overflow-wrap: anywhere; font-size: .85rem; }
"""


def write(folder: Path, findings: Findings) -> None:
    """Write `report.json`, `report.md` with its charts, and `report.html` into `folder`. Raises `InvalidInput`."""
    pictures = charts.draw(findings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(findings.model_dump_json(indent=2), encoding="utf-8")
        (folder / "report.md").write_text(markdown(findings, {name: name for name in pictures}), encoding="utf-8")
        (folder / "report.html").write_text(html(findings, pictures), encoding="utf-8")
        for name, png in pictures.items():
            (folder / name).write_bytes(png)
    except OSError as error:
        raise InvalidInput(f"writing the report: {folder} cannot be written: {error}") from None


def html(findings: Findings, pictures: Mapping[str, bytes]) -> str:
    """Return the findings as one HTML document with the charts, PNG files by name, in it."""
    links = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in pictures.items()}
    body = MarkdownIt("js-default").render(markdown(findings, links))
    decided = "" if findings.gate is None else "passed" if findings.gate.passed else "failed"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{escape(_title(findings))}</title><meta name="viewport" content="width=device-width">'
        f'<style>{_STYLE}</style></head>\n<body class="{decided}">\n{body}</body></html>\n'
    )


def markdown(findings: Findings, links: Mapping[str, str]) -> str:
    """Return the findings in Markdown; `links` say where each chart is, by its name."""
    candidate, headings = findings.candidate, list(findings.reports)
    dialect = f" in the dialect {candidate.dialect}" if candidate.dialect else ""
    about = f"{candidate.total.requests:,} requests to {candidate.base_url}{dialect}, {candidate.created_at}"
    parts = [f"# {_text(_title(findings))}", _text(about)]
    if findings.gate:
        decision = "Gate passed" if findings.gate.passed else f"Gate failed: {findings.gate.message}"
        parts.append(f"**{_text(decision)}**")
    parts += [f"> {_text(note)}" for note in _notes(findings)]
    parts.append(_table(headings, figures.full(findings.reports)))
    parts += [f"![{_CHARTS[name]}]({link})" for name, link in links.items()]
    for comparison in findings.comparisons:
        parts.append(f"## {_text(f'{comparison.second} against {comparison.first}')}")
        parts.append("\n".join(f"- {_text(line)}" for line in figures.compared(comparison)))
    parts += _samples(findings)
    names = list(dict.fromkeys(name for report in findings.reports.values() for name in report.sets))
    for name in names if len(names) > 1 else ():
        parts += [f"## Set {_text(name)}", _table(headings, figures.of_set(findings.reports, name))]
    if candidate.failures:
        parts += [f"## What {_text(headings[-1])} got wrong", _wrong(candidate), *map(_failed_row, candidate.failures)]
    return "\n\n".join(parts) + "\n"


def _title(findings: Findings) -> str:
    model, version = findings.candidate.model, findings.candidate.version or ""
    return f"Evaluation of {version if version.startswith(model) else f'{model} {version}'.strip()}"


def _notes(findings: Findings) -> Iterator[str]:
    """Yield each note once, with the heading of its report where not every report has it."""
    reports = findings.reports
    for note in dict.fromkeys(note for report in reports.values() for note in report.notes):
        having = [heading for heading, report in reports.items() if note in report.notes]
        yield note if len(having) == len(reports) else f"{', '.join(having)}: {note}"


def _table(headings: Sequence[str], lines: Sequence[Line]) -> str:
    rows = (map(_text, (line.words, *(cell or "–" for cell in line.cells))) for line in lines)
    return _rows(["", *map(_text, headings)], rows, align="---:")


def _rows(head: Sequence[str], rows: Iterable[Iterable[str]], *, align: str) -> str:
    """Return a table of cells in Markdown; `align` is that of all columns but the first."""
    first, *body = ("".join(f"| {cell} " for cell in row) + "|" for row in (head, *rows))
    return "\n".join([first, "|---|" + f"{align}|" * (len(head) - 1), *body])


def _samples(findings: Findings) -> list[str]:
    """Return a table of what every model made of the same few requests, if there are any."""
    answers = {
        heading: {(row.set, row.id): row for row in report.samples} for heading, report in findings.reports.items()
    }
    asked = [row for row in findings.candidate.samples if all((row.set, row.id) in each for each in answers.values())]
    if not asked:
        return []
    rows = (
        [_text(f"{row.set}: {_short(row.prompt)}"), _text(_short(row.expected))]
        + [_answer(each[row.set, row.id]) for each in answers.values()]
        for row in asked
    )
    heading = f"{len(asked)} requests, answered by {' and '.join(answers)}"
    head = ["request", "expected", *map(_text, answers)]
    return [f"## {_text(heading)}", _rows(head, rows, align="---")]


def _answer(row: ShownRow) -> str:
    return f"{f'*{_text(row.what)}*' if row.what else '**right**'}: {_text(_short(row.got))}"


def _short(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _wrong(report: Report) -> str:
    """Return how many answers are wrong, and whether all of them follow."""
    verdicts = [*report.calls.values(), *report.no_calls.values()]
    wrong, shown = verdicts.count(False), len(report.failures)
    told = "All are here" if shown >= wrong else f"{shown:,} of them, of every kind, are here"
    return f"{wrong:,} of {len(verdicts):,} requests that a call answers or that no tool fits. {told}, worst first."


def _failed_row(row: ShownRow) -> str:
    blocks = (("request", row.prompt), ("expected", row.expected), ("answer", row.got))
    return "\n\n".join(
        [f"### {_text(f'{row.set}/{row.id}: {row.what}')}", *(f"{word}\n\n{_code(text)}" for word, text in blocks)]
    )


def _text(text: str) -> str:
    """Return one line of plain text as Markdown."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return a code block, in a fence that the text does not hold."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}text\n{text}\n{fence}"
