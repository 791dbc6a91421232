"""`callwright models …`: list, show, verify and clear the model versions of a store."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from callwright.cli import output
from callwright.cli.options import DryRunOption, JsonOption, NameArgument, StoreOption, open_registry
from callwright.errors import StageFailed
from callwright.progress import in_bytes
from callwright.store import Manifest, delete_bases, unused_bases

app = typer.Typer(no_args_is_help=True, help="List, show, verify and clear model versions.")


@app.command("list")
def list_models(
    name: Annotated[str | None, typer.Argument(help="Model; all when absent.")] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """List models and their versions, oldest first."""
    registry = open_registry(store)
    rows = []
    for model in [name] if name else registry.names():
        promoted = registry.promoted(model)
        rows += [_row(manifest, promoted) for manifest in registry.versions(model)]
    lines = [
        f"{'*' if row['promoted'] else ' '} {row['name']} {row['version']}  {row['bytes'] / 1e6:.1f} MB  "
        f"{row['dialect']}  {row['base']}  {row['created_at']}"
        for row in rows
    ]
    output.emit(json, rows, lines)
    if not rows:
        output.note(f"no {'version of ' + name if name else 'models'} in {registry.store.url}")


@app.command()
def show(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="Version.")] = "promoted",
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show a version's manifest."""
    registry = open_registry(store)
    manifest = registry.manifest(name, version)
    written = manifest.model_dump(mode="json")
    shown = ("stop", "adapter_digest", "inputs_digest", "dtype", "metrics", "verification")
    facts = _row(manifest, registry.promoted(name)) | {key: written[key] for key in shown}
    lines = [f"{key}: {value}" for key, value in facts.items()]
    lines += [f"  {entry.sha256[:12]}  {entry.size:>13,}  {path}" for path, entry in manifest.files.items()]
    output.emit(json, written, lines)


@app.command()
def verify(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="Version.")] = "promoted",
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Read every file of a version and compare it with its manifest; exit 1 when one is wrong."""
    registry = open_registry(store)
    manifest = registry.manifest(name, version)
    with output.progress("verify") as advance:
        problems = registry.verify(name, manifest.version, on_bytes=in_bytes(advance))
    whole = [] if problems else [f"{name} {manifest.version} is whole: {len(manifest.files)} files"]
    facts = {"name": name, "version": manifest.version, "whole": not problems, "problems": problems}
    output.emit(json, facts, whole)
    if problems:
        found = "\n".join(f"  {problem}" for problem in problems)
        raise StageFailed(f"verifying {name} {manifest.version}: {len(problems)} files are wrong; merge again\n{found}")


@app.command()
def gc(
    name: Annotated[str | None, typer.Argument(help="Model; all when absent.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Newest versions to keep.")] = 5,
    grace_minutes: Annotated[float, typer.Option(min=0, help="Leave what was written within this time.")] = 60.0,
    base_days: Annotated[
        int, typer.Option(min=1, help="Without NAME: leave bases that a run was prepared with in so many days.")
    ] = 30,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Delete old versions and what broken merges left; never the promoted version or the one before it.

    Without NAME also a cluster's copies of bases that no run uses any more, which come from the hub again.
    """
    registry, grace = open_registry(store), timedelta(minutes=grace_minutes)
    rows: list[dict[str, Any]] = []
    for model in [name] if name else registry.names():
        removals = registry.plan_gc(model, keep=keep, grace=grace)
        if not dry_run:
            registry.gc(model, removals)
        rows += [{"name": model, "version": r.version, "why": r.why, "bytes": r.bytes} for r in removals]
    bases = [] if name else unused_bases(registry.store, unused=timedelta(days=base_days), grace=grace)
    if not dry_run:
        delete_bases(registry.store, bases)
    word = "would delete" if dry_run else "deleted"
    lines = [f"{word} {row['name']} {row['version']}: {row['why']}, {row['bytes'] / 1e6:.1f} MB" for row in rows]
    lines += [f"{word} base {base.base} {base.commit}: {base.why}, {base.bytes / 1e6:.1f} MB" for base in bases]
    output.emit(json, {"removed": rows, "bases": [asdict(base) for base in bases], "dry_run": dry_run}, lines)
    if not lines:
        output.note("nothing to delete")


def _row(manifest: Manifest, promoted: str | None) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "promoted": manifest.version == promoted,
        "dialect": manifest.dialect,
        "base": f"{manifest.base.model}@{manifest.base.revision}" if manifest.base.revision else manifest.base.model,
        "bytes": manifest.size,
        "created_at": manifest.created_at.isoformat(timespec="seconds"),
    }
