"""A claim is the right to write under a key. One process holds it at a time, and loses it when it dies.

In a folder a claim is a lock. In a bucket it is a lease: a small object that its holder rewrites by compare-and-swap
every third of the lease. A process that finds a lease watches it: one that changes has a living holder (`Conflict`),
and one that stays the same for its whole length is taken over. The clocks of two machines are never compared.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator

from callwright.errors import CallwrightError, Conflict, InvalidInput, NotFound
from callwright.store.documents import read_object
from callwright.store.files import HeldError, locked, this_process
from callwright.store.storage import Store

LEASE_SECONDS = 30.0
"""Longest silence of a living holder."""


class Claim:
    """A held claim. Call `check` before anything that only the holder may do."""

    def __init__(self) -> None:
        self._lost: str | None = None

    def check(self) -> None:
        """Raises `Conflict` when the claim was lost: this process was silent for a whole lease."""
        if self._lost:
            raise Conflict(self._lost)

    def lose(self, why: str) -> None:
        """Note that the claim is no longer held."""
        self._lost = why


@contextlib.contextmanager
def claimed(store: Store, key: str, *, lease_seconds: float = LEASE_SECONDS) -> Iterator[Claim]:
    """Hold the claim `key` during the block. Raises `Conflict`, naming the holder, when somebody else has it.

    Waits for at most one lease, and only where the holder of a lease in a bucket gives no sign of life.
    """
    if store.root is not None:
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(locked(store.root / _lock_key(key), wait=False))
            except HeldError as holder:
                raise Conflict(_held(key, str(holder))) from None
            except OSError as error:
                advice = "choose another store with CALLWRIGHT_STORE or --store, or allow it"
                where = (store.root / key).parent
                raise InvalidInput(f"writing {where}: {error.strerror}; {advice}") from None
            yield Claim()
        return
    lease = _Lease(store, key, lease_seconds)
    lease.take()
    keeper = threading.Thread(target=lease.keep, name=f"lease {key}", daemon=True)
    keeper.start()
    try:
        yield lease.claim
    finally:
        lease.stop.set()
        keeper.join()
        lease.drop()


def is_claimed(store: Store, key: str) -> bool:
    """Return whether somebody holds the claim; in a bucket, whether there is a lease, alive or not."""
    if store.root is None:
        return store.exists(key)
    path = store.root / _lock_key(key)
    try:
        if path.exists():
            with locked(path, wait=False):
                pass
    except HeldError:
        return True
    except OSError:
        return False
    return False


def _lock_key(key: str) -> str:
    """Return a lock name that no object can have."""
    return f"{key}#0"


class _Lease:
    def __init__(self, store: Store, key: str, seconds: float) -> None:
        self.claim = Claim()
        self.stop = threading.Event()
        self._store = store
        self._key = key
        self._seconds = seconds
        self._etag = ""

    def take(self) -> None:
        try:
            self._etag = self._store.put_bytes(self._key, self._document(), if_absent=True)
            return
        except Conflict:
            pass
        try:
            before = self._store.read(self._key)
        except NotFound:
            raise Conflict(f"claiming {self._key}: its holder let go just now; try again") from None
        found = _read(before.data)
        deadline = time.monotonic() + found[1]
        while (left := deadline - time.monotonic()) > 0:
            self.stop.wait(min(left, found[1] / 4))
            with contextlib.suppress(NotFound):
                if self._store.read(self._key).etag == before.etag:
                    continue
            raise Conflict(_held(self._key, found[0]))
        self._etag = self._store.put_bytes(self._key, self._document(), if_match=before.etag)

    def keep(self) -> None:
        renewed = time.monotonic()
        while not self.stop.wait(self._seconds / 3):
            try:
                self._etag = self._store.put_bytes(self._key, self._document(), if_match=self._etag)
                renewed = time.monotonic()
            except (Conflict, NotFound):
                self.claim.lose(f"holding {self._key}: another process took it over while this one was silent")
                return
            except CallwrightError as error:
                if time.monotonic() - renewed > self._seconds:
                    self.claim.lose(f"holding {self._key}: could not be renewed for {self._seconds:.0f} s: {error}")
                    return

    def drop(self) -> None:
        with contextlib.suppress(CallwrightError):
            if self._store.read(self._key).etag == self._etag:
                self._store.delete_keys([self._key])

    def _document(self) -> bytes:
        # The nonce makes every renewal a new etag, and tells ours from everybody else's.
        document = {"holder": this_process(), "lease_seconds": self._seconds, "nonce": secrets.token_hex(8)}
        return json.dumps(document).encode()


def _read(data: bytes) -> tuple[str, float]:
    try:
        document = read_object(data, "a lease")
        return str(document["holder"])[:200], min(max(float(document["lease_seconds"]), 0.0), 600.0)
    except (InvalidInput, ValueError, KeyError, TypeError, OverflowError):
        return "another process", LEASE_SECONDS


def _held(key: str, holder: str) -> str:
    return f"claiming {key}: {holder} is at it; wait for it, or choose another version"
