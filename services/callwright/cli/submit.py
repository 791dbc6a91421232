"""`callwright submit FILE`: hand a FineTune document to the cluster, checked before it leaves this machine."""

from pathlib import Path
from typing import Annotated

import typer

from callwright import spec
from callwright.cli import output, status
from callwright.cli.options import ContextOption, DryRunOption, NamespaceOption


def submit(
    file: Annotated[Path, typer.Argument(help="FineTune document.")],
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Then follow the run to its end.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Create the FineTune in the cluster, or change it: a change of what shapes the result makes a new run."""
    from callwright.controller.cluster import FINE_TUNE, connect

    document = spec.load(file)
    cluster, current = connect(context)
    namespace = namespace or document.metadata.namespace or current
    manifest = document.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    manifest["metadata"]["namespace"] = namespace
    cluster.apply(FINE_TUNE, manifest, manager="callwright-submit", dry_run=dry_run)
    name = document.metadata.name
    if dry_run:
        output.note(f"{namespace}/{name} would be accepted")
        return
    output.note(f"{namespace}/{name} submitted: run {spec.run_name(document)}")
    if watch:
        status.status(name, namespace=namespace, context=context, watch=True, json=False)
