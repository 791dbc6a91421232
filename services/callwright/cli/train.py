"""`callwright train FILE`: a run's adapter, from its conversations."""

from pathlib import Path
from typing import Annotated

import typer

from callwright.cli import output
from callwright.cli.options import JsonOption, StoreOption


def train(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    store: StoreOption = None,
    root: Annotated[Path, typer.Option(help="Folder for scratch files.")] = Path(".callwright"),
    json: JsonOption = False,
) -> None:
    """Train the adapter of a run with Ray Train, or carry on from its newest checkpoint."""
    from callwright import spec
    from callwright.cli.stages import LocalRun

    local = LocalRun(spec.load(file), store=store, root=root)
    report = local.train(output.progress)
    if json:
        output.emit_json(report)
        return
    output.out.print(f"run {local.name}: loss {report['loss']:.3f} after {report['step']} steps", markup=False)
    output.out.print(f"metrics and curve in {local.workdir}", markup=False)
