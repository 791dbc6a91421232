"""The store behind a protocol (`s3://`, `gs://`, `az://`) or in memory (`memory://`), over obstore.

Credentials come from the environment by each provider's own rules, which obstore reads: `AWS_ACCESS_KEY_ID` and
`AWS_SECRET_ACCESS_KEY` (a mounted secret), `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`, instance metadata;
`AWS_ENDPOINT_URL`, `AWS_REGION` and `AWS_VIRTUAL_HOSTED_STYLE_REQUEST` (path style when absent); `GOOGLE_*`; `AZURE_*`.
Requests are retried with exponential backoff on 5xx, throttling and broken connections; S3 checks the sha256 of every
part that it receives.
"""

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import obstore
from obstore import exceptions
from obstore.store import GCSStore, MemoryStore, from_url

from callwright.errors import CallwrightError, Conflict, InvalidInput, NotFound, Unavailable
from callwright.store.backend import Buffer, Entry, Stored, Writer

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

PART_BYTES = 5 * 1024 * 1024
"""Size of an upload's parts, the least that S3 takes; it takes 10,000 of them, so an object may have 50 GB."""
PARTS_AT_ONCE = 2
"""Parts of one object in flight: bounds the memory of an upload."""


class RemoteBackend:
    """Objects in a bucket below a prefix. Keeps trying a request for `patience_seconds`."""

    def __init__(self, url: str, *, patience_seconds: float) -> None:
        self._url = url.rstrip("/")
        with _explained("opening", url):
            self._store = MemoryStore() if url.startswith("memory://") else _open(url, patience_seconds)
        # What a conditional write names, and what `etag` is here: Google goes by an object's generation.
        self._mark: Literal["version", "e_tag"] = "version" if isinstance(self._store, GCSStore) else "e_tag"

    def read(self, key: str) -> Stored:
        with _explained("reading", self._at(key)):
            result = obstore.get(self._store, key)
            return Stored(data=bytes(result.bytes()), etag=result.meta[self._mark] or "")

    def read_range(self, key: str, start: int, length: int) -> Buffer:
        with _explained("reading", self._at(key)):
            data = memoryview(obstore.get_range(self._store, key, start=start, length=length))
        if not data:
            raise Unavailable(f"reading {self._at(key)}: got nothing at byte {start}; expected {length} more bytes")
        return data

    def write(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
        update: UpdateVersion = {"version": if_match} if self._mark == "version" else {"e_tag": if_match}
        mode: PutMode = update if if_match else "create" if if_absent else "overwrite"
        try:
            with _explained("writing", self._at(key)):
                return obstore.put(self._store, key, data, mode=mode, use_multipart=False)[self._mark] or ""
        except Conflict:
            # Ours all the same, maybe: sent again after its answer was lost, a write meets itself.
            with contextlib.suppress(NotFound):
                if (there := self.read(key)).data == data:
                    return there.etag
            raise

    def writer(self, key: str) -> "RemoteWriter":
        return RemoteWriter(self._store, key, where=self._at(key))

    def entry(self, key: str) -> Entry | None:
        try:
            with _explained("reading", self._at(key)):
                meta = obstore.head(self._store, key)
        except NotFound:
            return None
        return Entry(key=meta["path"], size=meta["size"], modified=meta["last_modified"])

    def list(self, prefix: str) -> Iterator[Entry]:
        with _explained("listing", self._at(prefix)):
            for batch in obstore.list(self._store, prefix or None):
                for meta in batch:
                    yield Entry(key=meta["path"], size=meta["size"], modified=meta["last_modified"])

    def delete(self, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), 1000):
            with _explained("deleting", self._at(keys[first])), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, list(keys[first : first + 1000]))

    def sweep(self, prefix: str) -> None:
        """Do nothing: the bucket's lifecycle rule deletes the parts of uploads that were never completed."""

    def _at(self, key: str) -> str:
        return f"{self._url}/{key}"


