"""`Store`: one object store behind one URL, the same for a folder and a bucket.

Chooses the backend, checks keys, and builds operations from those on single objects: trees, prefixes and whole
files. Knows nothing of models: those are the registry's.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.store.backend import Backend, Buffer, Entry, Stored, Writer
from callwright.store.files import checked_file, make_folder
from callwright.store.local import LocalBackend
from callwright.store.url import StoreURL

_KEY = re.compile(r"[^/\0]+(/[^/\0]+)*")
_BLOCK_BYTES = 8 * 1024 * 1024
PATIENCE_SECONDS = 180.0
"""How long a request that fails is tried again."""


class Store:
    """An object store. Keys are relative paths with `/` between their parts."""

    def __init__(self, url: str, backend: Backend) -> None:
        self.url = url
        """The URL it was opened with."""
        self.backend = backend

    @classmethod
    def open(cls, url: str, *, patience_seconds: float = PATIENCE_SECONDS, credentials: Path | None = None) -> Self:
        """Open the store at `url`: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…` or `memory://`.

        Nothing is sent or made before the first use. A request that fails for a reason that may pass is tried again
        for `patience_seconds`. `credentials` is a folder with a file for each, instead of the environment, see
        `callwright.store.credentials`. Raises `InvalidInput` for a URL that cannot be one.
        """
        parts = StoreURL.read(url)
        if parts.scheme == "file":
            return cls(url, LocalBackend(Path(parts.path)))
        from callwright.store.remote import RemoteBackend

        return cls(url, RemoteBackend(str(parts), patience_seconds=patience_seconds, credentials=credentials))

    @property
    def root(self) -> Path | None:
        """The folder that holds the objects, for a `file://` store."""
        return self.backend.root if isinstance(self.backend, LocalBackend) else None

    def read(self, key: str) -> Stored:
        """Return the object's bytes and etag. Raises `NotFound`."""
        return self.backend.read(_checked(key))

    def get_bytes(self, key: str) -> bytes:
        """Return the object's bytes. Raises `NotFound`."""
        return self.read(key).data

    def put_bytes(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
        """Write a small object and return its etag.

        With `if_match` only when its etag is still that one, with `if_absent` only when there is none: else `Conflict`.
        Where the outcome is not known the object is read back, and written again if it is as it was. An object that
        holds these very bytes counts as written by this call, whose answer may have been lost: put something of your
        own into what you write on a condition.
        """
        return self.backend.write(_checked(key), data, if_match=if_match, if_absent=if_absent)

    def writer(self, key: str) -> Writer:
        """Return a streaming write to `key` in bounded memory; use it in a `with`."""
        return self.backend.writer(_checked(key))

    def put_file(self, key: str, path: Path) -> None:
        """Copy the local file `path` to `key`, in blocks. Raises `NotFound` without the file."""
        if not path.is_file():
            raise NotFound(f"storing {key}: no file {path}")
        with path.open("rb") as file, self.writer(key) as writer:
            while block := file.read(_BLOCK_BYTES):
                writer.write(block)

    def get_file(self, key: str, path: Path) -> None:
        """Copy the object to the local file `path`, in blocks; a partial copy is left behind on failure."""
        entry = self.entry(key)
        make_folder(path.parent)
        with path.open("wb") as file:
            for block in self.blocks(key, size=entry.size):
                file.write(block)

    def blocks(self, key: str, *, size: int, start: int = 0, block_bytes: int = _BLOCK_BYTES) -> Iterator[Buffer]:
        """Yield the `size` bytes of an object from `start`, in order. Raises `Unavailable` when it has fewer."""
        end = start + size
        while start < end:
            data = self.backend.read_range(_checked(key), start, min(block_bytes, end - start))
            yield data
            start += len(data)

    def entry(self, key: str) -> Entry:
        """Size and time of the object. Raises `NotFound`."""
        entry = self.backend.entry(_checked(key))
        if entry is None:
            raise NotFound(f"reading {self.url.rstrip('/')}/{key}: not there")
        return entry

    def exists(self, key: str) -> bool:
        """Return whether an object with exactly this key exists."""
        return self.backend.entry(_checked(key)) is not None

    def list(self, prefix: str = "") -> list[Entry]:
        """Return the objects below the folder `prefix`, sorted by key; none when there is no such folder."""
        folder = _checked(prefix.rstrip("/")) if prefix else ""
        return sorted(self.backend.list(folder), key=lambda entry: entry.key)

    def delete(self, prefix: str) -> int:
        """Delete the object under this key and everything below it; returns how many objects there were."""
        keys = [entry.key for entry in self.list(prefix)]
        if self.exists(prefix.rstrip("/")):
            keys.append(prefix.rstrip("/"))
        self.backend.delete(keys)
        return len(keys)

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Delete exactly these objects, in this order; one that is not there is no error."""
        self.backend.delete([_checked(key) for key in keys])

    def sweep(self, prefix: str) -> None:
        """Clear away what killed writers left below `prefix`; only where nobody else can be writing."""
        self.backend.sweep(_checked(prefix))

    def put_tree(self, prefix: str, folder: Path) -> int:
        """Copy every file below `folder` to `prefix`; returns how many. Not atomic: write what marks it whole last."""
        if not folder.is_dir():
            raise NotFound(f"storing {prefix}: no folder {folder}")
        found = sorted(folder.rglob("*"))
        for path in found:
            if checked_file(path, within=folder).is_dir() and path.is_symlink():
                raise InvalidInput(f"storing {prefix}: {path} is a link to a folder; expected files; copy them there")
        paths = [path for path in found if path.is_file()]
        for path in paths:
            self.put_file(f"{prefix.rstrip('/')}/{path.relative_to(folder).as_posix()}", path)
        return len(paths)

    def get_tree(self, prefix: str, folder: Path, *, only: Callable[[str], bool] = lambda path: True) -> int:
        """Copy the objects below `prefix` into `folder`, those whose path below it is one for `only`.

        Returns how many. Raises `NotFound` when there are none.
        """
        below = {entry.key.removeprefix(prefix.rstrip("/") + "/"): entry for entry in self.list(prefix)}
        entries = {name: entry for name, entry in below.items() if only(name)}
        if not entries:
            raise NotFound(f"reading {self.url.rstrip('/')}/{prefix}: nothing there")
        for name, entry in entries.items():
            path = folder / name
            self.get_file(entry.key, path)
            if path.stat().st_size != entry.size:
                raise Unavailable(f"reading {entry.key}: got {path.stat().st_size} bytes; expected {entry.size}")
        return len(entries)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or any(part in (".", "..") for part in key.split("/")):
        raise InvalidInput(f"using the store: got the key {key!r}; expected names with / between them")
    return key
