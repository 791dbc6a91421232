"""`callsmith promote NAME VERSION`: point a model at one of its versions."""

from typing import Annotated

import typer

from callsmith.cli import output
from callsmith.cli.options import DryRunOption, JsonOption, StoreOption, store_url


def promote(
    name: Annotated[str, typer.Argument(help="Model.")],
    version: Annotated[str, typer.Argument(help="Version to promote.")],
    expect: Annotated[str | None, typer.Option(help="Only when this version is the promoted one now.")] = None,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Promote a version of a model: what serves the model takes it from then on."""
    from callsmith.store import Registry, Store

    registry = Registry(Store.open(store_url(store)))
    before = registry.promoted(name)
    after = registry.manifest(name, version).version
    if not dry_run:
        after = registry.promote(name, version, expect=expect or "*").version
    if json:
        output.emit_json({"name": name, "before": before, "promoted": after, "dry_run": dry_run})
        return
    word = "would promote" if dry_run else "promoted"
    output.out.print(f"{word} {name} {after} (before: {before or 'none'})", markup=False)