class RemoteWriter(Writer):
    """A multipart upload fed from a bounded queue by a thread of its own, so that the caller can go on computing."""

    def __init__(self, store: "ObjectStore", key: str, *, where: str) -> None:
        self._where = where
        self._queue: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
        self._size = 0
        self._failure: BaseException | None = None
        self._aborted = False
        self._ended = False
        self._thread = threading.Thread(target=self._upload, args=(store, key), name=f"upload {key}", daemon=True)
        self._thread.start()

    def write(self, data: Buffer) -> None:
        self._raise()
        self._size += len(data)
        self._queue.put(bytes(data))

    def commit(self) -> None:
        self._end()
        self._raise()

    def abort(self) -> None:
        if not self._ended:
            self._aborted = True
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._queue.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._failure is not None:
            with _explained("writing", self._where):
                raise self._failure

    def _upload(self, store: "ObjectStore", key: str) -> None:
        try:
            before = _tag(store, key)
            try:
                obstore.put(
                    store, key, self._taken(), use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
                )
            except FileNotFoundError:
                # The answer to the upload's completion was lost; asked again, the server knows no such upload any more.
                after = _tag(store, key)
                if after is None or after == before or after[1] != self._size:
                    raise
        except BaseException as error:  # noqa: BLE001 - carried over to the writing thread, which raises it
            self._failure = error
            while not self._ended:  # let a writer that waits for room go on and see the error
                with contextlib.suppress(queue.Empty):
                    self._queue.get(timeout=0.05)
            with contextlib.suppress(queue.Empty):
                while True:
                    self._queue.get_nowait()

    def _taken(self) -> Iterator[bytes]:
        while (part := self._queue.get()) is not None:
            yield part
        if self._aborted:
            raise _AbortedError


def _tag(store: "ObjectStore", key: str) -> tuple[str | None, int] | None:
    """ETag and size of an object; None where there is none."""
    try:
        found = obstore.head(store, key)
    except FileNotFoundError:
        return None
    return found["e_tag"], found["size"]


class _AbortedError(Exception):
    """Makes obstore abort the multipart upload."""


def _open(url: str, patience_seconds: float) -> "ObjectStore":
    # from_url's overloads tell the providers' options apart by type, which a URL known only at run time cannot.
    options: dict[str, Any] = {
        "client_options": {"allow_http": True, "timeout": timedelta(seconds=120), "user_agent": "callwright"},
        "retry_config": {
            "max_retries": 10,
            "retry_timeout": timedelta(seconds=patience_seconds),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2},
        },
    }
    if url.startswith("s3://"):
        options["config"] = {"checksum_algorithm": "SHA256"}
    try:
        store: ObjectStore = from_url(url, **options)
    except exceptions.BaseError as error:  # nothing was sent yet: the mistake is local
        raise InvalidInput(f"opening {url}: {_first_line(error)}; check the environment and the URL") from None
    return store


@contextlib.contextmanager
def _explained(doing: str, where: str) -> Iterator[None]:
    """Turn obstore's errors into ours, keeping the first line of their text."""
    try:
        yield
    except CallwrightError:
        raise
    except FileNotFoundError as error:
        what = "no such bucket" if "NoSuchBucket" in str(error) else "not there"
        raise NotFound(f"{doing} {where}: {what}") from None
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise Conflict(f"{doing} {where}: somebody else wrote it first; read it again and decide anew") from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        advice = "check the credentials in the environment"
        raise InvalidInput(f"{doing} {where}: refused: {_first_line(error)}; {advice}") from None
    except (exceptions.InvalidPathError, exceptions.UnknownConfigurationKeyError, ValueError) as error:
        raise InvalidInput(f"{doing} {where}: {_first_line(error)}") from None
    except (exceptions.BaseError, OSError) as error:
        raise Unavailable(f"{doing} {where}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].strip()[:400]
