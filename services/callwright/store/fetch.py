"""Brings versions, bases, adapters and corpora from a store to the node's cache: in parallel, and versions verified.

A version's files that are equal to those of another one in the cache are not fetched; they are verified likewise. A
file that arrives corrupt is fetched once more, then refused. The cache directory's layout is
`<cache>/<name>/<version>-<digest of what its manifest says of its files>/`.
"""

import hashlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from callwright.errors import CallwrightError, NotFound, StageFailed, Temporary, Unavailable
from callwright.progress import Advance, silent
from callwright.store.backend import Entry
from callwright.store.cache import MANIFEST, Cache
from callwright.store.cache_room import Bound
from callwright.store.documents import read_file
from callwright.store.manifest import PROMOTED, FileEntry, Manifest, checked_name, version_prefix
from callwright.store.model_folder import is_code, is_taken
from callwright.store.registry import Registry
from callwright.store.storage import Store

WEIGHTS = ".safetensors"
"""How the names of weights end."""
RANGE_BYTES = 8 * 1024 * 1024
"""Bytes of one request."""
REQUESTS_AT_ONCE = 8
"""Requests under way at once; with their size, the bound on memory."""
_log = logging.getLogger(__name__)


def fetch(
    store: Store,
    name: str,
    version: str = PROMOTED,
    cache_dir: Path = Path(".callwright/cache"),
    *,
    weights: bool = True,
    bound: Bound | None = None,
    on_bytes: Advance = silent,
) -> Path:
    """Return a local directory with the files of a version and its manifest, every one verified against the manifest;
    those but its `weights`, where an engine reads these from the store.

    What the cache has is compared with the manifest, and fetched anew where it differs; while the store does not answer
    with the manifest that lies beside it. It stays while this process lives. Raises `NotFound` for a version that is
    not whole, `StageFailed` for a file that is corrupt twice, `InvalidInput` where it has no room, `Unavailable` when
    the store does not answer and the cache has not all of it.
    """
    try:
        manifest = Registry(store).manifest(name, version)
    except Temporary as error:
        if (cached := cached_manifest(cache_dir, name, version)) is None:
            raise
        manifest = cached
        _log.warning("%s; %s %s is compared with its manifest in the cache %s", error, name, version, cache_dir)
    files = served_files(manifest, weights=weights)
    cache = Cache(cache_dir, bound)

    def fill(staged: Path) -> None:
        (staged / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
        download = _Download(store, version_prefix(manifest.name, manifest.version), cache, staged, on_bytes)
        if bad := download.run({path: entry.size for path, entry in files.items()}, files):
            raise StageFailed(
                f"fetching {manifest.name} {manifest.version}: corrupt twice: {', '.join(sorted(bad))}; "
                f"run `callwright models verify {manifest.name} {manifest.version}` and merge again"
            )

    return cache.entry(
        f"{manifest.name}/{manifest.version}-{_content_digest(manifest)}{'' if weights else '-without-weights'}",
        fill,
        changed=partial(_changed, manifest=manifest, files=files),
    )


def served_files(manifest: Manifest, *, weights: bool = True) -> dict[str, FileEntry]:
    """Return the files of a version that are fetched: neither Python nor pickles, and its `weights` where asked for."""
    return {
        path: entry
        for path, entry in manifest.files.items()
        if not is_code(path) and (weights or not path.endswith(WEIGHTS))
    }


def differing(folder: Path, files: Mapping[str, FileEntry], paths: Iterable[str]) -> str | None:
    """Return the first of `paths` below `folder` that is none of `files`, gone, no file or changed; None if all are
    whole.
    """
    for path in paths:
        here, entry = folder / path, files.get(path)
        try:
            found = here.lstat()
            regular = stat.S_ISREG(found.st_mode)
            if entry is None or not regular or found.st_size != entry.size or FileEntry.of(here) != entry:
                return path
        except OSError:
            return path
    return None


def cached_manifest(cache_dir: Path, name: str, version: str) -> Manifest | None:
    """Return the manifest of a version that the cache has; the newest of a version that was made again."""
    found = []
    for folder in cache_dir.joinpath(checked_name(name, what="model")).glob("*"):
        with suppress(CallwrightError, ValueError):
            manifest = Manifest.model_validate_json(read_file(folder / MANIFEST))
            if (manifest.name, manifest.version) == (name, version):
                found.append(manifest)
    return max(found, key=lambda each: each.created_at, default=None)


def cached_paths(folder: Path) -> set[str]:
    """Return what lies in a cached version's folder beside its manifest: a loader takes some files by their names
    alone.
    """
    below = (Path(top, name) for top, folders, names in os.walk(folder) for name in (*folders, *names))
    found = {path.relative_to(folder).as_posix() for path in below if path.is_symlink() or not path.is_dir()}
    return found - {MANIFEST}


def _changed(folder: Path, manifest: Manifest, files: Mapping[str, FileEntry]) -> str | None:
    """Return the first file of a cached version that is not what was published."""
    with suppress(CallwrightError, ValueError):
        cached = Manifest.model_validate_json(read_file(folder / MANIFEST))
        if _content_digest(cached) == _content_digest(manifest):
            return differing(folder, files, cached_paths(folder) | files.keys())
    return MANIFEST


def _content_digest(manifest: Manifest) -> str:
    # Without the metrics: an evaluation that is recorded later changes none of the files.
    document = manifest.model_dump_json(exclude={"metrics"})
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def fetch_folder(
    store: Store, prefix: str, cache_dir: Path, label: str, *, weights: bool = True, bound: Bound | None = None
) -> Path:
    """Return a local directory `<cache_dir>/<label>-<digest>` with the model's files below `prefix`, copied once; those
    but its `weights`, where these are not read.

    What is there decides the digest, so a folder that changes in place is copied anew. Raises `NotFound` for an empty
    one, `InvalidInput` where it has no room and `Unavailable` when the store does not answer.
    """
    listed, top = store.list(prefix), f"{prefix.rstrip('/')}/" if prefix else ""

    def taken(entries: list[Entry]) -> dict[str, Entry]:
        named = ((entry.key.removeprefix(top), entry) for entry in entries)
        return {path: entry for path, entry in named if is_taken(path) and (weights or not path.endswith(WEIGHTS))}

    if not taken(listed):
        raise NotFound(f"reading {store.url.rstrip('/')}/{prefix}: nothing there")
    state = [f"{store.url}/{prefix}", *(f"{entry.key} {entry.size} {entry.modified.isoformat()}" for entry in listed)]
    digest = hashlib.sha256(os.fsencode(chr(10).join(state))).hexdigest()[:16]
    name = f"{label}-{digest}{'' if weights else '-without-weights'}"
    cache = Cache(cache_dir, bound)
    return _copied(store, prefix, cache, name, taken(listed), lambda: taken(store.list(prefix)))


def fetch_file(store: Store, key: str, cache_dir: Path) -> Path:
    """Return a local copy of an object under its own name, `<cache_dir>/<digest>/<name>`, copied once; see
    `fetch_folder`.
    """
    entry = store.entry(key)
    folder, _, name = key.rpartition("/")
    state = f"{store.url}/{key} {entry.size} {entry.modified.isoformat()}"
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:24]
    return _copied(store, folder, Cache(cache_dir), digest, {name: entry}, lambda: {name: store.entry(key)}) / name


