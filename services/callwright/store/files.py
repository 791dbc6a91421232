"""Files of this machine: folders that are made durably, and locks between processes.

A lock is a file that its holder has locked with flock(2) and that names the holder. The kernel lets go of the lock of
a process that dies. Network file systems that support flock are safe too.
"""

import contextlib
import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from callwright.errors import InvalidInput

_PRIVATE = 0o600
"""Mode of files that nobody else may read."""


class HeldError(Exception):
    """A lock is held by somebody else; the message names the holder."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock `path` during the block and remove its file afterwards: `with locked(folder / "x.lock"): ...`.

    Waits for the holder; with `wait=False` raises `HeldError` instead. Raises `OSError` where the file cannot be made.
    """
    while True:
        handle = open_in_folder(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if wait:
                fcntl.flock(handle, fcntl.LOCK_EX)
            elif not locked_now(handle, fcntl.LOCK_EX):
                raise HeldError(os.pread(handle, 200, 0).decode(errors="replace") or "another process")
            if not is_at(path, handle):
                continue  # the previous holder has removed this file, so nobody else would see the lock
            try:
                os.ftruncate(handle, 0)
                os.write(handle, this_process().encode())
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            return
        finally:
            let_go(handle)


def locked_now(handle: int, mode: int) -> bool:
    """Lock an open file, `LOCK_SH` or `LOCK_EX`, if nobody stands in the way; returns whether it is."""
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def let_go(handle: int) -> None:
    """Unlock and close an open file; a child that was forked meanwhile has it too."""
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def checked_file(path: Path, *, within: Path) -> Path:
    """`path`, if it is a regular file or a folder, or is not there, and no link leads out of the folder `within`.

    Raises `InvalidInput`, by name, and `OSError`.
    """
    try:
        real = path.resolve()
    except RuntimeError:
        raise InvalidInput(f"reading {path}: its links lead in a circle; expected a file") from None
    if not real.is_relative_to(within.resolve()):
        raise InvalidInput(f"reading {path}: it is a link to {real}; expected a file within {within}; copy it there")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(mode := real.stat().st_mode) and not stat.S_ISDIR(mode):
            raise InvalidInput(f"reading {path}: it is neither a file nor a folder; take it away")
    return path


def this_process() -> str:
    """Return the name that a lock shows others for its holder, this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def open_in_folder(path: Path, flags: int) -> int:
    """Open `path` with `flags`, creating it and its folder, also while somebody removes empty folders."""
    attempts = 10
    while True:
        try:
            make_folder(path.parent)
            return _opened(path, flags)
        except FileNotFoundError:
            attempts -= 1
            if not attempts:
                raise


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, durably. Raises `OSError`."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    mode = file_mode()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if mode != _PRIVATE:
            # Who may read a folder may enter it; the group that it takes after its parent stays.
            os.chmod(folder, folder.stat().st_mode & 0o7000 | mode | (mode & 0o444) >> 2)
    sync_folder(folder.parent)


def file_mode() -> int:
    """Return the mode of the files that are made, from `CALLWRIGHT_FILE_MODE`; 0600 when absent. Raises
    `InvalidInput`.
    """
    told = os.environ.get("CALLWRIGHT_FILE_MODE", f"{_PRIVATE:o}")
    if not re.fullmatch(r"0?6[0-7]{2}", told):
        raise InvalidInput(f"CALLWRIGHT_FILE_MODE: got {told!r}; expected a file's mode such as 600 or 660")
    return int(told, 8) & 0o666


def _opened(path: Path, flags: int) -> int:
    mode = file_mode()
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if mode != _PRIVATE:
            os.fchmod(handle, mode)
        return handle
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_at(path: Path, handle: int) -> bool:
    """Return whether the open file is still the one under its name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
