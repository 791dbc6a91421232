"""`callsmith data …`: prepare a run's training files, convert corpora, and show what a model will be trained on."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from callsmith.cli import output
from callsmith.cli.options import JsonOption

app = typer.Typer(no_args_is_help=True, help="Read, check, mix, convert, encode and show conversations.")

Strict = Literal["fail", "drop", "keep"]
FormatOption = Annotated[str, typer.Option("--format", help="How the rows are written; auto looks at the first one.")]
RootOption = Annotated[Path, typer.Option(help="Folder for scratch files.")]


@app.command()
def prepare(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    root: RootOption = Path(".callsmith"),
    processes: Annotated[int | None, typer.Option(min=1, help="Processes to encode with; the machine's.")] = None,
    json: JsonOption = False,
) -> None:
    """Mix, split and encode the conversations of a FineTune; the same input is made only once."""
    from callsmith import spec
    from callsmith.datasets import prepare as stage
    from callsmith.store import resolve_base

    document = spec.load(file)
    base_dir = resolve_base(document.spec.base.model, document.spec.base.revision, root / "cache")
    with output.progress("data") as advance:
        prepared = stage.prepare(
            document.spec.data,
            dialect=document.spec.dialect,
            base_dir=base_dir,
            folder=root / "data",
            processes=processes,
            on_progress=advance,
        )
    found = prepared.to_dict()
    if json:
        output.emit_json(found)
        return
    made = "made earlier" if prepared.reused else "made now"
    output.out.print(
        f"{prepared.train_rows} conversations, {prepared.train_tokens} tokens, to train on; "
        f"{prepared.test_rows} conversations held out; {made}: {prepared.folder}",
        markup=False,
    )
    _note_findings(found["findings"], found["examples"])


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A corpus.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The JSON Lines file to write.")],
    to: Annotated[str, typer.Option("--to", help="A dialect, or openai for messages with tools and calls.")],
    format: FormatOption = "auto",
    strict: Annotated[Strict, typer.Option(help="What to do with a faulty row that can be read.")] = "keep",
    json: JsonOption = False,
) -> None:
    """Write a corpus as a dialect writes it, every tool, parameter, call and result included."""
    from callsmith.datasets import convert as converting
    from callsmith.datasets.report import Report

    report = Report()
    written = converting.convert(source, target, to=to, format=format, strict=strict, report=report)
    if json:
        output.emit_json({"written": written, "path": str(target), **report.to_dict()})
        return
    output.out.print(f"{written} of {report.read} conversations in {to}: {target}", markup=False)
    _note_findings(report.findings, report.examples)


def _note_findings(findings: "dict[str, int]", examples: "dict[str, list[str]]") -> None:
    for kind, number in findings.items():
        output.note(f"{kind}: {number}")
        for example in examples.get(kind, ()):
            output.note(f"  {example}")
