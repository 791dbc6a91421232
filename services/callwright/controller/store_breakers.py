"""`StoreBreakers`: a store that does not answer is asked for one document at a time, so that it holds up no other's.

One worker waits for it; every other document of the store, in whichever folder of its bucket, is told so at once. So
are those of further stores that do not answer where several workers wait already.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from callwright.controller.cluster import NoAnswer
from callwright.errors import Temporary, Unavailable
from callwright.store.url import StoreURL

_MOST_TRIED = 3
"""Stores that do not answer and are asked at once; the other workers are there for the stores that do."""


class StoreBreakers:
    """The buckets that do not answer. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._broken: set[str] = set()
        self._tried: set[str] = set()
        """Broken stores that somebody asks just now."""

    @contextmanager
    def asking(self, url: str) -> Iterator[None]:
        """Ask the store in the block. Raises `Unavailable` where it does not answer, and at once while another asks."""
        place = StoreURL.read(url)
        bucket = f"{place.scheme}://{place.host or place.path}"
        with self._lock:
            broken = bucket in self._broken
            if broken and (bucket in self._tried or len(self._tried) == _MOST_TRIED):
                raise Unavailable(f"asking the store {url}: it does not answer; it is asked again until it does")
            if broken:
                self._tried.add(bucket)
        try:
            yield
        except Temporary as error:
            if isinstance(error, NoAnswer):  # the API server's, not the store's
                raise
            with self._lock:
                self._broken.add(bucket)
            raise Unavailable(f"asking the store {url}: {error}; whoever runs it can tell more") from error
        else:
            with self._lock:
                self._broken.discard(bucket)
        finally:
            if broken:
                with self._lock:
                    self._tried.discard(bucket)
