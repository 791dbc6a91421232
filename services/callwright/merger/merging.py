"""The merge of an adapter into its base: plan, write shard by shard into the store, verify, publish.

Runs these steps in order. Three things make a merge safe to kill at any point: a claim on the version, a journal of the
files that are whole, and the manifest, which is written last. A second run continues and ends with the same bytes.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from callwright.errors import Conflict, InvalidInput, NotFound
from callwright.merger.adapter import Adapter, open_adapter
from callwright.merger.checkpoint import (
    Checkpoint,
    fingerprint,
    open_checkpoint,
    read_from,
    read_local,
    stored_tensors,
)
from callwright.merger.companions import companions, listed_special_tokens
from callwright.merger.plan import MergePlan, plan_merge
from callwright.merger.shards import write_shards
from callwright.progress import Advance, silent
from callwright.spec.model import Merge
from callwright.store import BaseModelRef, FileEntry, Manifest, Parity, Registry, Store, Template, Verification, claimed
from callwright.store.claim import Claim
from callwright.store.documents import read_object
from callwright.store.manifest import manifest_key, version_prefix
from callwright.store.registry import CLAIM

_DEFAULTS = Merge()
_JOURNAL = "merge.json"
MeasureParity = Callable[[Mapping[str, bytes | Path]], Parity]
"""Compares the prompts that a version's files besides weights make with those of training."""


@dataclass(frozen=True)
class Inputs:
    """An adapter and its base, read by their headers, and the plan to merge them."""

    base: Checkpoint
    adapter: Adapter
    plan: MergePlan
    files: Mapping[str, bytes | Path]
    """What the version has besides weights."""

    @property
    def digest(self) -> str:
        """sha256 over everything that decides the version's bytes."""
        digest = hashlib.sha256(f"{self.adapter.digest} {self.plan.digest}\n".encode())
        digest.update(fingerprint(self.base.tensors.values()).encode())
        for name, content in self.files.items():
            digest.update(name.encode())
            digest.update(content if isinstance(content, bytes) else content.read_bytes())
        return digest.hexdigest()


def read_inputs(
    base_dir: Path,
    adapter_dir: Path,
    *,
    dtype: str = "base",
    shard_bytes: int = _DEFAULTS.shard_bytes,
    apart: bool = True,
) -> Inputs:
    """Read base and adapter and plan their merge, writing nothing. Raises `NotFound` and `InvalidInput`."""
    base, adapter = open_checkpoint(base_dir), open_adapter(adapter_dir)
    plan = plan_merge(base, adapter, dtype=dtype, shard_bytes=shard_bytes, apart=apart)
    return Inputs(base=base, adapter=adapter, plan=plan, files=companions(base_dir, adapter_dir, plan))


def merge(
    *,
    base_dir: Path,
    adapter_dir: Path,
    store: Store,
    name: str,
    version: str,
    dialect: str,
    stop: tuple[str, ...],
    base: BaseModelRef | Mapping[str, str | None],
    dtype: str = "base",
    shard_bytes: int = _DEFAULTS.shard_bytes,
    metrics: Mapping[str, Any] | None = None,
    tolerance: float | None = _DEFAULTS.tolerance,
    template: Template | None = None,
    measure_parity: MeasureParity | None = None,
    on_progress: Advance = silent,
) -> Manifest:
    """Merge the PEFT adapter of `adapter_dir` into the base of `base_dir` and publish it as a version of `name`.

    Nothing is visible before all of it is whole and, unless `tolerance` is None, found equal to base + adapter within
    it; `measure_parity` then gives the manifest its figure. A merge that was cut short goes on with what is whole; one
    that has been published is returned as it is. Raises `NotFound` and `InvalidInput` for inputs that cannot be merged,
    `Conflict` when another process writes this version or the version exists and came of other inputs, `StageFailed`
    when the check fails.
    """
    inputs = read_inputs(base_dir, adapter_dir, dtype=dtype, shard_bytes=shard_bytes)
    draft = Manifest(
        name=name,
        version=version,
        dialect=dialect,
        stop=stop,
        special_tokens=listed_special_tokens(inputs.files),
        base=BaseModelRef.model_validate(base),
        adapter_digest=inputs.adapter.digest,
        inputs_digest=inputs.digest,
        dtype=dtype,
        files={},
        metrics=dict(metrics or {}),
        template=template,
        created_at=datetime.now(UTC),
    )
    # Before what comes of the base alone stood apart, a version of the same inputs had another digest.
    together = read_inputs(base_dir, adapter_dir, dtype=dtype, shard_bytes=shard_bytes, apart=False)
    digests = {inputs.digest, together.digest}
    if published := _published(store, draft, digests):
        return published
    with claimed(store, f"{version_prefix(name, version)}/{CLAIM}") as claim:
        # Somebody may have published it just before the claim.
        return _published(store, draft, digests) or _Merge(
            inputs, store, draft, claim, measure_parity, on_progress
        ).run(tolerance)


