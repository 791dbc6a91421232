"""Brings a version of a model to a node-local cache: in parallel, verified, and there all at once or not at all.

A second process that wants the same version waits for the first. A file that arrives corrupt is fetched once more, then
refused. The cache directory's layout is `<cache>/<name>/<version>-<digest of what its manifest says of its files>/`.
"""

import hashlib
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from callwright.errors import InvalidInput, StageFailed
from callwright.progress import Advance, silent
from callwright.store.files import locked, sync_folder
from callwright.store.manifest import PROMOTED, FileEntry, Manifest, version_prefix
from callwright.store.model_folder import is_code, is_taken
from callwright.store.registry import Registry
from callwright.store.storage import Store

_log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
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
    on_bytes: Advance = silent,
) -> Path:
    """Return a local directory with the files of a version and its manifest, every one verified against the manifest.

    What the cache has is compared with the manifest, and fetched anew where it differs. Raises `NotFound` for a version
    that is not whole, `StageFailed` for a file that is corrupt twice, `Unavailable` when the store does not answer.
    """
    manifest = Registry(store).manifest(name, version)
    target = cache_dir / name / f"{manifest.version}-{_content_digest(manifest)}"

    def fill(staged: Path) -> None:
        _Download(store, manifest, staged, on_bytes).run()
        (staged / _MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")

    if target.is_dir() and (changed := _changed(target, manifest)):
        _log.warning("%s is not what was published; fetching %s %s again", target / changed, name, manifest.version)
        with suppress(FileNotFoundError):  # another process was faster
            target.rename(target.with_name(f"{target.name}.part-{secrets.token_hex(4)}"))
    return _cached(target, fill)


def served_files(manifest: Manifest) -> dict[str, FileEntry]:
    """Return the files of a version that are fetched: neither Python nor pickles."""
    return {path: entry for path, entry in manifest.files.items() if not is_code(path)}


def differing(folder: Path, files: Mapping[str, FileEntry], paths: Iterable[str]) -> str | None:
    """Return the first of `paths` below `folder` that is none of `files`, gone, a link or changed; None if all are
    whole.
    """
    for path in paths:
        here, entry = folder / path, files.get(path)
        try:
            if entry is None or here.is_symlink() or here.stat().st_size != entry.size or FileEntry.of(here) != entry:
                return path
        except OSError:
            return path
    return None


def cached_paths(folder: Path) -> set[str]:
    """Return what lies in a cached version's folder beside its manifest: a loader takes some files by their names
    alone.
    """
    below = (Path(top, name) for top, folders, names in os.walk(folder) for name in (*folders, *names))
    found = {path.relative_to(folder).as_posix() for path in below if path.is_symlink() or not path.is_dir()}
    return found - {_MANIFEST}


def _changed(folder: Path, manifest: Manifest) -> str | None:
    """Return the first file of a cached version that is not what was published."""
    with suppress(OSError, ValueError):
        cached = Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
        if _content_digest(cached) == _content_digest(manifest):
            files = served_files(manifest)
            return differing(folder, files, cached_paths(folder) | files.keys())
    return _MANIFEST


def _content_digest(manifest: Manifest) -> str:
    # Without the metrics: an evaluation that is recorded later changes none of the files.
    document = manifest.model_dump_json(exclude={"metrics"})
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def fetch_folder(store: Store, prefix: str, cache_dir: Path, label: str) -> Path:
    """Return a local directory `<cache_dir>/<label>-<digest>` with the model's files below `prefix`, copied once.

    What is there decides the digest, so a folder that changes in place is copied anew. Raises `NotFound` for an empty
    one and `Unavailable` when the store does not answer.
    """
    state = [f"{store.url}/{prefix}"]
    state += (f"{entry.key} {entry.size} {entry.modified.isoformat()}" for entry in store.list(prefix))
    target = cache_dir / f"{label}-{hashlib.sha256(os.fsencode(chr(10).join(state))).hexdigest()[:16]}"
    return _cached(target, lambda staged: store.get_tree(prefix, staged, only=is_taken))


def fetch_file(store: Store, key: str, cache_dir: Path) -> Path:
    """Return a local copy of an object under its own name, `<cache_dir>/<digest>/<name>`, copied once; see
    `fetch_folder`.
    """
    entry = store.entry(key)
    name = key.rpartition("/")[2]
    state = f"{store.url}/{key} {entry.size} {entry.modified.isoformat()}"
    target = cache_dir / hashlib.sha256(os.fsencode(state)).hexdigest()[:24]
    return _cached(target, lambda staged: store.get_file(key, staged / name)) / name


def _cached(target: Path, fill: Callable[[Path], object]) -> Path:
    """Return `target`; if it does not exist, call `fill` once with an empty directory that becomes `target`.

    A second process waits for the first. Nothing is there before it is whole; what a dead process left is cleared.
    """
    if target.is_dir():
        return target
    try:
        with locked(target.with_name(f"{target.name}.lock")):
            if not target.is_dir():
                for left in target.parent.glob(f"{target.name}.part-*"):
                    shutil.rmtree(left, ignore_errors=True)
                with TemporaryDirectory(prefix=f"{target.name}.part-", dir=target.parent) as folder:
                    staged = Path(folder, "whole")
                    staged.mkdir()
                    fill(staged)
                    staged.rename(target)
                    sync_folder(target.parent)
    except OSError as error:
        raise InvalidInput(f"using the cache {target.parent}: {error.strerror}; choose another directory") from None
    return target


class _Download:
    """The files of one version on their way to `folder`."""

    def __init__(self, store: Store, manifest: Manifest, folder: Path, on_bytes: Advance) -> None:
        self._store = store
        self._manifest = manifest
        self._folder = folder
        self._on_bytes = on_bytes
        self._done = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        bad = self._attempt(served_files(self._manifest))
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
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.truncate(entry.size)
        starts = range(0, entry.size, RANGE_BYTES)
        return [pool.submit(self._part, path, start, min(RANGE_BYTES, entry.size - start)) for start in starts]

    def _part(self, path: str, start: int, length: int) -> None:
        key = f"{version_prefix(self._manifest.name, self._manifest.version)}/{path}"
        with (self._folder / path).open("r+b") as file:  # buffered: a raw file may take a part of a block
            file.seek(start)
            for block in self._store.blocks(key, size=length, start=start, block_bytes=length):
                file.write(block)
        with self._lock:
            self._done += length
            self._on_bytes(min(self._done, self._manifest.size), self._manifest.size, path)

    def _whole(self, path: str, parts: "list[Future[None]]") -> bool:
        for part in parts:
            part.result()
        with (self._folder / path).open("rb") as file:
            os.fsync(file.fileno())
        return FileEntry.of(self._folder / path) == self._manifest.files[path]
