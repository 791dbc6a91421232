"""`callwright merge FILE`: a run's adapter and its base become a model version in the store."""

from pathlib import Path
from typing import Annotated

import typer

from callwright.cli import output
from callwright.cli.options import DryRunOption, JsonOption, StoreOption
from callwright.cli.run import open_run
from callwright.merger.merging import Inputs
from callwright.merger.stage import merge_run, plan_run
from callwright.progress import in_bytes


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
    opened = open_run(file, store=store, root=workdir, name=run)
    if dry_run:
        _show_plan(plan_run(opened, adapter_dir=adapter), as_json=json)
        return
    with output.progress("merge") as advance:
        manifest = merge_run(opened, version=version, adapter_dir=adapter, verify=verify, on_progress=in_bytes(advance))
    lines = [f"published {manifest.name} {manifest.version}: {manifest.size / 1e6:.1f} MB"]
    if checked := manifest.verification:
        lines.append(
            f"logits differ from base + adapter by at most {checked.max_difference:.2g} of their deviation "
            f"(allowed {checked.tolerance:g}); the same token is first at {checked.top1_agreement:.1%} of positions"
        )
    output.emit(json, manifest.model_dump(mode="json"), lines)


def _show_plan(inputs: Inputs, *, as_json: bool) -> None:
    plan = list(inputs.plan.lines())
    summary = {
        "adapter": inputs.adapter.digest,
        "tensors": len(plan),
        "changed": sum(tensor.low_rank is not None or tensor.bias is not None for tensor in inputs.plan.tensors),
        "bytes": inputs.plan.nbytes,
        "shards": [shard.file for shard in inputs.plan.shards],
        "config": inputs.plan.config_changes,
        "files": sorted(inputs.files),
    }
    said = [f"{key}: {', '.join(value) if isinstance(value, list) else value}" for key, value in summary.items()]
    output.emit(as_json, summary | {"plan": plan}, [*plan, *said])
