"""`callwright run FILE`: every stage of a run in order, each done once; a run that was interrupted carries on.

The stages are functions of a `Run`, see `callwright.run`; a cluster's pods call the same ones. Here is their order on
one machine, and how the candidate is served while it is measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from callwright import spec
from callwright.cli import output
from callwright.cli.options import JsonOption, RootOption, StoreOption, store_url
from callwright.errors import Conflict, GateFailed, Interrupted, NotFound
from callwright.merger.stage import merge_run
from callwright.progress import in_bytes
from callwright.run import Run
from callwright.server import local
from callwright.server.preflight import free_ports
from callwright.server.trial import Trial, plan_trial, promoted_to_serve
from callwright.spec.identity import FIRST_DEFAULTS
from callwright.store import Registry, Store, resolve_base

_PAGE = "report.html"
"""What was found, among the scratch files of a run."""
Stage = Literal["data", "train", "merge", "evaluate", "promote"]
STAGES: tuple[Stage, ...] = get_args(Stage)


def run(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    from_stage: Annotated[
        Stage | None, typer.Option("--from", help="Do this stage and those after it anew, finished or not.")
    ] = None,
    until: Annotated[Stage, typer.Option(help="Last stage to do.")] = "promote",
    store: StoreOption = None,
    root: RootOption = Path(".callwright"),
    json: JsonOption = False,
) -> None:
    """Go from conversations to a promoted version: data, train, merge, evaluate, promote.

    A stage that is done is not done again, so that the same command carries on where an interrupted one stopped.
    Serve the promoted version with `callwright serve FILE`.
    """
    opened = open_run(file, store=store, root=root)
    if from_stage:
        redo_from(opened, from_stage)
    output.note(f"run {opened.name}: scratch files in {opened.workdir}, results in {opened.store.url}")
    try:
        result = do_stages(opened, until)
    except (KeyboardInterrupt, Interrupted) as stop:
        if from_stage is None:
            raise
        raise Interrupted.told(stop, "run it again without --from to carry on") from None
    output.emit(json, result, [])


def do_stages(run: Run, until: Stage) -> dict[str, Any]:
    """Do the stages of `run` up to `until` that are not done yet; returns the result of each."""
    result: dict[str, Any] = {"run": run.name, "model": run.model}
    for stage in STAGES[: STAGES.index(until) + 1]:
        with output.progress(stage) as advance:
            match stage:
                case "data":
                    from callwright.datasets.prepare import prepare_run

                    prepared = prepare_run(run, on_progress=advance)
                    result["data"] = {"train": prepared.train_rows, "test": prepared.test_rows}
                    for line in prepared.notes:
                        output.note(f"data: {line}")
                    said = f"{prepared.train_rows} conversations to train on, {prepared.test_rows} held out"
                case "train":
                    from callwright.trainer.stage import train_run

                    result["train"] = report = train_run(run, on_progress=advance, on_note=output.note)
                    said = f"loss {report['loss']:.3f} after {report['step']} steps"
                case "merge":
                    manifest = merge_run(run, on_progress=in_bytes(advance))
                    result["version"] = manifest.version
                    said = f"published {manifest.name} {manifest.version}, {manifest.size / 1e6:.1f} MB"
                case "evaluate":
                    from callwright.evaluator.decision import decide_again
                    from callwright.evaluator.stage import evaluate_run

                    if decide_again(run.store, run.finetune, run=run.name, version=run.version) is None:
                        output.note("evaluate: starting the engine for the candidate")
                        with serving_candidate(run) as (stack, trial):
                            evaluate_run(
                                run, base_url=stack.base_url, base_id=trial.base, promoted_id=trial.promoted,
                                on_progress=advance, on_note=output.note,
                            )  # fmt: skip
                    result["evaluation"] = found = run.read_json("evaluation.json")
                    said = f"accuracy {found.get('accuracy')}; the report: {write_page(run, run.workdir / _PAGE)}"
                case "promote":
                    result["promotion"] = said = promote(run)
        output.note(f"{stage}: {said}")
    return result


def open_run(file: Path, *, store: str | None = None, root: Path = Path(".callwright"), name: str | None = None) -> Run:
    """Open run `name` of the document in `file`; by default the one that its settings and corpora make."""
    finetune = spec.load(file)
    base, opened = finetune.spec.base, Store.open(store_url(store, finetune.spec.store))
    if name is None:
        from callwright.datasets import prepare

        base_dir = resolve_base(base.model, base.revision, root / "cache", weights=False)
        corpora_digest = prepare.corpora_digest(finetune.spec.data, base_dir)
        run, earlier = (
            Run(finetune, make(finetune, corpora_digest), opened, root)
            for make in (spec.run_name, spec.earlier_run_name)
        )
        return earlier if earlier.name != run.name and _goes_on(run, earlier) else run
    return Run(finetune, name, opened, root)


def _goes_on(run: Run, earlier: Run) -> bool:
    """Return whether a document that names no dialect goes on with what a release that took another by default has
    begun of it: that release left no dialect beside the sample, or a native one, but never the one of this name.
    """
    from callwright.datasets import parity

    if run.store.list(run.key("")) or not run.store.list(earlier.key("")):
        return False
    return bool(earlier.read_json(f"data/{parity.FILE}").get("dialect") != FIRST_DEFAULTS["FineTuneSpec.dialect"])


def plan_trial_here(run: Run) -> Trial:
    """Plan what is served on this machine while the run's candidate is measured."""
    return plan_trial(
        run.finetune,
        version=run.version,
        base_path=str(run.base_dir),
        promoted=promoted_to_serve(run.finetune, Registry(run.store), other_than=run.version),
        store=run.store.url,
        cache_dir=str(run.cache),
    )


