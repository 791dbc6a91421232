"""A version of a model, brought to a node-local cache: in parallel, verified, and there all at once or not at all.

Whoever comes second to the same version waits for the first. A file that arrives corrupt is fetched once more, then
refused. Owns the cache directory's layout: `<cache>/<name>/<version>-<digest of what its manifest says of its files>/`.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from callwright.errors import InvalidInput, StageFailed
from callwright.store.local import make_folder, sync_folder
from callwright.store.manifest import PROMOTED, FileEntry, Manifest, version_prefix
from callwright.store.registry import OnBytes, Registry
from callwright.store.storage import Store

RANGE_BYTES = 8 * 1024 * 1024
"""Bytes of one request."""
REQUESTS_AT_ONCE = 8
"""Requests under way at once; with their size, the bound on memory."""


def fetch(
    store: Store,
    name: str,
    version: str = PROMOTED,
    cache_dir: Path = Path(".callwright/cache"),
    *,
    on_bytes: OnBytes | None = None,
) -> Path:
    """A local directory with the files of a version and its manifest, every one verified against the manifest.

    Returns at once when the cache has it. Raises `NotFound` for a version that is not whole, `StageFailed` for a file
    that is corrupt twice, `Unavailable` when the store does not answer.
    """
    manifest = Registry(store).manifest(name, version)
    target = cache_dir / name / f"{manifest.version}-{_content_digest(manifest)}"
    if target.is_dir():
        return target
    with exclusively(target):
        if not target.is_dir():
            with published(target) as staged:
                _Download(store, manifest, staged, on_bytes).run()
                (staged / "manifest.json").write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    return target


def _content_digest(manifest: Manifest) -> str:
    # Without the metrics: an evaluation that is recorded later changes none of the files.
    document = manifest.model_dump_json(exclude={"metrics"})
    return hashlib.sha256(document.encode()).hexdigest()[:12]


@contextlib.contextmanager
def exclusively(target: Path) -> Iterator[None]:
    """Hold the lock on `target` during the block, after waiting for whoever holds it; a dead process holds nothing."""
    try:
        make_folder(target.parent)
        handle = os.open(target.parent / f"{target.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InvalidInput(f"using the cache {target.parent}: {error.strerror}; choose another directory") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def published(target: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `target` by rename when the block succeeds, and vanishes when it fails.

    Call it under `exclusively(target)`: what a dead process left is cleared first.
    """
    for left in target.parent.glob(f"{target.name}.part-*"):
        shutil.rmtree(left, ignore_errors=True)
    staged = target.with_name(f"{target.name}.part-{secrets.token_hex(4)}")
    try:
        staged.mkdir()
        yield staged
        staged.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise InvalidInput(f"using the cache {target.parent}: {error.strerror}; choose another directory") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@dataclass
class _File:
    path: str
    entry: FileEntry
    left: int
    """Requests still to come."""


class _Download:
    """The files of one version on their way to `folder`."""

    def __init__(self, store: Store, manifest: Manifest, folder: Path, on_bytes: OnBytes | None) -> None:
        self._store = store
        self._manifest = manifest
        self._folder = folder
        self._on_bytes = on_bytes
        self._done = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        bad = self._attempt(self._manifest.files)
        if bad:
            bad = self._attempt(bad)
        if bad:
            raise StageFailed(
                f"fetching {self._manifest.name} {self._manifest.version}: corrupt twice: {', '.join(sorted(bad))}; "
                f"run `callwright models verify {self._manifest.name} {self._manifest.version}` and merge again"
            )

    def _attempt(self, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        """Fetch and check `files`; returns those that came out wrong."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            futures = {path: self._file(pool, path, entry) for path, entry in files.items()}
            try:
                return {path: files[path] for path, parts in futures.items() if not self._whole(path, parts)}
            finally:
                for parts in futures.values():
                    for part in parts:
                        part.cancel()

    def _file(self, pool: ThreadPoolExecutor, path: str, entry: FileEntry) -> "list[Future[None]]":
        place = self._folder / path
        if not place.resolve().is_relative_to(self._folder.resolve()):
            raise StageFailed(f"fetching {self._manifest.name}: its manifest names {path!r}, which is outside of it")
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.truncate(entry.size)
        starts = range(0, entry.size, RANGE_BYTES)
        return [pool.submit(self._part, path, start, min(RANGE_BYTES, entry.size - start)) for start in starts]

    def _part(self, path: str, start: int, length: int) -> None:
        key = f"{version_prefix(self._manifest.name, self._manifest.version)}/{path}"
        with (self._folder / path).open("r+b", buffering=0) as file:
            file.seek(start)
            for block in self._store.blocks(key, size=length, start=start, block_bytes=length):
                file.write(block)
        with self._lock:
            self._done += length
            if self._on_bytes:
                self._on_bytes(min(self._done, self._manifest.size), self._manifest.size, path)

    def _whole(self, path: str, parts: "list[Future[None]]") -> bool:
        for part in parts:
            part.result()
        with (self._folder / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        return digest == self._manifest.files[path].sha256
