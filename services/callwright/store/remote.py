"""The store behind a protocol (`s3://`, `gs://`, `az://`) or in memory (`memory://`), over obstore.

Credentials come from a folder that is named, else from the environment by each provider's own rules, which obstore
reads: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (a mounted secret), `AWS_WEB_IDENTITY_TOKEN_FILE` with
`AWS_ROLE_ARN`, instance metadata; `AWS_ENDPOINT_URL`, `AWS_REGION` and `AWS_VIRTUAL_HOSTED_STYLE_REQUEST` (path style
when absent); `GOOGLE_*`; `AZURE_*`.
Requests are retried with exponential backoff on 5xx, throttling and broken connections; S3 checks the sha256 of every
part that it receives. A small object's write whose outcome is not known is read back, and tried again on its condition.
"""

import contextlib
import hashlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import obstore
from obstore import exceptions
from obstore.store import GCSStore, MemoryStore, from_url

from callwright.errors import CallwrightError, Conflict, InvalidInput, NotFound, Unavailable
from callwright.store import credentials as credentials_in
from callwright.store.backend import Buffer, Entry, Stored, Writer, etag_of, too_large
from callwright.store.documents import MAX_BYTES

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, UpdateVersion
    from obstore.store import ObjectStore

T = TypeVar("T")


class _Asked(Protocol):
    """`RemoteBackend._asked`."""

    def __call__(self, doing: str, key: str, ask: Callable[[], T], /) -> T: ...


PART_BYTES = 5 * 1024 * 1024
"""Size of an upload's parts, the least that S3 takes; it takes 10,000 of them, so an object may have 50 GB."""
PARTS_AT_ONCE = 2
"""Parts of one object in flight: bounds the memory of an upload."""
REQUEST_SECONDS = 120.0
"""A request that takes longer is one that failed."""
_LONGEST_PAUSE = 5.0
"""Seconds between two tries at most."""
_UPLOADS = 10
"""How often an upload is begun whose first answer breaks off."""
_REFUSALS = 6
"""How often a write is refused on a condition that holds before it is given up."""
_ODD_KEY = re.compile(r'object with invalid path: Error parsing Path "(.*?)": ', re.DOTALL)
_CLIENT_ERROR = re.compile(r"status code: 4(?!08|09|12|29)\d\d")
"""What obstore says of an answer that will be the same next time."""


_RIGHTS = {
    "s3": "s3:GetObject, s3:PutObject, s3:DeleteObject, and s3:ListBucket, without which S3 refuses what is not there",
    "gs": "the role roles/storage.objectUser",
    "az": "the role Storage Blob Data Contributor",
}
"""What the credentials must allow, by a URL's scheme."""


