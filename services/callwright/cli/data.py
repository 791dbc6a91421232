"""`callwright data …`: prepare a run's training files, convert corpora, and show what a model will be trained on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.text import Text

from callwright import spec
from callwright.cli import output
from callwright.cli.options import JsonOption, RootOption
from callwright.cli.run import open_run
from callwright.dialects.foreign import special_tokens
from callwright.errors import InvalidInput
from callwright.spec.model import LossWeights
from callwright.store import resolve_base

if TYPE_CHECKING:
    from callwright.datasets.encoding import Encoder
    from callwright.datasets.show import Token
    from callwright.datasets.stats import Stats

app = typer.Typer(no_args_is_help=True, help="Read, check, mix, convert, encode and show conversations.")

Strict = Literal["fail", "drop", "keep"]
FormatOption = Annotated[str, typer.Option("--format", help="How the rows are written; auto looks at the first one.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A corpus: a path, a store URL or a hub's address.")]
FineTuneOption = Annotated[
    Path | None, typer.Option("--finetune", help="FineTune document to take base, dialect, weights and length from.")
]
BaseOption = Annotated[str | None, typer.Option(help="Base whose tokenizer and template to use; the demo's own.")]
DialectOption = Annotated[str | None, typer.Option(help="Dialect to write in; native, the base's own, when absent.")]
PresetOption = Annotated[
    Literal["react", "last_turn", "all", "none"] | None, typer.Option(help="Preset of loss weights; react.")
]

_COLOURS = ("green", "yellow", "red", "magenta", "blue")
_VISIBLE = output.VISIBLE | {ord("\n"): "↵", ord("\t"): "→\t"}
_LABEL = 18
"""Characters of the longest kind of piece."""


@app.command()
def prepare(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    root: RootOption = Path(".callwright"),
    processes: Annotated[int | None, typer.Option(min=1, help="Processes to encode with; the machine's.")] = None,
    json: JsonOption = False,
) -> None:
    """Mix, split and encode the conversations of a FineTune; the same input is made only once."""
    from callwright.datasets.prepare import prepare_run

    run = open_run(file, root=root, name="data")
    with output.progress("data") as advance:
        prepared = prepare_run(run, processes=processes, on_progress=advance)
    found = prepared.to_dict()
    said = (
        f"{prepared.train_rows} conversations, {prepared.train_tokens} tokens, to train on; "
        f"{prepared.test_rows} conversations held out; made {'earlier' if prepared.reused else 'now'}: "
        f"{prepared.folder}"
    )
    output.emit(json, found, [said])
    if not json:
        for line in prepared.notes:
            output.note(line)
        _note_report(found)
        if several := found["encoding"].get("in_several_texts"):
            output.note(
                f"trained in several texts: {several} conversations, as not every turn stands in one text as it is "
                f"served; {found['encoding']['further_layouts']} more texts with {found['encoding']['further_tokens']} "
                "tokens"
            )


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A corpus.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The JSON Lines file to write.")],
    to: Annotated[str, typer.Option("--to", help="A dialect, or openai for messages with tools and calls.")],
    format: FormatOption = "auto",
    strict: Annotated[Strict, typer.Option(help="What to do with a faulty row that can be read.")] = "keep",
    base: Annotated[
        str | None, typer.Option(help="Base whose special tokens are broken; without one, what such usually look like.")
    ] = None,
    root: RootOption = Path(".callwright"),
    json: JsonOption = False,
) -> None:
    """Write a corpus as a dialect writes it, every tool, parameter, call and result included.

    Special tokens and markers in what is not the model's own are broken, as for training.
    """
    from callwright.datasets import convert as converting
    from callwright.datasets.report import Report
    from callwright.datasets.tokenizer import added_tokens, load_tokenizer

    tokenizer = load_tokenizer(resolve_base(base, None, root / "cache", weights=False)) if base else None
    special = special_tokens(added_tokens(tokenizer)) if tokenizer else None
    report = Report()
    written = converting.convert(source, target, to=to, format=format, strict=strict, special=special, report=report)
    said = f"{written} of {report.read} conversations in {to}: {target}"
    output.emit(json, {"written": written, "path": str(target), **report.to_dict()}, [said])
    if not json:
        _note_report(report.to_dict())


@app.command()
def show(
    file: FileArgument,
    row: Annotated[int, typer.Option(min=1, help="Line of the row, as reports count them.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write a page for a browser to this file.")] = None,
    layout: Annotated[
        int, typer.Option(min=1, help="Which of the layouts that the row is trained in; agentfabric has several.")
    ] = 1,
    format: FormatOption = "auto",
    finetune: FineTuneOption = None,
    base: BaseOption = None,
    dialect: DialectOption = None,
    preset: PresetOption = None,
    root: RootOption = Path(".callwright"),
    json: JsonOption = False,
) -> None:
    """Show one conversation as the trainer is given it, with the loss weight of each token."""
    from callwright.datasets import readers
    from callwright.datasets import show as showing
    from callwright.datasets.rendering import RefusedError

    view = _view(finetune, base, dialect, preset, root)
    conversation, faults = readers.find(file, row, format, cache_dir=_sources(root))
    try:
        layouts = list(view.encoder.layouts(conversation))
    except RefusedError as error:
        raise InvalidInput(f"showing {file}: line {row}: {error}") from None
    if layout > len(layouts):
        raise InvalidInput(f"showing {file}: line {row}: got --layout {layout}; expected 1 to {len(layouts)}")
    tokens = showing.tokens(layouts[layout - 1])
    title = f"{file}:{row} in {view.name}"
    if len(layouts) > 1:
        title += f", layout {layout} of {len(layouts)}"
    if html:
        try:
            html.write_text(showing.page(title, tokens), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"showing {file}: {html} cannot be written: {error.strerror}") from None
    shown = {"file": file, "row": row, "layouts": len(layouts), "layout": layout, "faults": faults}
    output.emit(json, shown | {"tokens": [token._asdict() for token in tokens]}, [] if html else _token_lines(tokens))
    if json:
        return
    if html:
        output.note(f"written: {html}")
    output.note(f"{title}; {showing.summary(tokens)}")
    for fault in faults:
        output.note(f"{fault.kind}: {fault.detail}")
    if view.max_length is not None and len(tokens) > view.max_length:
        output.note(f"longer than data.maxLength, {view.max_length}: data.tooLong says to {view.too_long} it")


@app.command()
def stats(
    file: FileArgument,
    histogram: Annotated[Path | None, typer.Option(help="Draw the lengths to this PNG file.")] = None,
    format: FormatOption = "auto",
    finetune: FineTuneOption = None,
    base: BaseOption = None,
    dialect: DialectOption = None,
    preset: PresetOption = None,
    root: RootOption = Path(".callwright"),
    json: JsonOption = False,
) -> None:
    """Count what is in a corpus: rows and faults, roles, tools and calls, lengths, and tokens by kind."""
    from callwright.datasets import readers
    from callwright.datasets import stats as counting
    from callwright.datasets.report import Report

    view = _view(finetune, base, dialect, preset, root)
    report = Report()
    rows = readers.read(file, format, strict="keep", report=report, cache_dir=_sources(root))
    found = counting.collect(rows, view.encoder, report)
    if histogram:
        counting.draw_lengths(found, histogram, max_length=view.max_length)
    head = f"{file}: {report.read} rows in format {report.formats.get(file, 'unknown')}"
    facts = {"dialect": view.dialect, "base": view.base, **found.to_dict(), **report.to_dict()}
    output.emit(json, facts, [head, *_stats_lines(found, view)])
    if json:
        return
    _note_report(report.to_dict())
    if histogram:
        output.note(f"written: {histogram}")


def _sources(root: Path) -> Path:
    """Return the folder that remote corpora are copied to; `prepare` uses it too."""
    return root / "data" / "sources"


class _View(NamedTuple):
    """How conversations are to be written, weighed and tokenised for a person to look at."""

    encoder: "Encoder"
    dialect: str
    base: str
    max_length: int | None
    too_long: str

    @property
    def name(self) -> str:
        return f"{self.dialect} for {self.base}"


def _view(finetune: Path | None, base: str | None, dialect: str | None, preset: str | None, root: Path) -> _View:
    """Return the options' view, else the document's, else the demo's base in its own dialect."""
    from callwright.datasets.choosing import choose
    from callwright.datasets.encoding import Encoder
    from callwright.datasets.tokenizer import load_tokenizer

    document = spec.load(finetune).spec if finetune else None
    loss = document.data.loss if document else LossWeights()
    if preset:
        loss = loss.model_copy(update={"preset": preset})
    dialect = dialect or (document.dialect if document else None)
    revision = document.base.revision if document and not base else None
    base = base or (document.base.model if document else _demo_base(root))
    arguments = document.base.template_arguments if document else {}
    tokenizer = load_tokenizer(resolve_base(base, revision, root / "cache", weights=False))
    choice = choose(dialect, tokenizer, arguments)
    encoder = Encoder(choice.dialect, tokenizer, loss, template_arguments=arguments)
    name = choice.dialect.name
    if document is None:
        return _View(encoder, name, base, None, "drop")
    return _View(encoder, name, base, document.data.max_length, document.data.too_long)


