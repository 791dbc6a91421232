"""`StoreBreakers`: a store that does not answer is asked for one document at a time, so that it holds up no other's.

One worker waits for it; for every other document of the store the answer is the last one's, at once.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from callwright.controller.cluster import NoAnswer
from callwright.errors import Temporary


class StoreBreakers:
    """The stores that do not answer, by their URLs. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._broken: dict[str, Temporary] = {}
        self._tried: set[str] = set()
        """Broken stores that somebody asks just now."""

    @contextmanager
    def asking(self, url: str) -> Iterator[None]:
        """Ask the store in the block. Raises its last error instead, while another asks a store that is away."""
        with self._lock:
            broken = self._broken.get(url)
            if broken and url in self._tried:
                raise type(broken)(str(broken))
            if broken:
                self._tried.add(url)
        try:
            yield
        except Temporary as error:
            if not isinstance(error, NoAnswer):  # the store's, not the API server's
                with self._lock:
                    self._broken[url] = error
            raise
        else:
            with self._lock:
                self._broken.pop(url, None)
        finally:
            if broken:
                with self._lock:
                    self._tried.discard(url)
