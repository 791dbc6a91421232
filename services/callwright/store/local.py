"""The store in a folder (`file://`): atomic and durable writes, and compare-and-swap under a lock file.

Written without obstore's `LocalStore`, which offers neither a conditional update nor fsync: here an object is staged
as `name#<digits>` beside its place, synced, and renamed in. Names that end in `#<digits>` are therefore never objects.
Conditional writes hold an fcntl lock on `lock#0` in the root: safe between the processes of one machine, and over
network file systems that support flock. The kernel drops the lock of a process that dies.
"""

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from callwright.errors import CallwrightError, Conflict, InvalidInput, NotFound, Unavailable
from callwright.store.objects import Buffer, Entry, Stored

_BLOCK_BYTES = 2 * 1024**2
"""How much goes to the disk at once, past the page cache."""
_DIRECT = getattr(os, "O_DIRECT", 0)

STAGED = re.compile(r"#\d+$")
"""Names of what is being written, and of locks."""


class LocalObjects:
    """Objects as files below `root`, which is made on the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> Stored:
        with _explained("reading", self.root / key):
            data = (self.root / key).read_bytes()
        return Stored(data=data, etag=_etag(data))

    def read_range(self, key: str, start: int, length: int) -> Buffer:
        with _explained("reading", self.root / key), (self.root / key).open("rb", buffering=0) as file:
            file.seek(start)
            data = file.read(length)
        if not data:
            raise Unavailable(f"reading {self.root / key}: got nothing at byte {start}; expected {length} more bytes")
        return data

    def write(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
        with self._locked() if if_match or if_absent else contextlib.nullcontext():
            if if_match or if_absent:
                self._check(key, if_match)
            with self.writer(key) as writer:
                writer.write(data)
        return _etag(data)

    def writer(self, key: str) -> "LocalWriter":
        return LocalWriter(self.root / key)

    def entry(self, key: str) -> Entry | None:
        try:
            with _explained("reading", self.root / key):
                return self._entry(self.root / key) if (self.root / key).is_file() else None
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[Entry]:
        top = self.root / prefix
        with _explained("listing", top):
            for folder, _, names in os.walk(top, onerror=_unless_absent):
                for name in names:
                    if not STAGED.search(name):
                        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                            yield self._entry(Path(folder, name))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with _explained("deleting", self.root / key):
                (self.root / key).unlink(missing_ok=True)
                self._prune((self.root / key).parent)

    def sweep(self, prefix: str) -> None:
        with _explained("deleting", self.root / prefix):
            for folder, _, names in os.walk(self.root / prefix, onerror=_unless_absent):
                for name in names:
                    if STAGED.search(name) and not name.endswith("#0"):
                        Path(folder, name).unlink(missing_ok=True)

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
                    if not name.endswith("#0"):  # a lock that somebody may hold
                        (folder / name).unlink(missing_ok=True)
                folder.rmdir()
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.ENOENT):
                    return
                raise
            folder = folder.parent

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with _explained("writing", self.root):
            make_folder(self.root)
            handle = os.open(self.root / "lock#0", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _check(self, key: str, if_match: str | None) -> None:
        try:
            found = self.read(key).etag
        except NotFound:
            found = None
        if found != if_match:
            state = "is there already" if if_match is None else "was changed or deleted by somebody else"
            raise Conflict(f"writing {self.root / key}: it {state}; read it again and decide anew")


class LocalWriter:
    """Stages a file beside its place; `commit` syncs it and renames it in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._staged = path.with_name(f"{path.name}#{secrets.randbelow(10**12) + 1}")
        self._block, self._filled = mmap.mmap(-1, _BLOCK_BYTES), 0  # a page's boundary is where direct writes begin
        self._begun = self._direct = False
        with _explained("writing", path):
            self._handle = self._open()

    def write(self, data: Buffer) -> None:
        rest = memoryview(data)
        while rest:
            count = min(len(rest), _BLOCK_BYTES - self._filled)
            self._block[self._filled : self._filled + count] = rest[:count]
            self._filled, rest = self._filled + count, rest[count:]
            if self._filled == _BLOCK_BYTES:
                with _explained("writing", self._path):
                    if not self._begun:
                        self._begun = True
                        self._set_direct(True)
                    self._write_block()

    def commit(self) -> None:
        with _explained("writing", self._path):
            self._set_direct(False)
            self._write_block()
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = -1
            os.replace(self._staged, self._path)
            sync_folder(self._path.parent)

    def abort(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            self._staged.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.abort()

    def _write_block(self) -> None:
        with memoryview(self._block) as block:
            rest = block[: self._filled]
            while rest:
                try:
                    rest = rest[os.write(self._handle, rest) :]
                except OSError as error:
                    if not self._direct or error.errno != errno.EINVAL:
                        raise
                    self._set_direct(False)  # the file system wants other boundaries
                    if self._direct:
                        raise
        self._filled = 0

    def _set_direct(self, direct: bool) -> None:
        """Write past the page cache or, where the file system can't, through it.

        The page cache costs more CPU than all the rest of a merge, and its pages would be some that others need.
        """
        if direct == self._direct or not _DIRECT:
            return
        with contextlib.suppress(OSError):
            flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags ^ _DIRECT)
            self._direct = direct

    def _open(self) -> int:
        for attempt in (1, 2, 3):
            make_folder(self._path.parent)
            try:
                return os.open(self._staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:  # somebody has just removed the empty folder
                if attempt == 3:
                    raise
        raise AssertionError("unreachable")


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, durably. Raises `OSError`."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
