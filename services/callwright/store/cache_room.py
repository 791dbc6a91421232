"""What lies in a node's cache, and what of it makes room: entries that nobody uses, used longest ago first.

Owns the names in a cache, which `cache` tells of. Call everything under the cache's own lock.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from callwright.errors import InvalidInput
from callwright.store.files import let_go, locked_now

NAMES = "cache#lock"
"""Lock of all names in a cache."""
COMING, GOING = "#part-", "#gone-"
_LOCK = "#0"
_BLOCK = 4096
"""What a file takes at least, and a multiple of which it takes."""
_log = logging.getLogger(__name__)
_Blocks = dict[tuple[int, int], int]
"""Bytes of files by device and inode: a file with several names counts once."""


@dataclass(frozen=True)
class Bound:
    """How large a cache may become before what nobody uses makes room."""

    most_bytes: int | None = None
    """Bytes of all its files; None for as many as its disk has room for."""
    free_bytes: int = 0
    """Bytes of its disk that stay free."""


@dataclass(frozen=True)
class Entry:
    folder: Path
    last_use: int
    blocks: _Blocks


@dataclass
class Survey:
    """What lies in a cache."""

    entries: list[Entry] = field(default_factory=list)
    coming: list[Path] = field(default_factory=list)
    going: list[Path] = field(default_factory=list)
    locks: list[Path] = field(default_factory=list)
    other: _Blocks = field(default_factory=dict)
    """Files of no entry: what comes, and what is not the cache's own."""
    unwritten: int = 0
    """Bytes of what comes that take no room on the disk as yet."""

    @property
    def last_use(self) -> int:
        """The number of the last use of any entry."""
        return max(map(_last_use, self.locks), default=0)


def lock_of(entry: Path) -> Path:
    """Return the path of an entry's lock."""
    return entry.with_name(entry.name + _LOCK)


def beside(entry: Path, mark: str) -> Path:
    """Return a new name for what is `COMING` to be the entry, or was it and is `GOING`."""
    return entry.with_name(f"{entry.name}{mark}{secrets.token_hex(4)}")


def remove(path: Path) -> None:
    """Remove a folder, a file or a link, as far as it can be."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def survey(folder: Path) -> Survey:
    """Return what lies in the cache `folder`. Entries are in it, or in one folder of it; links are not followed."""
    found = Survey()
    _look(folder, found, deeper=True)
    return found


def make_room(folder: Path, bound: Bound, coming: Path, needed: int) -> None:
    """Clear what dead processes have left, and evict entries that nobody uses until the cache keeps to its bound.

    Raises `InvalidInput`, and evicts nothing, where `coming`, which needs so many bytes, has no room even then.
    """
    _clear(survey(folder), coming)
    if not needed:
        return
    found = survey(folder)
    kept = total = _size(found, [])
    free = _free_bytes(folder)
    with contextlib.ExitStack() as stack:
        chosen: list[Entry] = []
        idle = (entry for entry in sorted(found.entries, key=lambda entry: (entry.last_use, entry.folder)))

        def over() -> str:
            if bound.most_bytes is not None and kept > bound.most_bytes:
                return (
                    f"the cache {folder} may have {bound.most_bytes:,} bytes, of which {kept - needed:,} are in use or "
                    "not its own; raise cacheBytes (the chart's workers.cache.size)"
                )
            if free is not None and (left := free - found.unwritten + total - kept) < bound.free_bytes:
                kept_free = f" while {bound.free_bytes:,} stay free (cacheFreeBytes)" if bound.free_bytes else ""
                return (
                    f"the disk of the cache {folder} has room for {max(0, left + needed - bound.free_bytes):,}"
                    f"{kept_free}; make room on it, or choose another directory"
                )
            return ""

        while why := over():
            entry = next(idle, None)
            if entry is None:
                name = str(coming.relative_to(folder)).partition(COMING)[0]
                raise InvalidInput(f"fetching {name}: it needs {needed:,} bytes; {why}")
            if stack.enter_context(_unused(entry.folder)):
                chosen.append(entry)
                kept = _size(found, chosen)
        for entry in chosen:
            _log.info("evicted from the cache: %s", entry.folder)
            entry.folder.rename(gone := beside(entry.folder, GOING))
            lock_of(entry.folder).unlink(missing_ok=True)
            remove(gone)


def _look(folder: Path, found: Survey, *, deeper: bool) -> None:
    with contextlib.suppress(OSError):  # gone since it was listed
        listed = sorted(os.scandir(folder), key=lambda each: each.name)
        names = {each.name for each in listed}
        for each in listed:
            path = Path(each.path)
            if not each.is_dir(follow_symlinks=False):
                found.other |= _blocks_of(path)
                if each.name.endswith(_LOCK):
                    found.locks.append(path)
            elif each.name + _LOCK in names:
                found.entries.append(Entry(path, _last_use(lock_of(path)), _blocks_below(path)))
            elif COMING in each.name:
                found.coming.append(path)
                found.unwritten += _unwritten(path)
                found.other |= _blocks_below(path)
            elif GOING in each.name:
                found.going.append(path)
                found.other |= _blocks_below(path)
            elif deeper:
                _look(path, found, deeper=False)
            else:
                found.other |= _blocks_below(path)


def _clear(found: Survey, coming: Path) -> None:
    """Clear what goes, and what came when its process died; locks of nothing too."""
    for path in found.going:
        remove(path)
    for path in found.coming:
        entry = path.with_name(path.name.partition(COMING)[0])
        if path != coming:
            with _unused(entry) as unused:
                if unused or entry == coming.with_name(coming.name.partition(COMING)[0]):
                    remove(path)
    folders = {entry.folder for entry in found.entries}
    for lock in found.locks:
        entry = lock.with_name(lock.name.removesuffix(_LOCK))
        if entry not in folders:
            with _unused(entry) as unused:
                if unused:
                    lock.unlink(missing_ok=True)


@contextlib.contextmanager
def _unused(entry: Path) -> Iterator[bool]:
    """Yield whether nobody uses or brings the entry, as nobody does meanwhile."""
    try:
        handle = os.open(lock_of(entry), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False
        return
    try:
        yield locked_now(handle, fcntl.LOCK_EX)
    finally:
        let_go(handle)


def _size(found: Survey, without: list[Entry]) -> int:
    blocks = dict(found.other)
    for entry in found.entries:
        if entry not in without:
            blocks |= entry.blocks
    return sum(blocks.values())


def _free_bytes(folder: Path) -> int | None:
    """Return the free bytes of a folder's disk; None where it does not say."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize if disk.f_blocks else None


def _last_use(lock: Path) -> int:
    try:
        with lock.open("rb") as file:
            return int(file.read(20))
    except (OSError, ValueError):
        return 0


def _files_below(folder: Path) -> Iterator[Path]:
    return (Path(top, name) for top, _, names in os.walk(folder) for name in names)


def _blocks_below(folder: Path) -> _Blocks:
    blocks: _Blocks = {}
    for path in _files_below(folder):
        blocks |= _blocks_of(path)
    return blocks


def _blocks_of(path: Path) -> _Blocks:
    try:
        found = path.lstat()
    except OSError:
        return {}
    return {(found.st_dev, found.st_ino): max(-(-found.st_size // _BLOCK) * _BLOCK, found.st_blocks * 512)}


def _unwritten(folder: Path) -> int:
    left = 0
    for path in _files_below(folder):
        with contextlib.suppress(OSError):
            found = path.lstat()
            left += max(0, found.st_size - found.st_blocks * 512)
    return left
