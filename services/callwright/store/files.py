"""Files of this machine: folders that are made durably, and locks between processes.

A lock is a file that its holder has locked with flock(2) and that names the holder. The kernel lets go of the lock of
a process that dies. Network file systems that support flock are safe too.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path


class HeldError(Exception):
    """A lock is held by somebody else; the message names the holder."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock `path` during the block and remove its file afterwards: `with locked(folder / "x.lock"): ...`.

    Waits for the holder; with `wait=False` raises `HeldError` instead. Raises `OSError` where the file cannot be made.
    """
    while True:
        handle = open_in_folder(path, os.O_RDWR)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HeldError(os.pread(handle, 200, 0).decode(errors="replace") or "another process") from None
            if not _is_at(path, handle):
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
            os.close(handle)


def this_process() -> str:
    """The name that a lock shows others for its holder, this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def open_in_folder(path: Path, flags: int) -> int:
    """Open `path` with `flags`, creating it and its folder, also while somebody removes empty folders."""
    attempts = 10
    while True:
        try:
            make_folder(path.parent)
            return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o666)
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
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    """Whether the open file is still the one under its name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