def _copied(
    store: Store,
    prefix: str,
    cache: Cache,
    name: str,
    entries: Mapping[str, Entry],
    look: Callable[[], Mapping[str, Entry]],
) -> Path:
    def fill(staged: Path) -> None:
        sizes = {path: entry.size for path, entry in entries.items()}
        _Download(store, prefix, cache, staged, silent).run(sizes, {})
        if look() != entries:
            raise Unavailable(f"copying {store.url.rstrip('/')}/{prefix}: it changed meanwhile; try again")

    return cache.entry(name, fill)


class _Download:
    """Objects below `prefix` on their way to the folder `staged` of a cache."""

    def __init__(self, store: Store, prefix: str, cache: Cache, staged: Path, on_bytes: Advance) -> None:
        self._store = store
        self._prefix = prefix
        self._cache = cache
        self._staged = staged
        self._on_bytes = on_bytes
        self._done = self._total = 0
        self._lock = threading.Lock()

    def run(self, sizes: Mapping[str, int], entries: Mapping[str, FileEntry]) -> set[str]:
        """Fetch the files of `sizes`, and check those in `entries`; returns the ones that came out wrong twice."""
        self._total = sum(sizes.values())
        bad = self._attempt(sizes, entries, self._cache.reserve(self._staged, sizes, entries))
        if not bad:
            return bad
        again = {path: sizes[path] for path in bad}
        return self._attempt(again, entries, self._cache.reserve(self._staged, again, {}))

    def _attempt(self, sizes: Mapping[str, int], entries: Mapping[str, FileEntry], here: set[str]) -> set[str]:
        self._tell(sum(sizes[path] for path in here), "")
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            futures = {path: self._parts(pool, path, 0 if path in here else size) for path, size in sizes.items()}
            try:
                # In this order: a file's second name comes after the first.
                return {path for path, parts in futures.items() if not self._whole(path, entries.get(path), parts)}
            finally:
                for parts in futures.values():
                    for part in parts:
                        part.cancel()

    def _parts(self, pool: ThreadPoolExecutor, path: str, size: int) -> "list[Future[None]]":
        starts = range(0, size, RANGE_BYTES)
        return [pool.submit(self._part, path, start, min(RANGE_BYTES, size - start)) for start in starts]

    def _part(self, path: str, start: int, length: int) -> None:
        key = f"{self._prefix}/{path}" if self._prefix else path
        with (self._staged / path).open("r+b") as file:  # buffered: a raw file may take a part of a block
            file.seek(start)
            for block in self._store.blocks(key, size=length, start=start, block_bytes=length):
                file.write(block)
        self._tell(length, path)

    def _tell(self, length: int, path: str) -> None:
        with self._lock:
            self._done += length
            self._on_bytes(min(self._done, self._total), self._total, path)

    def _whole(self, path: str, entry: FileEntry | None, parts: "list[Future[None]]") -> bool:
        for part in parts:
            part.result()
        with (self._staged / path).open("rb") as file:
            os.fsync(file.fileno())
        return entry is None or FileEntry.of(self._staged / path) == entry
