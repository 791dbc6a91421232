"""`WorkQueue`: the documents that are due to be looked at, each by one worker at a time.

A document that becomes due while it is looked at is looked at again afterwards. Knows of documents only their keys.
"""

import heapq
import math
import threading
import time

Key = tuple[str, str]
"""Namespace and name of a document."""


class WorkQueue:
    """Keys by the time at which they are due. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._taken: set[Key] = set()
        self._closed = False

    def add(self, key: Key, *, seconds: float = 0.0) -> None:
        """Make `key` due in so many seconds, unless it is due before."""
        with self._changed:
            due = time.monotonic() + seconds
            if due < self._due.get(key, math.inf):
                self._due[key] = due
                self._offer(key)

    def take(self) -> Key | None:
        """Wait for the next key that is due, and hold it until `put_back`; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
                    heapq.heappop(self._heap)  # it has become due earlier
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                _, key = heapq.heappop(self._heap)
                del self._due[key]
                self._taken.add(key)
                return key
            return None

    def put_back(self, key: Key, *, seconds: float | None) -> None:
        """End the hold on `key`; it is due again in so many seconds, or when it has become due meanwhile."""
        with self._changed:
            self._taken.remove(key)
            if key in self._due:
                self._offer(key)
        if seconds is not None:
            self.add(key, seconds=seconds)

    def close(self) -> None:
        """Let every `take` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _offer(self, key: Key) -> None:
        if key not in self._taken:
            heapq.heappush(self._heap, (self._due[key], key))
            self._changed.notify()
