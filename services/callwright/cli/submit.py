"""`callwright submit FILE`: hand a FineTune document to the cluster, checked before it leaves this machine."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callwright import spec
from callwright.cli import output, status
from callwright.cli.options import ContextOption, DryRunOption, NamespaceOption
from callwright.errors import CallwrightError

if TYPE_CHECKING:
    from callwright.controller.cluster import Cluster

_LOOK_SECONDS = 5.0
"""Seconds that a controller which watches the namespace looks at a new document within."""


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
    looked_at = _looked_at(cluster, namespace, name)
    if not (looked_at or watch):
        output.note(status.nobody_looks(namespace))
    if watch:  # says it, too
        status.status(name, namespace=namespace, context=context, watch=True, json=False)


def _looked_at(cluster: "Cluster", namespace: str, name: str) -> bool:
    """Return whether a controller looks at the document, as it is now, within a few seconds."""
    from callwright.controller.cluster import FINE_TUNE

    deadline = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            found = cluster.get(FINE_TUNE, namespace, name)
        except CallwrightError:
            return True  # it is submitted; who may not look can't tell
        if found is None or status.is_looked_at(found):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
