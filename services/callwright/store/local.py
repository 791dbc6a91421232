"""The store in a folder (`file://`): atomic and durable writes, and compare-and-swap under a lock file.

Written without obstore's `LocalStore`, which offers neither a conditional update nor fsync: here an object is staged
as `name#<digits>` beside its place, synced, and renamed in. Names that end in `#<digits>` are therefore never objects.
Conditional writes hold the lock `lock#0` in the root.
"""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from callwright.errors import CallwrightError, Conflict, InvalidInput, NotFound, Unavailable
from callwright.store.backend import Buffer, Entry, Stored, Writer, etag_of, too_large
from callwright.store.documents import MAX_BYTES
from callwright.store.files import checked_file, locked, open_in_folder, sync_folder

STAGED = re.compile(r"#\d+$")
"""Names of what is being written, and of locks."""


class LocalBackend:
    """Objects as files below `root`, which is made on the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> Stored:
        with _explained("reading", self.root / key):
            path = self._place(key)
            if (size := path.stat().st_size) > MAX_BYTES:
                raise too_large(str(path), size)
            data = path.read_bytes()
        return Stored(data=data, etag=etag_of(data))

    def read_range(self, key: str, start: int, length: int) -> Buffer:
        with _explained("reading", self.root / key), self._place(key).open("rb", buffering=0) as file:
            file.seek(start)
            data = file.read(length)
        if not data:
            raise Unavailable(f"reading {self.root / key}: got nothing at byte {start}; expected {length} more bytes")
        return data

    def write(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
        if if_match is None and not if_absent:
            return self._write(key, data)
        with _explained("writing", self.root), locked(self.root / "lock#0"):
            self._check(key, if_match)
            return self._write(key, data)

    def writer(self, key: str) -> "LocalWriter":
        return LocalWriter(self._place(key))

    def entry(self, key: str) -> Entry | None:
        try:
            with _explained("reading", self.root / key):
                return self._entry(path) if (path := self._place(key)).is_file() else None
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[Entry]:
        top = self.root / prefix
        with _explained("listing", top):
            for folder, _, names in os.walk(top, onerror=_unless_absent):
                for name in names:
                    if not STAGED.search(name):
                        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                            yield self._entry(self._place(Path(folder, name).relative_to(self.root)))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with _explained("deleting", self.root / key):
                self._place(Path(key).parent)
                (self.root / key).unlink(missing_ok=True)
                self._prune((self.root / key).parent)

    def sweep(self, prefix: str) -> None:
        with _explained("deleting", self.root / prefix):
            for folder, _, names in os.walk(self.root / prefix, onerror=_unless_absent):
                for name in names:
                    if STAGED.search(name) and not name.endswith("#0"):
                        Path(folder, name).unlink(missing_ok=True)

    def _place(self, key: str | Path) -> Path:
        """Return the path of an object. Raises `InvalidInput` where a link leads out of the root, and for what is no
        file.
        """
        return checked_file(self.root / key, within=self.root)

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
        return Entry(key=path.relative_to(self.root).as_posix(), size=stat.st_size, modified=modified)

    def _prune(self, folder: Path) -> None:
        """Remove `folder` and its parents below the root as far as they hold nothing but staged leftovers."""
        while folder != self.root and folder.is_relative_to(self.root):
            try:
                names = os.listdir(folder)
                if not all(STAGED.search(name) for name in names):
                    return
                for name in names:
                    if not name.endswith("#0"):  # a lock, which another process may hold
                        (folder / name).unlink(missing_ok=True)
                folder.rmdir()
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.ENOENT):
                    return
                raise
            folder = folder.parent

    def _write(self, key: str, data: bytes) -> str:
        with self.writer(key) as writer:
            writer.write(data)
        return etag_of(data)

    def _check(self, key: str, if_match: str | None) -> None:
        try:
            found = self.read(key).etag
        except NotFound:
            found = None
        if found != if_match:
            state = "is there already" if if_match is None else "was changed or deleted by somebody else"
            raise Conflict(f"writing {self.root / key}: it {state}; read it again and decide anew")


class LocalWriter(Writer):
    """Stages a file beside its place; `commit` syncs it and renames it in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._staged = path.with_name(f"{path.name}#{secrets.randbelow(10**12) + 1}")
        with _explained("writing", path):
            self._handle = open_in_folder(self._staged, os.O_WRONLY | os.O_EXCL)

    def write(self, data: Buffer) -> None:
        rest = memoryview(data)
        with _explained("writing", self._path):
            while rest:
                rest = rest[os.write(self._handle, rest) :]

    def commit(self) -> None:
        with _explained("writing", self._path):
            os.fsync(self._handle)
            if hasattr(os, "posix_fadvise"):  # a model's pages would push out those that others need
                os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(self._handle)
            self._handle = -1
            os.replace(self._staged, self._path)
            sync_folder(self._path.parent)

    def abort(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._staged.unlink(missing_ok=True)


def _unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


@contextlib.contextmanager
def _explained(doing: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into one of ours that says what to do."""
    try:
        yield
    except CallwrightError:
        raise
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        if doing == "writing":
            raise InvalidInput(f"writing {path}: {error.strerror}; expected folders all the way to it") from None
        raise NotFound(f"{doing} {path}: {error.strerror}; expected a file") from None
    except PermissionError as error:
        advice = "choose another store with CALLWRIGHT_STORE or --store, or allow it"
        raise InvalidInput(f"{doing} {path}: {error.strerror}; {advice}") from None
    except OSError as error:
        if error.errno == errno.EROFS:
            raise InvalidInput(f"{doing} {path}: {error.strerror}; choose another store") from None
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise InvalidInput(f"{doing} {path}: {error.strerror}") from None
        raise Unavailable(f"{doing} {path}: {error.strerror}") from None
