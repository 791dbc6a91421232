"""`StoreBreakers`: a store that does not answer is asked for one document at a time, so that it holds up no other's.

One worker waits for it; every other document of the store is told so at once.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from callwright.controller.cluster import NoAnswer
from callwright.errors import Temporary, Unavailable


class StoreBreakers:
    """The stores that do not answer, by their URLs. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._broken: set[str] = set()
        self._tried: set[str] = set()
        """Broken stores that somebody asks just now."""

    @contextmanager
    def asking(self, url: str) -> Iterator[None]:
        """Ask the store in the block. Raises `Unavailable` where it does not answer, and at once while another asks."""
        with self._lock:
            broken = url in self._broken
            if broken and url in self._tried:
                raise Unavailable(f"asking the store {url}: it does not answer; it is asked again until it does")
            if broken:
                self._tried.add(url)
        try:
            yield
        except Temporary as error:
            if isinstance(error, NoAnswer):  # the API server's, not the store's
                raise
            with self._lock:
                self._broken.add(url)
            raise Unavailable(f"asking the store {url}: {error}") from error
        else:
            with self._lock:
                self._broken.discard(url)
        finally:
            if broken:
                with self._lock:
                    self._tried.discard(url)
