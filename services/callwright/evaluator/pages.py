"""Findings as documents: Markdown with charts beside it, and one HTML file that holds everything.

Owns the layout; the words for measures come from `callwright.evaluator.figures`. Everything a model or a data set wrote
is escaped.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from callwright.errors import InvalidInput
from callwright.evaluator import charts, figures
from callwright.evaluator.figures import Line
from callwright.evaluator.findings import Findings
from callwright.evaluator.gate import GateResult
from callwright.evaluator.report import Failure

_CHARTS = {"accuracy.png": "Accuracy", "faults.png": "What came", "differences.png": "Differences"}
_STYLE = """
:root { color-scheme: light dark; --ink: #22303c; --quiet: #66737f; --line: #dde3e8; --good: #1b6b57; --bad: #b3402a;
        --paper: #ffffff; --block: #f5f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebef; --quiet: #9aa8b4; --line: #33414d; --good: #63c7a6;
        --bad: #f08a70; --paper: #151c22; --block: #1e272f; } img { background: #ffffff; border-radius: 4px; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .8rem 0; } th, td { padding: .25rem .9rem .25rem 0; text-align: right;
       border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; } th:first-child, td:first-child
       { text-align: left; } img { width: 100%; max-width: 48rem; height: auto; }
.quiet { color: var(--quiet); } .good { color: var(--good); font-weight: 600; } .bad { color: var(--bad);
       font-weight: 600; } article { border-top: 1px solid var(--line); padding: .6rem 0; }
pre { background: var(--block); padding: .5rem .7rem; margin: .2rem 0 .6rem; white-space: pre-wrap;
       overflow-wrap: anywhere; font-size: .85rem; }
"""


def write(folder: Path, findings: Findings) -> None:
    """Write `report.json`, `report.md` with its charts, and `report.html` into `folder`. Raises `InvalidInput`."""
    pictures = charts.draw(findings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(findings.model_dump_json(indent=2), encoding="utf-8")
        (folder / "report.md").write_text(markdown(findings, list(pictures)), encoding="utf-8")
        (folder / "report.html").write_text(html(findings, pictures), encoding="utf-8", errors="replace")
        for name, png in pictures.items():
            (folder / name).write_bytes(png)
    except OSError as error:
        raise InvalidInput(f"writing the report: {folder} cannot be written: {error}") from None


def markdown(findings: Findings, pictures: Sequence[str] = ()) -> str:
    """The findings in Markdown; `pictures` are names of charts beside it."""
    parts = [f"# {_title(findings)}", _about(findings), *_gate_lines(findings.gate, "**", "**")]
    headings = list(findings.reports)
    parts.append(_markdown_table(headings, figures.full(findings.reports)))
    parts.extend(f"![{_CHARTS[name]}]({name})" for name in pictures)
    for comparison in findings.comparisons:
        parts += [
            f"## {comparison.second} against {comparison.first}",
            *(f"- {line}" for line in figures.compared(comparison)),
        ]
    for name in _sets(findings):
        parts += [f"## Set {name}", _markdown_table(headings, figures.of_set(findings.reports, name))]
    if findings.candidate.failures:
        parts.append(f"## Worst answers of {headings[-1]}")
        parts.extend(_markdown_failure(failure) for failure in findings.candidate.failures)
    parts.extend(f"> {heading}: {note}" for heading, report in findings.reports.items() for note in report.notes)
    return "\n\n".join(parts) + "\n"


def html(findings: Findings, pictures: dict[str, bytes]) -> str:
    """The findings as one HTML document with the charts in it."""
    title = escape(_title(findings))
    headings = list(findings.reports)
    body = [f"<h1>{title}</h1>", f'<p class="quiet">{escape(_about(findings))}</p>']
    if findings.gate:
        word = "good" if findings.gate.passed else "bad"
        body.append(f'<p class="{word}">{"<br>".join(map(escape, _gate_lines(findings.gate, "", "")))}</p>')
    body += [
        f'<p class="quiet">{escape(heading)}: {escape(note)}</p>'
        for heading, report in findings.reports.items()
        for note in report.notes
    ]
    body.append(_html_table(headings, figures.full(findings.reports)))
    for name, png in pictures.items():
        body.append(f'<img alt="{_CHARTS[name]}" src="data:image/png;base64,{base64.b64encode(png).decode()}">')
    for comparison in findings.comparisons:
        body.append(f"<h2>{escape(comparison.second)} against {escape(comparison.first)}</h2><ul>")
        body += [f"<li>{escape(line)}</li>" for line in figures.compared(comparison)]
        body.append("</ul>")
    for name in _sets(findings):
        body += [f"<h2>Set {escape(name)}</h2>", _html_table(headings, figures.of_set(findings.reports, name))]
    if findings.candidate.failures:
        body.append(f"<h2>Worst answers of {escape(headings[-1])}</h2>")
        body += [_html_failure(failure) for failure in findings.candidate.failures]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _title(findings: Findings) -> str:
    candidate = findings.candidate
    return f"Evaluation of {candidate.model}" + (f" {candidate.version}" if candidate.version else "")


def _about(findings: Findings) -> str:
    candidate = findings.candidate
    dialect = f", dialect {candidate.dialect}" if candidate.dialect else ""
    return f"{candidate.created_at}, {candidate.base_url}{dialect}, {candidate.total.requests:,} requests"


def _gate_lines(gate: GateResult | None, before: str, after: str) -> list[str]:
    if gate is None:
        return []
    return [f"{before}{'Gate passed' if gate.passed else f'Gate failed: {gate.message}'}{after}"]


def _sets(findings: Findings) -> list[str]:
    names = list(dict.fromkeys(name for report in findings.reports.values() for name in report.sets))
    return names if len(names) > 1 else []


def _markdown_table(headings: Sequence[str], lines: Sequence[Line]) -> str:
    rows = ["| |" + "".join(f" {_cell(heading)} |" for heading in headings), "|---|" + "---:|" * len(headings)]
    rows += [f"| {_cell(line.words)} |" + "".join(f" {cell or '–'} |" for cell in line.cells) for line in lines]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _markdown_failure(failure: Failure) -> str:
    blocks = "\n".join(
        f"- {word}:\n\n{_indented(text)}\n"
        for word, text in (("prompt", failure.prompt), ("expected", failure.expected), ("got", failure.got))
    )
    return f"### {_cell(failure.set)}/{_cell(failure.id)}: {_cell(failure.what)}\n\n{blocks}"


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines() or [""])


def _html_table(headings: Sequence[str], lines: Sequence[Line]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in ("", *headings))
    rows = "".join(
        f"<tr><td>{escape(line.words)}</td>"
        + "".join(f"<td>{escape(cell or '–')}</td>" for cell in line.cells)
        + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _html_failure(failure: Failure) -> str:
    blocks = "".join(
        f'<span class="quiet">{word}</span><pre>{escape(text)}</pre>'
        for word, text in (("prompt", failure.prompt), ("expected", failure.expected), ("got", failure.got))
    )
    heading = f"{escape(failure.set)}/{escape(failure.id)}: {escape(failure.what)}"
    return f"<article><strong>{heading}</strong><br>{blocks}</article>"
