"""`callwright run FILE`: every stage of a run in order, each done once; a run that was interrupted carries on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from callwright.cli import output
from callwright.cli.options import JsonOption, StoreOption
from callwright.errors import Interrupted

if TYPE_CHECKING:
    from callwright.cli.stages import LocalRun

Stage = Literal["data", "train", "merge", "evaluate", "promote"]


def run(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    from_stage: Annotated[
        Stage | None, typer.Option("--from", help="Do this stage and those after it anew, finished or not.")
    ] = None,
    until: Annotated[Stage, typer.Option(help="Last stage to do.")] = "promote",
    store: StoreOption = None,
    root: Annotated[Path, typer.Option(help="Folder for scratch files.")] = Path(".callwright"),
    json: JsonOption = False,
) -> None:
    """Go from conversations to a promoted version: data, train, merge, evaluate, promote.

    A stage that is done is not done again, so that the same command carries on where an interrupted one stopped.
    Serve the promoted version with `callwright serve FILE`.
    """
    from callwright import spec
    from callwright.cli.stages import STAGES, LocalRun

    local = LocalRun(spec.load(file), store=store, root=root)
    if from_stage:
        local.redo(from_stage)
    output.note(f"run {local.name}: scratch files in {local.workdir}, results in {local.store.url}")
    stages = STAGES[: STAGES.index(until) + 1]
    result: dict[str, object] = {"run": local.name, "model": local.document.model_name}
    try:
        _do(stages, local, result)
    except (KeyboardInterrupt, Interrupted) as stop:
        if from_stage is None:
            raise
        raise Interrupted.told(stop, "run it again without --from to carry on") from None
    if json:
        output.emit_json(result)


def _do(stages: Sequence[str], local: "LocalRun", result: dict[str, object]) -> None:
    """Do the stages that are not done yet, and put what came of them into `result`."""
    for stage in stages:
        match stage:
            case "data":
                prepared = local.data(output.progress)
                result["data"] = {"train": prepared.train_rows, "test": prepared.test_rows}
                output.note(f"data: {prepared.train_rows} conversations to train on, {prepared.test_rows} held out")
            case "train":
                report = local.train(output.progress)
                result["train"] = report
                output.note(f"train: loss {report['loss']:.3f} after {report['step']} steps")
            case "merge":
                manifest = local.merge(output.progress)
                result["version"] = manifest.version
                output.note(f"merge: published {manifest.name} {manifest.version}, {manifest.size / 1e6:.1f} MB")
            case "evaluate":
                result["evaluation"] = _evaluate(local)
            case "promote":
                result["promotion"] = said = local.promote()
                output.note(f"promote: {said}")


def _evaluate(local: "LocalRun") -> dict[str, Any]:
    if not local.evaluation():
        output.note("evaluate: starting the engine for the candidate")
        with local.serving_candidate() as stack:
            local.evaluate(stack, output.progress, output.note)
    found = local.evaluation()
    output.note(f"evaluate: accuracy {found.get('accuracy')}")
    return found
