"""`callwright models …`: what the store has, whether it is whole, which version is promoted, and clearing away."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from callwright.cli import output
from callwright.cli.options import DryRunOption, JsonOption, StoreOption, in_bytes, store_url
from callwright.cli.promote import promote, rollback
from callwright.errors import StageFailed

if TYPE_CHECKING:
    from callwright.store import Manifest, Registry

app = typer.Typer(no_args_is_help=True, help="List, show, verify, promote, roll back and clear model versions.")
app.command("promote")(promote)
app.command("rollback")(rollback)

_Name = Annotated[str, typer.Argument(help="Model.")]


def _registry(store: str | None) -> "Registry":
    from callwright.store import Registry, Store

    return Registry(Store.open(store_url(store)))


@app.command("list")
def list_models(
    name: Annotated[str | None, typer.Argument(help="Model; all when absent.")] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """List models and their versions, oldest first."""
    registry = _registry(store)
    rows = []
    for model in [name] if name else registry.names():
        promoted = registry.promoted(model)
        rows += [_row(manifest, promoted) for manifest in registry.versions(model)]
    if json:
        output.emit_json(rows)
        return
    if not rows:
        output.note(f"no {'version of ' + name if name else 'models'} in {registry.store.url}")
    for row in rows:
        mark = "*" if row["promoted"] else " "
        line = f"{mark} {row['name']} {row['version']}  {row['bytes'] / 1e6:.1f} MB  {row['dialect']}  {row['base']}"
        output.out.print(f"{line}  {row['created_at']}", markup=False)


@app.command()
def show(
    name: _Name,
    version: Annotated[str, typer.Argument(help="Version.")] = "promoted",
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show a version's manifest."""
    registry = _registry(store)
    manifest = registry.manifest(name, version)
    promotion = registry.promotion(name)
    if json:
        output.emit_json(manifest.model_dump(mode="json"))
        return
    for key, value in _row(manifest, promotion.version if promotion else None).items():
        output.out.print(f"{key}: {value}", markup=False)
    for key in ("stop", "adapter_digest", "inputs_digest", "dtype", "metrics", "verification"):
        output.out.print(f"{key}: {manifest.model_dump(mode='json')[key]}", markup=False)
    for path, entry in manifest.files.items():
        output.out.print(f"  {entry.sha256[:12]}  {entry.size:>13,}  {path}", markup=False)


@app.command()
def verify(
    name: _Name,
    version: Annotated[str, typer.Argument(help="Version.")] = "promoted",
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Read every file of a version and compare it with its manifest; exit 1 when one is wrong."""
    registry = _registry(store)
    manifest = registry.manifest(name, version)
    with output.progress("verify") as advance:
        problems = registry.verify(name, manifest.version, on_bytes=in_bytes(advance))
    if json:
        output.emit_json({"name": name, "version": manifest.version, "whole": not problems, "problems": problems})
    if problems:
        found = "\n".join(f"  {problem}" for problem in problems)
        raise StageFailed(f"verifying {name} {manifest.version}: {len(problems)} files are wrong; merge again\n{found}")
    if not json:
        output.out.print(f"{name} {manifest.version} is whole: {len(manifest.files)} files", markup=False)


@app.command()
def gc(
    name: Annotated[str | None, typer.Argument(help="Model; all when absent.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Newest versions to keep.")] = 5,
    grace_minutes: Annotated[float, typer.Option(min=0, help="Leave what was written within this time.")] = 60.0,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Delete old versions and what broken merges left; never the promoted version or the one before it."""
    from datetime import timedelta

    registry = _registry(store)
    rows: list[dict[str, Any]] = []
    for model in [name] if name else registry.names():
        removals = registry.plan_gc(model, keep=keep, grace=timedelta(minutes=grace_minutes))
        if not dry_run:
            registry.gc(model, removals)
        rows += [{"name": model, "version": r.version, "why": r.why, "bytes": r.bytes} for r in removals]
    if json:
        output.emit_json({"removed": rows, "dry_run": dry_run})
        return
    word = "would delete" if dry_run else "deleted"
    for row in rows:
        output.out.print(
            f"{word} {row['name']} {row['version']}: {row['why']}, {row['bytes'] / 1e6:.1f} MB", markup=False
        )
    if not rows:
        output.note("nothing to delete")


def _row(manifest: "Manifest", promoted: str | None) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "promoted": manifest.version == promoted,
        "dialect": manifest.dialect,
        "base": f"{manifest.base.model}@{manifest.base.revision}" if manifest.base.revision else manifest.base.model,
        "bytes": manifest.size,
        "created_at": manifest.created_at.isoformat(timespec="seconds"),
    }
