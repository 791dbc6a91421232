"""`callwright evaluate`: measure a model behind an OpenAI endpoint, hold it against a gate, or compare evaluations."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callwright import spec as specs
from callwright.cli import output
from callwright.errors import GateFailed, InvalidInput

if TYPE_CHECKING:
    from callwright.evaluator.findings import Findings
    from callwright.evaluator.report import Report
    from callwright.evaluator.row import Row

_CACHE = Path(".callwright/cache/corpora")
"""Remote corpora are copied here."""
_KEPT = Path(".callwright/evaluations")
"""Results of an evaluation without `--out`, for as long as it is not finished."""


def evaluate(
    sets: Annotated[
        list[str] | None, typer.Argument(help="Rows with gold calls, in any data format, or BFCL's files.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="OpenAI endpoint, such as http://127.0.0.1:8100/v1.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id at the endpoint.")] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two evaluations, or model ids to evaluate: the second against the first.", metavar="A B"),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(help="FineTune document whose gate decides; exit 3 when it fails.")
    ] = None,
    dialect: Annotated[str | None, typer.Option(help="Dialect of a model that the endpoint has none for.")] = None,
    training: Annotated[
        list[str] | None, typer.Option(help="Training data, to warn of requests that also stand there.")
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="Model that judges final answers.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Its endpoint; --base-url when absent.")] = None,
    judge_api_key: Annotated[str | None, typer.Option(envvar="CALLWRIGHT_JUDGE_API_KEY", help="Its key.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Requests under way at once.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens that an answer may have.")] = 512,
    limit: Annotated[int | None, typer.Option(min=1, help="First requests of each set to use.")] = None,
    timeout_seconds: Annotated[float, typer.Option(min=0.1, help="Time that an answer may take.")] = 120.0,
    api_key: Annotated[str | None, typer.Option(envvar="OPENAI_API_KEY", help="Key of the endpoint.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report and results; without it only an interrupted one leaves any."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Measure how well a model calls tools."""
    from callwright.evaluator import evaluation
    from callwright.evaluator.findings import gather

    rows: list[Row] = []
    notes: list[str] = []

    def measure(model: str) -> "Report":
        if base_url is None:
            raise InvalidInput(f"evaluating {model}: got no --base-url; expected the OpenAI endpoint that serves it")
        if not rows:
            rows.extend(_read(sets or [], limit, training or [], notes))
        judge = evaluation.Judge(judge_url or base_url, judge_model, judge_api_key) if judge_model else None
        results = (out or _kept(base_url, model, sets, limit, dialect, max_tokens, judge_model)) / _file(model)
        with output.progress(model) as advance:
            report = evaluation.evaluate(
                base_url=base_url,
                model=model,
                rows=rows,
                notes=notes,
                dialect=dialect,
                concurrency=concurrency,
                max_tokens=max_tokens,
                timeout_seconds=timeout_seconds,
                api_key=api_key,
                judge=judge,
                on_progress=advance,
                results_path=results,
            )
        if out is None:
            shutil.rmtree(results.parent, ignore_errors=True)
        return report

    findings = gather(_reports(model, compare, measure))
    if compare and not findings.comparisons:
        raise InvalidInput("comparing: the two share no request; expected evaluations on the same sets")
    try:
        findings = _gated(findings, spec)
    finally:  # what was measured is shown also where too little was answered for a decision
        _show(findings, out, json)
    if findings.gate and not findings.gate.passed:
        raise GateFailed(f"the gate of {spec} keeps {list(findings.reports)[-1]} back: {findings.gate.message}")


def _kept(*settings: object) -> Path:
    """Return the folder of what an evaluation with these settings carries on from where no `--out` names one."""
    return _KEPT / hashlib.sha256(repr(settings).encode()).hexdigest()[:12]


def _file(model: str) -> str:
    return f"results-{re.sub('[^A-Za-z0-9._-]+', '_', model)}.jsonl"


def _read(sets: list[str], limit: int | None, training: list[str], notes: list[str]) -> "list[Row]":
    """Return the rows of all sets. What is to be known of them is added to `notes`, and shown before the work
    begins.
    """
    from callwright.evaluator import sets as evaluation_sets

    if not sets:
        raise InvalidInput("evaluating: got no set; expected files with gold calls, such as requests.jsonl")
    rows: list[Row] = []
    for path in sets:
        reading = evaluation_sets.Reading()
        rows.extend(evaluation_sets.read(path, limit=limit, reading=reading, cache_dir=_CACHE))
        notes.extend(reading.notes(path))
    if training:
        from callwright.datasets import readers

        known = evaluation_sets.training_fingerprints(
            conversation for path in training for conversation in readers.read(path, cache_dir=_CACHE)
        )
        notes.extend(evaluation_sets.overlap_notes(rows, known))
    for line in notes:
        output.note(f"warning: {line}")
    return rows


def _reports(
    model: str | None, compare: tuple[str, str] | None, measure: "Callable[[str], Report]"
) -> "dict[str, Report]":
    """Return the reports by heading. Saved ones are read, others measured."""
    from callwright.evaluator import findings

    if compare is None:
        if model is None:
            raise InvalidInput("evaluating: got no --model; expected a model id at the endpoint, or --compare A B")
        return {model: measure(model)}
    if compare[0] == compare[1] or model:
        raise InvalidInput("comparing: expected two different evaluations or model ids after --compare, and no --model")
    headings = [_heading(Path(name)) for name in compare]
    return {
        heading if len(set(headings)) == 2 else name: (
            findings.load(Path(name)).candidate if Path(name).exists() else measure(name)
        )
        for heading, name in zip(headings, compare, strict=True)
    }


def _heading(path: Path) -> str:
    """Return the heading of an evaluation: the folder of a saved one, the id of a model."""
    return path.resolve().parent.name if path.is_file() else path.name if path.is_dir() else str(path)


def _gated(findings: "Findings", spec: Path | None) -> "Findings":
    if spec is None:
        return findings
    from callwright.evaluator import gate

    first, *_ = reports = list(findings.reports.values())
    other = first if len(reports) > 1 else None
    decision = gate.decide(specs.load(spec).spec.evaluate.gate, findings.candidate, promoted=other, base=other)
    return findings.model_copy(update={"gate": decision})


def _show(findings: "Findings", out: Path | None, json: bool) -> None:
    if out:
        from callwright.evaluator import pages

        pages.write(out, findings)
        output.note(f"report: {out / 'report.html'}")
    from callwright.evaluator import figures

    compared = [line for comparison in findings.comparisons for line in figures.compared(comparison)]
    output.emit(json, findings.model_dump(mode="json"), [figures.comparison(findings.reports), *compared])
    if json:
        return
    for heading, report in findings.reports.items():
        for note in report.notes:
            output.note(f"{heading}: {note}")
