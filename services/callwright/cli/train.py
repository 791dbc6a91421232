"""`callwright train FILE`: a run's adapter, from its conversations."""

from pathlib import Path
from typing import Annotated

import typer

from callwright.cli import output
from callwright.cli.options import JsonOption, RootOption, StoreOption
from callwright.cli.run import open_run


def train(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    store: StoreOption = None,
    root: RootOption = Path(".callwright"),
    json: JsonOption = False,
) -> None:
    """Train the adapter of a run with Ray Train, or carry on from its newest checkpoint."""
    from callwright.trainer.stage import train_run

    run = open_run(file, store=store, root=root)
    with output.progress("train") as advance:
        report = train_run(run, on_progress=advance, on_note=output.note)
    lines = [
        f"run {run.name}: loss {report['loss']:.3f} after {report['step']} steps",
        f"metrics and curve in {run.workdir}",
    ]
    output.emit(json, report, lines)