def _published(store: Store, draft: Manifest, digests: Collection[str]) -> Manifest | None:
    """Return the version in the store that was made of the same inputs, by one of their `digests`, if any. Raises
    `Conflict` for one made of others.
    """
    if not store.exists(manifest_key(draft.name, draft.version)):
        return None
    there = Registry(store).manifest(draft.name, draft.version)
    if there.inputs_digest in digests and (there.dialect, there.stop) == (draft.dialect, draft.stop):
        return there
    raise Conflict(
        f"merging {draft.name} {draft.version}: the version exists and was made from another adapter, base or setting; "
        "choose another version"
    )


@dataclass
class _Merge:
    """One merge under way, by the process that holds the version's claim."""

    inputs: Inputs
    store: Store
    draft: Manifest
    claim: Claim
    measure_parity: MeasureParity | None
    on_progress: Advance
    whole: dict[str, FileEntry] = field(default_factory=dict)
    """Files that are in the store, whole."""

    @property
    def prefix(self) -> str:
        return version_prefix(self.draft.name, self.draft.version)

    def run(self, tolerance: float | None) -> Manifest:
        """Write what is not whole yet, verify everything, publish it."""
        self._resume()
        self._write_companions()
        self._write_shards()
        return self._publish(None if tolerance is None else self._verify(tolerance))

    def _resume(self) -> None:
        """Continue a merge of the same inputs that was cut short; clear away what a merge of others left."""
        try:
            journal = read_object(self.store.get_bytes(f"{self.prefix}/{_JOURNAL}"), _JOURNAL)
            entries = {path: FileEntry.model_validate(entry) for path, entry in journal["files"].items()}
            same = journal["inputs_digest"] == self.draft.inputs_digest
        except (NotFound, InvalidInput, ValueError, KeyError, TypeError, AttributeError):
            same, entries = False, {}
        there = {entry.key.removeprefix(f"{self.prefix}/"): entry.size for entry in self.store.list(self.prefix)}
        if same:
            self.whole = {path: entry for path, entry in entries.items() if there.get(path) == entry.size}
        stale = [path for path in there if path not in self.whole and path not in (CLAIM, _JOURNAL)]
        self.store.delete_keys([f"{self.prefix}/{path}" for path in stale])
        self.store.sweep(self.prefix)

    def _write_companions(self) -> None:
        for path, content in self.inputs.files.items():
            if path not in self.whole:
                data = content if isinstance(content, bytes) else content.read_bytes()
                self.store.put_bytes(f"{self.prefix}/{path}", data)
                self.whole[path] = FileEntry.of(data)
        self._write_journal()

    def _write_shards(self) -> None:
        plan, lock = self.inputs.plan, threading.Lock()
        left = [shard for shard in plan.shards if shard.file not in self.whole]
        done = plan.nbytes - sum(shard.nbytes for shard in left)

        def advance(nbytes: int) -> None:
            nonlocal done
            with lock:
                done += nbytes
                self.on_progress(done, plan.nbytes, "merging")

        def note(file: str, entry: FileEntry) -> None:
            with lock:
                self.whole[file] = entry
                self._write_journal()

        write_shards(left, self.store, self.prefix, on_bytes=advance, before_commit=self.claim.check, after_commit=note)

    def _write_journal(self) -> None:
        files = {path: entry.model_dump() for path, entry in self.whole.items()}
        document = {"inputs_digest": self.draft.inputs_digest, "files": files}
        self.store.put_bytes(f"{self.prefix}/{_JOURNAL}", json.dumps(document).encode())

    def _verify(self, tolerance: float) -> Verification:
        from callwright.merger.verification import Comparison, Weights, verify  # needs transformers and PEFT

        self.on_progress(self.inputs.plan.nbytes, self.inputs.plan.nbytes, "verifying")
        base, tokenizer = self.inputs.base, self.inputs.files.get("tokenizer.json")
        config = read_object(self.store.get_bytes(f"{self.prefix}/config.json"), "the version's config.json")
        merged = stored_tensors(self.store, self.prefix, self.whole)
        comparison = Comparison(
            base=Weights(base.config, base.tensors, read_local),
            merged=Weights(config, merged, read_from(self.store)),
            adapter_dir=self.inputs.adapter.folder,
            base_dir=base.folder,
            merged_dir=self._local_copy,
        )
        return verify(comparison, tolerance=tolerance, tokenizer=tokenizer if isinstance(tokenizer, Path) else None)

    def _publish(self, verification: Verification | None) -> Manifest:
        made = {
            "files": dict(sorted(self.whole.items())),
            "created_at": datetime.now(UTC),
            "verification": verification,
            "parity": self.measure_parity(self.inputs.files) if self.measure_parity else None,
        }
        self.claim.check()
        manifest = Registry(self.store).publish(self.draft.model_copy(update=made))
        self.store.delete_keys([f"{self.prefix}/{_JOURNAL}"])
        return manifest

    def _local_copy(self, folder: Path) -> Path:
        if self.store.root is not None:
            return self.store.root / self.prefix
        self.store.get_tree(self.prefix, folder)
        return folder
