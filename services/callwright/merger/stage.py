"""The merge stage of a run: brings adapter and base together from where the run left them, and merges.

Knows the FineTune document and the store's layout of a run; the merge itself is `merging`'s.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from callwright import dialects
from callwright.errors import InvalidInput, NotFound
from callwright.merger.merging import Advance, Inputs, merge, read_inputs
from callwright.spec import FineTune
from callwright.store import Manifest, Store, resolve_base


@dataclass(frozen=True)
class Source:
    """Where a run's merge reads from and writes to; both defaults are the run's own."""

    run: str
    """Name of the run whose adapter is merged."""
    version: str | None = None
    """Version to publish; the run's name when None."""
    adapter_dir: Path | None = None
    """A local adapter instead of the run's."""


def merge_run(
    finetune: FineTune,
    source: Source,
    *,
    store: Store,
    workdir: Path,
    verify: bool = True,
    on_progress: Advance | None = None,
) -> Manifest:
    """Merge a run's adapter and publish it as a version of the FineTune's model.

    Raises `NotFound` when the run has no adapter or the base is not there, and what `merge` raises.
    """
    with _inputs(finetune, source, store, workdir) as (base_dir, adapter_dir):
        return merge(
            base_dir=base_dir,
            adapter_dir=adapter_dir,
            store=store,
            name=finetune.model_name,
            version=source.version or source.run,
            dialect=finetune.spec.dialect,
            stop=tuple(dialects.load(finetune.spec.dialect).stop),
            base=finetune.spec.base.model_dump(),
            dtype=finetune.spec.merge.dtype,
            shard_bytes=finetune.spec.merge.shard_bytes,
            metrics=_metrics(store, source.run),
            tolerance=finetune.spec.merge.tolerance if verify else None,
            on_progress=on_progress,
        )


def plan_run(finetune: FineTune, source: Source, *, store: Store, workdir: Path) -> Inputs:
    """What `merge_run` would do. Raises what it raises about its inputs."""
    with _inputs(finetune, source, store, workdir) as (base_dir, adapter_dir):
        settings = finetune.spec.merge
        return read_inputs(base_dir, adapter_dir, dtype=settings.dtype, shard_bytes=settings.shard_bytes)


@contextmanager
def _inputs(finetune: FineTune, source: Source, store: Store, workdir: Path) -> Iterator[tuple[Path, Path]]:
    base_dir = resolve_base(finetune.spec.base.model, finetune.spec.base.revision, workdir / "cache")
    if source.adapter_dir is not None:
        yield base_dir, source.adapter_dir
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="adapter-", dir=workdir) as folder:
        try:
            store.get_tree(f"runs/{source.run}/adapter", Path(folder))
        except NotFound:
            raise NotFound(
                f"merging run {source.run}: no runs/{source.run}/adapter in {store.url}; train the run first"
            ) from None
        yield base_dir, Path(folder)


def _metrics(store: Store, run: str) -> dict[str, Any]:
    """What training reported, for the manifest; nothing where there is no report."""
    try:
        report = json.loads(store.get_bytes(f"runs/{run}/report.json"))
    except NotFound:
        return {}
    except ValueError as error:
        raise InvalidInput(f"merging run {run}: runs/{run}/report.json is no JSON: {error}") from None
    return {"train": report} if isinstance(report, dict) else {}
