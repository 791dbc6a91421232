"""`callwright merge FILE`: a run's adapter and its base become a model version in the store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callwright.cli import output
from callwright.cli.options import DryRunOption, JsonOption, StoreOption, in_bytes, store_url

if TYPE_CHECKING:
    from callwright.merger import Inputs
    from callwright.store import Manifest


def merge(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    run: Annotated[str | None, typer.Option(help="Run whose adapter is merged; the document's own.")] = None,
    version: Annotated[str | None, typer.Option(help="Version to publish; the run's name.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="A PEFT adapter's directory, instead of the run's.")] = None,
    verify: Annotated[bool, typer.Option(help="Compare logits with base + adapter before publishing.")] = True,
    workdir: Annotated[Path, typer.Option(help="Folder for what is fetched.")] = Path(".callwright/merge"),
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Merge a run's adapter into its base and publish the result as a version of the model."""
    from callwright import spec
    from callwright.cli.stages import LocalRun
    from callwright.merger.stage import Source, merge_run, plan_run
    from callwright.store import Store

    document = spec.load(file)
    source = Source(run or LocalRun(document, store=store).name, version, adapter)
    opened = Store.open(store_url(store, document.spec.store))
    if dry_run:
        _show_plan(plan_run(document, source, store=opened, workdir=workdir), as_json=json)
        return
    with output.progress("merge") as advance:
        manifest = merge_run(
            document,
            source,
            store=opened,
            workdir=workdir,
            verify=verify,
            on_progress=in_bytes(advance),
        )
    _show(manifest, as_json=json)


def _show_plan(inputs: "Inputs", *, as_json: bool) -> None:
    lines = list(inputs.plan.lines())
    summary = {
        "adapter": inputs.adapter.digest,
        "tensors": len(lines),
        "changed": sum(step.low_rank is not None or step.bias is not None for step in inputs.plan.steps),
        "bytes": inputs.plan.nbytes,
        "shards": [shard.file for shard in inputs.plan.shards],
        "config": inputs.plan.config_changes,
        "files": sorted(inputs.files),
    }
    if as_json:
        output.emit_json(summary | {"plan": lines})
        return
    for line in lines:
        output.out.print(line, markup=False)
    for key, value in summary.items():
        output.out.print(f"{key}: {', '.join(value) if isinstance(value, list) else value}", markup=False)


def _show(manifest: "Manifest", *, as_json: bool) -> None:
    if as_json:
        output.emit_json(manifest.model_dump(mode="json"))
        return
    output.out.print(f"published {manifest.name} {manifest.version}: {manifest.size / 1e6:.1f} MB", markup=False)
    if manifest.verification:
        checked = manifest.verification
        output.out.print(
            f"logits differ from base + adapter by at most {checked.max_difference:.2g} of their deviation "
            f"(allowed {checked.tolerance:g}); the same token is first at {checked.top1_agreement:.1%} of positions",
            markup=False,
        )
