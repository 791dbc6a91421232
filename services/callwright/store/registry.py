"""`Registry`: the models of a store, their versions, and which of them is promoted.

Publishes versions (the manifest last, once), moves the promoted pointer by compare-and-swap, verifies and clears.
Does not know how a version's files are made or served.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from callwright.errors import CallwrightError, Conflict, GateFailed, InvalidInput, NotFound, StageFailed
from callwright.progress import Advance, silent
from callwright.store.backend import Entry
from callwright.store.claim import is_claimed
from callwright.store.documents import read_object
from callwright.store.manifest import (
    PROMOTED,
    FileEntry,
    Manifest,
    Promotion,
    evaluation_key,
    manifest_key,
    model_prefix,
    promotion_key,
    version_prefix,
)
from callwright.store.paths import checked_paths
from callwright.store.storage import Store

HISTORY = 50
"""Promotions remembered."""
CLAIM = "claim.json"
"""Claim below a version's prefix, held by the process that writes the version."""
_INTENT_AGE = timedelta(hours=1)
"""An older intent is of a process that has died: there are a few requests between its first and its last."""

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Removal:
    """One thing that `gc` deletes."""

    version: str
    why: str
    bytes: int


class Registry:
    """The models in `store`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def names(self) -> list[str]:
        """Models that have a version or a pointer, sorted."""
        keys = (entry.key.split("/") for entry in self.store.list("models"))
        return sorted(
            {parts[1] for parts in keys if len(parts) > 2 and parts[-1] in ("manifest.json", "promoted.json")}
        )

    def versions(self, name: str) -> list[Manifest]:
        """Whole versions of a model, oldest first; none for a model that is not there."""
        keys = [e.key for e in self.store.list(f"{model_prefix(name)}/versions") if e.key.count("/") == 4]
        manifests = [self._manifest(key) for key in keys if key.endswith("/manifest.json")]
        return sorted(manifests, key=lambda manifest: (manifest.created_at, manifest.version))

    def manifest(self, name: str, version: str = PROMOTED) -> Manifest:
        """Return the manifest of a version, or of the promoted one. Raises `NotFound`."""
        if version == PROMOTED:
            promoted = self.promoted(name)
            if promoted is None:
                raise NotFound(f"reading model {name}: no version is promoted; run `callwright promote {name} VERSION`")
            version = promoted
        try:
            return self._manifest(manifest_key(name, version))
        except NotFound:
            known = ", ".join(m.version for m in self.versions(name)) or "none"
            raise NotFound(f"reading model {name}: no version {version!r}; its versions: {known}") from None

    def publish(self, manifest: Manifest) -> Manifest:
        """Make a version visible, once: its files must be there already.

        Returns the manifest in the store: an equal version published before is returned as it is. Raises `Conflict`
        when another one holds the name.
        """
        key = manifest_key(manifest.name, manifest.version)
        checked_paths(manifest.files, where=key)
        try:
            self.store.put_bytes(key, _dumped(manifest), if_absent=True)
        except Conflict:
            there = self._manifest(key)
            if same_version(there, manifest):
                return there
            raise Conflict(
                f"publishing {manifest.name} {manifest.version}: the version exists and was made from another adapter, "
                f"base or setting; choose another version"
            ) from None
        return manifest

    def evaluation(self, name: str, version: str) -> dict[str, Any]:
        """Return the figures of a version's evaluation with the run that has the whole; empty where there are none."""
        key = evaluation_key(name, version)
        try:
            return read_object(self.store.get_bytes(key), key)
        except NotFound:
            recorded = self.manifest(name, version).metrics.get("evaluation")  # as earlier releases did
            return recorded if isinstance(recorded, dict) else {}

    def promoted(self, name: str) -> str | None:
        """Return the promoted version, None when there is none."""
        promotion = self._promotion(name)[0]
        return promotion.version if promotion else None

    def promotion(self, name: str) -> Promotion | None:
        """Return the promoted version with its history."""
        return self._promotion(name)[0]

    def promote(self, name: str, version: str, *, expect: str | None = "*") -> Promotion:
        """Point the model at `version` by compare-and-swap.

        With `expect` other than `*`, only when that version (None: no version) is the promoted one now. Raises
        `NotFound` for a version that is not whole, `GateFailed` as `promotable` does, and `Conflict` when somebody else
        was faster or `expect` fails.
        """
        manifest = self.promotable(name, version)
        now, etag = self._promotion(name)
        current = now.version if now else None
        if expect not in ("*", current):
            raise Conflict(
                f"promoting {name} {version}: {current or 'nothing'} is promoted; expected {expect or 'nothing'}"
            )
        if now is not None and current == manifest.version:
            return now
        history = (*now.history, now.version)[-HISTORY:] if now else ()
        return self._point(name, Promotion(version=manifest.version, history=history, promoted_at=_now()), etag)

    def promotable(self, name: str, version: str) -> Manifest:
        """Return the manifest of a version that may be promoted.

        Raises `NotFound`, and `GateFailed` for a version that would be served other prompts than it was trained on.
        """
        manifest = self.manifest(name, version)
        parity = manifest.parity
        if parity is not None and parity.equal != parity.prompts:
            raise GateFailed(
                f"promoting {name} {version}: got {parity.equal} of {parity.prompts} serving prompts as training saw "
                f"them; expected all; {parity.difference}; merge it again with the base's tokenizer and chat template"
            )
        return manifest

    def rollback(self, name: str, *, dry_run: bool = False) -> Promotion:
        """Point the model at the version that was promoted before, leaving out those that are gone.

        Raises `NotFound` when there is none.
        """
        now, etag = self._promotion(name)
        if now is None:
            raise NotFound(f"rolling back {name}: no version is promoted")
        history = list(now.history)
        while history:
            version = history.pop()
            if version != now.version and self.store.exists(manifest_key(name, version)):
                before = Promotion(version=version, history=tuple(history), promoted_at=_now())
                return before if dry_run else self._point(name, before, etag)
        raise NotFound(f"rolling back {name}: no version was promoted before {now.version}")

    def verify(self, name: str, version: str, *, on_bytes: Advance = silent) -> list[str]:
        """Read every file of a version and compare size and sha256; one line per problem, none when it is whole."""
        manifest = self.manifest(name, version)
        prefix = version_prefix(name, manifest.version)
        problems: list[str] = []
        done = 0
        for path, expected in sorted(manifest.files.items()):
            problem = self._file_problem(f"{prefix}/{path}", expected)
            if problem:
                problems.append(f"{path}: {problem}")
            done += expected.size
            on_bytes(done, manifest.size, path)
        return problems

    def plan_gc(self, name: str, *, keep: int, grace: timedelta = timedelta(hours=1)) -> list[Removal]:
        """Return what `gc` would delete: whole versions beyond the newest `keep`, and what broken merges left.

        Stay always: the promoted version and the one before it; whatever somebody is writing now, or was written
        within `grace`.
        """
        if keep < 0:
            raise InvalidInput(f"clearing {name}: got keep {keep}; expected 0 or more")
        promotion = self.promotion(name)
        held = {promotion.version, *promotion.history[-1:]} if promotion else set()
        whole = [manifest.version for manifest in self.versions(name)]
        newest = set(whole[len(whole) - keep :]) if keep else set()
        removals = []
        for version, entries in self._prefixes(name).items():
            size = sum(entry.size for entry in entries)
            if version in whole:
                if version not in held | newest:
                    removals.append(Removal(version, f"older than the newest {keep}", size))
            elif not self._busy(name, version, entries, grace):
                removals.append(Removal(version, "never finished: no manifest", size))
        return removals

    def gc(self, name: str, removals: list[Removal]) -> None:
        """Delete what `plan_gc` found; a version's manifest goes first, so that no partial version is ever visible.

        Raises `Conflict`, and leaves the version whole, where somebody has promoted it meanwhile, or is about to.
        """
        for removal in removals:
            with self._intent(name, removal.version, "clearing"):
                # In this order: who promotes takes the intent away once the pointer is written.
                if self._is_meant(name, removal.version, "promoting") or self.promoted(name) == removal.version:
                    raise Conflict(
                        f"clearing {name}: {removal.version} has been promoted meanwhile, or is being; plan again"
                    )
                self.store.delete_keys([manifest_key(name, removal.version)])
            self.store.delete_keys([evaluation_key(name, removal.version)])
            self.store.delete(version_prefix(name, removal.version))

    @contextlib.contextmanager
    def _intent(self, name: str, version: str, what: Literal["promoting", "clearing"]) -> Iterator[None]:
        """Say at a version what is about to be done with it, during the block.

        Whoever clears says so before looking for those who promote, and they before looking for those who clear: of two
        at once one sees the other at least, and does nothing. So a process that dies at any point leaves no pointer to
        a version that is gone. What it has said counts for a while, as where a request's outcome is not known.
        """
        key = f"{version_prefix(name, version)}/{what}/{secrets.token_hex(8)}.json"
        self.store.put_bytes(key, b"{}\n")
        try:
            yield
        except Conflict:
            self._take_back(key)
            raise
        self._take_back(key)

    def _take_back(self, intent: str) -> None:
        with contextlib.suppress(CallwrightError):  # what was to be done is done, or is told as it is
            self.store.delete_keys([intent])

    def _is_meant(self, name: str, version: str, what: Literal["promoting", "clearing"]) -> bool:
        entries = self.store.list(f"{version_prefix(name, version)}/{what}")
        return any(_now() - entry.modified < _INTENT_AGE for entry in entries)

    def _prefixes(self, name: str) -> dict[str, list[Entry]]:
        """Return the objects of every version, complete or not."""
        top = f"{model_prefix(name)}/versions/"
        found: dict[str, list[Entry]] = {}
        for entry in self.store.list(top):
            found.setdefault(entry.key.removeprefix(top).split("/")[0], []).append(entry)
        return found

    def _busy(self, name: str, version: str, entries: list[Entry], grace: timedelta) -> bool:
        if any(_now() - entry.modified < grace for entry in entries):
            return True
        return is_claimed(self.store, f"{version_prefix(name, version)}/{CLAIM}")

    def _file_problem(self, key: str, expected: FileEntry) -> str | None:
        try:
            entry = self.store.entry(key)
        except NotFound:
            return "missing"
        if entry.size != expected.size:
            return f"got {entry.size} bytes; expected {expected.size}"
        digest = hashlib.sha256()
        for block in self.store.blocks(key, size=entry.size):
            digest.update(block)
        if digest.hexdigest() != expected.sha256:
            return f"got sha256 {digest.hexdigest()}; expected {expected.sha256}"
        return None

    def _manifest(self, key: str) -> Manifest:
        manifest = _parsed(Manifest, self.store.get_bytes(key), key)
        checked_paths(manifest.files, where=key)
        if manifest_key(manifest.name, manifest.version) != key:
            raise StageFailed(f"reading {key}: it is the manifest of {manifest.name} {manifest.version}; merge again")
        return manifest

    def _promotion(self, name: str) -> tuple[Promotion | None, str | None]:
        key = promotion_key(name)
        try:
            stored = self.store.read(key)
        except NotFound:
            return None, None
        return _parsed(Promotion, stored.data, key), stored.etag

    def _point(self, name: str, promotion: Promotion, etag: str | None) -> Promotion:
        version = promotion.version
        with self._intent(name, version, "promoting"):
            if self._is_meant(name, version, "clearing") or not self.store.exists(manifest_key(name, version)):
                raise Conflict(
                    f"promoting {name} {version}: the version is being cleared away, or has been; look again"
                )
            try:
                self.store.put_bytes(promotion_key(name), _dumped(promotion), if_match=etag, if_absent=etag is None)
            except Conflict:
                raise Conflict(f"promoting {name} {version}: somebody else promoted just now; look again") from None
        return promotion


def same_version(one: Manifest, other: Manifest) -> bool:
    """Return whether two manifests stand for the same bytes, dialect and origin."""
    return (one.inputs_digest, one.adapter_digest, one.dialect, one.stop, one.files) == (
        other.inputs_digest,
        other.adapter_digest,
        other.dialect,
        other.stop,
        other.files,
    )


def _parsed(model: type[T], data: bytes, key: str) -> T:
    try:
        return model.model_validate(read_object(data, key, unique=True))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise StageFailed(f"reading {key}: {place}: {first['msg']}; it was not written by Callwright") from None


def _dumped(model: BaseModel) -> bytes:
    return (model.model_dump_json(indent=2) + "\n").encode()


def _now() -> datetime:
    return datetime.now(UTC)