class RemoteBackend:
    """Objects in a bucket below a prefix. Keeps trying a request for `patience_seconds`."""

    def __init__(self, url: str, *, patience_seconds: float, credentials: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._patience = patience_seconds
        with _explained("opening", url):
            self._store = MemoryStore() if url.startswith("memory://") else _open(url, patience_seconds, credentials)
        # What a conditional write names: Google goes by an object's generation.
        self._mark: Literal["version", "e_tag"] = "version" if isinstance(self._store, GCSStore) else "e_tag"

    def read(self, key: str) -> Stored:
        data, _ = self._read(key)
        return Stored(data=data, etag=etag_of(data))

    def read_range(self, key: str, start: int, length: int) -> Buffer:
        data = self._asked(
            "reading", key, lambda: memoryview(obstore.get_range(self._store, key, start=start, length=length))
        )
        if not data:
            raise Unavailable(f"reading {self._at(key)}: got nothing at byte {start}; expected {length} more bytes")
        return data

    def write(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
        deadline, pause, refusals = time.monotonic() + self._patience, 0.1, 0
        while True:
            mode: PutMode = "create" if if_absent else "overwrite"
            if if_match is not None:
                mode = self._condition(key, if_match, refusals)
            try:
                with _explained("writing", self._at(key)):
                    obstore.put(self._store, key, data, mode=mode, use_multipart=False)
                return etag_of(data)
            except (Conflict, Unavailable) as error:
                # Written all the same, maybe: the answer was lost, and sent again, a write meets itself.
                there = self._etag(key)
                if there == etag_of(data):
                    return there
                refused = isinstance(error, Conflict)
                if refused and there != if_match:
                    raise
                refusals += refused
                late = time.monotonic() > deadline
                if refused and (late or refusals == _REFUSALS):
                    raise Unavailable(
                        f"writing {self._at(key)}: refused {refusals} times on the condition that it is as it was "
                        "read, which it is; let no proxy before the store change its ETags"
                    ) from None
                if late:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _asked(self, doing: str, key: str, ask: Callable[[], T]) -> T:
        """Return what `ask` returns, asked again for as long as patience lasts where its answer broke off."""
        deadline, pause = time.monotonic() + self._patience, 0.1
        while True:
            try:
                with _explained(doing, self._at(key)):
                    return ask()
            except Unavailable:
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _read(self, key: str) -> tuple[bytes, str]:
        """Return the object's bytes, and what a conditional write names; empty where the server doesn't say it."""

        def ask() -> tuple[bytes, str]:
            result = obstore.get(self._store, key)
            if result.meta["size"] > MAX_BYTES:
                raise too_large(self._at(key), result.meta["size"])
            return bytes(result.bytes()), result.meta[self._mark] or ""

        return self._asked("reading", key, ask)

    def _etag(self, key: str) -> str | None:
        try:
            return self.read(key).etag
        except NotFound:
            return None

    def _condition(self, key: str, if_match: str, refusals: int) -> "UpdateVersion":
        """Return the condition that the object is still the one of `if_match`, in another form after each refusal.

        What is changed is told by its bytes, for a proxy may give another ETag than the store compares. Any form is
        safe: the store itself compares it. Raises `Conflict`.
        """
        try:
            data, tag = self._read(key)
        except NotFound:
            raise _changed(self._at(key)) from None
        if etag_of(data) != if_match:
            raise _changed(self._at(key))
        if self._mark == "version":
            return {"version": tag}
        strong = '"' + re.sub(r"[-;]+gzip$", "", tag.removeprefix("W/").strip('"')) + '"'
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        forms = dict.fromkeys(form for form in (tag, strong, f'"{digest}"') if form.strip('"'))
        return {"e_tag": list(forms)[refusals % len(forms)]}

    def writer(self, key: str) -> "RemoteWriter":
        return RemoteWriter(self._store, key, where=self._at(key), asked=self._asked)

    def entry(self, key: str) -> Entry | None:
        try:
            return _entry(self._asked("reading", key, lambda: obstore.head(self._store, key)))
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[Entry]:
        batches = self._asked("listing", prefix, lambda: [*obstore.list(self._store, prefix or None)])
        return (_entry(meta) for batch in batches for meta in batch)

    def delete(self, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), 1000):
            some = [*keys[first : first + 1000]]
            with contextlib.suppress(NotFound):
                self._asked("deleting", keys[first], lambda: obstore.delete(self._store, some))  # noqa: B023

    def sweep(self, prefix: str) -> None:
        """Do nothing: the bucket's lifecycle rule deletes the parts of uploads that were never completed."""

    def _at(self, key: str) -> str:
        return f"{self._url}/{key}"


class RemoteWriter(Writer):
    """An upload fed from a bounded queue by a thread of its own, so that the caller can go on computing.

    An object of one part is put at once, a larger one as a multipart upload.
    """

    def __init__(self, store: "ObjectStore", key: str, *, where: str, asked: "_Asked") -> None:
        self._where = where
        self._asked = asked
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
            head, whole = bytearray(), True
            for part in (taken := self._taken()):
                head += part
                if len(head) >= PART_BYTES:
                    whole = False
                    break
            if whole:
                self._asked("writing", key, lambda: obstore.put(store, key, bytes(head), use_multipart=False))
            else:
                self._upload_parts(store, key, bytes(head), taken)
        except BaseException as error:  # noqa: BLE001 - carried over to the writing thread, which raises it
            self._failure = error
            while not self._ended:  # let a writer that waits for room go on and see the error
                with contextlib.suppress(queue.Empty):
                    self._queue.get(timeout=0.05)
            with contextlib.suppress(queue.Empty):
                while True:
                    self._queue.get_nowait()

    def _upload_parts(self, store: "ObjectStore", key: str, head: bytes, rest: Iterator[bytes]) -> None:
        before, begun = _tag(store, key), False

        def parts() -> Iterator[bytes]:
            nonlocal begun
            yield head
            begun = True
            yield from rest

        for left in reversed(range(_UPLOADS)):
            try:
                obstore.put(
                    store, key, parts(), use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
                )
            except (exceptions.BaseError, OSError) as error:
                # The answer to the upload's completion was lost; asked again, the server knows no such upload any more.
                after = None if self._aborted or not self._ended else _tag(store, key)
                if after is not None and after != before and after[1] == self._size:
                    return
                if begun or not left or not isinstance(error, exceptions.GenericError):
                    raise  # what was taken from the queue cannot be sent again
            else:
                return

    def _taken(self) -> Iterator[bytes]:
        while (part := self._queue.get()) is not None:
            yield part
        if self._aborted:
            raise _AbortedError


def _entry(meta: "ObjectMeta") -> Entry:
    return Entry(key=meta["path"], size=meta["size"], modified=meta["last_modified"])


def _tag(store: "ObjectStore", key: str) -> tuple[str | None, int] | None:
    """ETag and size of an object; None where there is none."""
    try:
        found = obstore.head(store, key)
    except FileNotFoundError:
        return None
    return found["e_tag"], found["size"]


class _AbortedError(Exception):
    """Makes obstore abort the multipart upload."""


def _open(url: str, patience_seconds: float, credentials: Path | None) -> "ObjectStore":
    # from_url's overloads tell the providers' options apart by type, which a URL known only at run time cannot.
    options: dict[str, Any] = {
        "client_options": {
            "allow_http": True,
            "timeout": timedelta(seconds=min(REQUEST_SECONDS, patience_seconds)),
            "user_agent": "callwright",
        },
        "retry_config": {
            "max_retries": 10,
            "retry_timeout": timedelta(seconds=patience_seconds),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2},
        },
    }
    if credentials is not None:
        options |= credentials_in.options(url.partition(":")[0], credentials)
    if url.startswith("s3://"):
        options["config"] = {"checksum_algorithm": "SHA256"} | options.get("config", {})
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
        raise _changed(where) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        rights = _RIGHTS.get(where.partition(":")[0], "reading, writing, listing and deleting")
        advice = f"expected credentials that allow {rights}; the bucket's owner can grant it"
        raise InvalidInput(f"{doing} {where}: refused: {_first_line(error)}; {advice}") from None
    except (exceptions.InvalidPathError, exceptions.UnknownConfigurationKeyError, ValueError) as error:
        raise InvalidInput(f"{doing} {where}: {_said(error)}") from None
    except (exceptions.BaseError, OSError) as error:
        if _CLIENT_ERROR.search(str(error)):
            raise InvalidInput(f"{doing} {where}: refused: {_first_line(error)}") from None
        raise Unavailable(f"{doing} {where}: {_first_line(error)}") from None


def _changed(where: str) -> Conflict:
    return Conflict(f"writing {where}: somebody else wrote it first; read it again and decide anew")


def _said(error: BaseException) -> str:
    """Return what is wrong with a name; one in a listing hides all others, and obstore cannot pass over it."""
    if odd := _ODD_KEY.search(str(error)):
        return f"it holds an object named {odd[1][:200]!r}, which is no path; rename or delete it there"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].strip()[:400]
