"""`CacheWatch`: notices that the files of a version, in the node's cache, are no longer what its manifest says.

A thread looks at sizes and times often and at every byte seldom: a model's bytes take minutes to read. Knows nothing of
engines.
"""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from callwright.store import FileEntry, cached_paths, differing

_log = logging.getLogger(__name__)


class CacheWatch:
    """Looks at `files` below `folder`, which were whole a moment ago, until `stop`."""

    def __init__(
        self, folder: Path, files: Mapping[str, FileEntry], *, look_seconds: float, verify_seconds: float
    ) -> None:
        self.problem: str | None = None
        """What is wrong; it does not pass."""
        self._folder, self._files = folder, files
        self._look_seconds, self._verify_seconds = look_seconds, verify_seconds
        self._stopped = threading.Event()
        self._seen = self._look()
        threading.Thread(target=self._watch, name=f"watch {folder.name}", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _watch(self) -> None:
        verified = time.monotonic()
        while self.problem is None and not self._stopped.wait(self._look_seconds):
            seen = self._look()
            late = time.monotonic() - verified > self._verify_seconds
            doubted = [path for path in seen if late or seen[path] != self._seen.get(path)]
            self._seen, verified = seen, time.monotonic() if late else verified
            if path := differing(self._folder, self._files, doubted):
                self.problem = f"serving from the cache: {self._folder / path} is not what was published"
                _log.error("%s; it is fetched again", self.problem)

    def _look(self) -> dict[str, tuple[int, ...]]:
        return {path: _state(self._folder / path) for path in cached_paths(self._folder) | self._files.keys()}


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.lstat()
    except OSError:
        return ()
    return found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