@contextmanager
def serving_candidate(
    run: Run, *, port: int | None = None, engine_port: int | None = None
) -> Iterator[tuple[local.Stack, Trial]]:
    """Serve what the candidate is measured with, behind the sidecar; on free ports where none are named."""
    trial, (first, second) = plan_trial_here(run), free_ports(2)
    config = trial.server.model_copy(update={"port": engine_port or first})
    with local.serving(config, workdir=run.workdir / "serving", port=port or second) as stack:
        yield stack, trial


def write_page(run: Run, path: Path) -> Path:
    """Write what the training and the evaluation of `run` found to `path`, as one HTML page. Returns the path."""
    from callwright.evaluator import charts, pages
    from callwright.evaluator.findings import Findings

    findings = Findings.model_validate(run.read_json("evaluation.json"))
    pictures = charts.draw(findings)
    with suppress(NotFound):
        pictures = {"curve.png": run.store.get_bytes(run.key("curve.png")), **pictures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(pages.html(findings, pictures), encoding="utf-8")
    return path


def promote(run: Run) -> str:
    """Promote as the document says. Returns a line on what happened. Raises `GateFailed` for a failed gate."""
    model, version, registry = run.model, run.version, Registry(run.store)
    standing = registry.promoted(model)
    if standing == version:
        return f"{model} {version} is promoted"
    gate = run.read_json("evaluation.json").get("gate")
    if gate is None:
        raise NotFound(f"promoting {version}: it was not evaluated; run `callwright run` from stage evaluate")
    if not gate["passed"]:
        raise GateFailed(f"the gate keeps {model} {version} back: {gate['message']}")
    match run.finetune.spec.evaluate.promote:
        case "auto":
            registry.promote(model, version, expect=standing)
            return f"promoted {model} {version}"
        case "manual":
            return f"{model} {version} passed the gate; promote it with `callwright promote {model} {version}`"
        case "never":
            return f"{model} {version} passed the gate; evaluate.promote is never, so nothing is promoted"


def redo_from(run: Run, stage: Stage) -> None:
    """Delete what `stage` and those after it have made: they are done anew.

    Raises `Conflict` where the run's version is promoted.
    """
    first, model, version = STAGES.index(stage), run.model, run.version
    if stage == "data":
        from callwright.datasets.prepare import discard_run

        discard_run(run)
    if first <= STAGES.index("merge"):
        if Registry(run.store).promoted(model) == version:
            raise Conflict(
                f"running again from {stage}: {model} {version} is promoted and stays as it is; "
                f"promote another version first (`callwright rollback {model}`) or change metadata.name"
            )
        run.store.delete(f"models/{model}/versions/{version}")
    if first <= STAGES.index("evaluate"):
        run.store.delete(run.key("evaluation.json"))
        run.store.delete(run.key("evaluation"))
        for journal in (run.workdir / "evaluation").glob("*.jsonl"):
            journal.unlink()
    if first <= STAGES.index("train"):
        run.store.delete(f"runs/{run.name}")
        (run.workdir / "metrics.jsonl").unlink(missing_ok=True)
