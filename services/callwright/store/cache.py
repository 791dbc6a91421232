"""`Cache`: folders of a node that many processes use, that are there whole or not at all, and that make room.

An entry is a folder. Beside it lies its lock, `<name>#0`: whoever uses the entry has it shared until its process ends,
whoever brings the entry or takes it away has it alone. The kernel lets go of the locks of a process that dies. In the
lock stands a number that grows with each use of any entry, so that no clock says what was used longest ago. What comes
is named `<name>#part-…`, what goes `<name>#gone-…`. Names change under the lock of the whole cache alone; what a dead
process has left is cleared before anything else comes.

Files of equal SHA-256 are one file with several names (hard links). A file that comes has its whole length from the
start, sparse, which keeps others from the room that it needs.
"""

import contextlib
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from callwright.errors import CallwrightError, InvalidInput
from callwright.store.cache_room import COMING, GOING, NAMES, Bound, beside, lock_of, make_room, remove, survey
from callwright.store.documents import read_file
from callwright.store.files import checked_file, is_at, let_go, locked, locked_now, open_in_folder, sync_folder
from callwright.store.manifest import FileEntry, Manifest
from callwright.store.paths import checked_paths

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)
_HELD: dict[Path, list[int]] = {}
"""Locks of the entries that this process uses."""


class Cache:
    """The entries below `folder`, shared with every other process that uses the folder."""

    def __init__(self, folder: Path, bound: Bound | None = None) -> None:
        self.folder = folder
        self._bound = bound or Bound()

    def entry(
        self,
        name: str,
        fill: Callable[[Path], object],
        *,
        changed: Callable[[Path], str | None] = lambda folder: None,
    ) -> Path:
        """Return the folder `name`, which is this process's to use until it ends or calls `release`.

        One that is not there is brought by `fill`, which gets an empty folder; one in which `changed` finds a file is
        brought again. Whoever else wants it waits. Raises `InvalidInput` where it has no room, or the cache cannot be
        used.
        """
        target = self.folder / name
        try:
            while True:
                handle, state = self._take(target)
                match state:
                    case "there":
                        if (path := changed(target)) is None:
                            return target
                        _log.warning("%s is not what was published; it is fetched again", target / path)
                        self._discard(target, handle)
                    case "coming":
                        try:
                            fcntl.flock(handle, fcntl.LOCK_SH)
                        finally:
                            let_go(handle)
                    case "absent":
                        self._bring(target, handle, fill)
                        return target
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES) and _is_there(target) and changed(target) is None:
                return target  # what nobody may write nobody takes away
            raise InvalidInput(f"using the cache {target.parent}: {error.strerror}; choose another directory") from None

    def hold(self, folder: Path) -> None:
        """Use an entry that another process has brought, if `folder` is one or a link to one. Raises `InvalidInput`."""
        target = folder.resolve()
        if target.is_relative_to(self.folder.resolve()) and lock_of(target).is_file():
            self.entry(str(target.relative_to(self.folder.resolve())), _gone)

    def reserve(self, staged: Path, sizes: Mapping[str, int], entries: Mapping[str, FileEntry]) -> set[str]:
        """Make the files of `sizes` below `staged`, each as long as it will be; of those in `entries`, the ones whose
        equals the cache has are further names of these. Returns which.

        Raises `InvalidInput`, and takes nothing away, where the others have no room.
        """
        linked: set[str] = set()
        with locked(self.folder / NAMES):
            known = _equal_files(entry.folder for entry in survey(self.folder).entries)
            for path, size in sizes.items():
                place, entry = staged / path, entries.get(path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
                if entry in known and _linked(known[entry], place):
                    linked.add(path)
                    continue
                with place.open("wb") as file:
                    file.truncate(size)
                if entry:
                    known[entry] = place
            needed = sum(size for path, size in sizes.items() if path not in linked)
            make_room(self.folder, self._bound, staged, needed)
        return linked

    def release(self) -> None:
        """Let go of everything that this process uses here; its children that were forked go on using it."""
        for target in [target for target in _HELD if target.is_relative_to(self.folder)]:
            for handle in _HELD.pop(target):
                os.close(handle)

    def _take(self, target: Path) -> tuple[int, Literal["there", "coming", "absent"]]:
        """Return the entry's lock: shared where the entry is there, alone where it is absent."""
        lock = lock_of(target)
        with locked(self.folder / NAMES):
            checked_file(target.parent, within=self.folder)
            while True:
                handle = open_in_folder(lock, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    if _is_there(target) and locked_now(handle, fcntl.LOCK_SH):
                        self._note_use(handle)
                        return _held(target, handle), "there"
                    if locked_now(handle, fcntl.LOCK_EX):
                        if os.path.lexists(target):  # a file or a link
                            target.rename(beside(target, GOING))
                        return handle, "absent"
                    if not locked_now(handle, fcntl.LOCK_SH):
                        return handle, "coming"
                    lock.unlink()  # of those who use a folder that somebody has taken away by hand
                except BaseException:
                    let_go(handle)
                    raise
                let_go(handle)

    def _discard(self, target: Path, handle: int) -> None:
        """Take away an entry that has changed, though it is in use, unless somebody else has done so already."""
        gone = beside(target, GOING)
        with locked(self.folder / NAMES):
            if is_at(lock_of(target), handle) and _is_there(target):
                target.rename(gone)
                lock_of(target).unlink()
        remove(gone)

    def _bring(self, target: Path, handle: int, fill: Callable[[Path], object]) -> None:
        staged = beside(target, COMING)
        try:
            staged.mkdir()
            fill(staged)
            with locked(self.folder / NAMES):
                staged.rename(target)
                sync_folder(target.parent)
                self._note_use(handle)
                fcntl.flock(handle, fcntl.LOCK_SH)
                _HELD.setdefault(target, []).append(handle)
        except BaseException:
            remove(staged)
            with contextlib.suppress(OSError), locked(self.folder / NAMES):
                lock_of(target).unlink()
            let_go(handle)
            raise

    def _note_use(self, handle: int) -> None:
        number = survey(self.folder).last_use + 1
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(number).encode(), 0)


def _held(target: Path, handle: int) -> int:
    """Return the lock by which this process uses the entry from now on: one that it has, or `handle`."""
    held = _HELD.setdefault(target, [])
    for other in held:
        if os.path.samestat(os.fstat(other), os.fstat(handle)):
            let_go(handle)
            return other
    held.append(handle)
    return handle


def _gone(staged: Path) -> None:
    raise InvalidInput(f"using {staged.name.partition(COMING)[0]} of the cache: it has been evicted; fetch it again")


def _is_there(target: Path) -> bool:
    return target.is_dir() and not target.is_symlink()


def _equal_files(folders: Iterable[Path]) -> dict[FileEntry | None, Path]:
    """Return files of cached versions by what their manifests say of them, which nobody has compared yet."""
    found: dict[FileEntry | None, Path] = {}
    for folder in folders:
        with contextlib.suppress(CallwrightError, ValueError):
            files = Manifest.model_validate_json(read_file(folder / MANIFEST)).files
            checked_paths(files, where=str(folder / MANIFEST))
            found |= {entry: folder / path for path, entry in files.items()}
    return found


def _linked(source: Path, place: Path) -> bool:
    """Give the file `source` a further name, `place`; False where it is no file, or its disk has no further names."""
    try:
        if not stat.S_ISREG(source.lstat().st_mode):
            return False
        os.link(source, place, follow_symlinks=False)
    except OSError:
        return False
    return True