def _demo_base(root: Path) -> str:
    from callwright.demo.base import smollm2

    return str(smollm2(root / "demo" / "cache", on_note=output.note))


def _token_lines(tokens: "Sequence[Token]") -> Iterator[Text]:
    """Yield a line of text a row, with weight and kind before it; in colour, every other token is underlined."""
    from callwright.datasets import show as showing

    weighted = [weight for weight in showing.weights(tokens) if weight]
    colours = {0.0: "dim"} | {weight: _COLOURS[i % len(_COLOURS)] for i, weight in enumerate(weighted)}
    for line in showing.lines(tokens):
        colour = colours[line.weight]
        text = Text(f"{line.weight:>4g} {line.kind:<{_LABEL}} │ ", style=colour)
        for index, token in enumerate(line.tokens):
            text.append(token.text.translate(_VISIBLE), style=f"{colour} underline" if index % 2 else colour)
        yield text


def _stats_lines(found: "Stats", view: _View) -> list[str]:
    lines = [
        f"conversations: {found.conversations}, {found.with_tools} with tools, {found.with_calls} with calls",
        f"messages: {_listed(found.messages)}",
        f"tools: {len(found.declared)} declared, {len(found.called)} called, in {found.called.total()} calls",
    ]
    if found.called:
        lines.append(f"called most: {_listed(dict(found.called.most_common(10)))}")
    lines.append(f"in {view.name}:")
    lines.append(f"  tokens a conversation: {', '.join(f'{k} {v:g}' for k, v in found.length_summary().items())}")
    if view.max_length is not None:
        longer = found.longer_than(view.max_length)
        lines.append(f"  longer than data.maxLength, {view.max_length}: {longer}; data.tooLong is {view.too_long}")
    total = found.tokens.total()
    lines.append(f"  tokens: {total}")
    for (kind, weight), count in found.tokens.most_common():
        if count:
            lines.append(f"  {kind:<{_LABEL}} weight {weight:<4g} {count:>10} {count / total:>6.1%}")
    return lines


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _note_report(report: "dict[str, Any]") -> None:
    """What `Report.to_dict` says of rows: faults with examples, then what else was noticed."""
    for kind, number in report["findings"].items():
        output.note(f"{kind}: {number}")
        for example in report["examples"].get(kind, ()):
            output.note(f"  {example}")
    for kind, number in report["remarks"].items():
        output.note(f"{kind}: {number}, noticed only")
