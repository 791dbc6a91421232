"""What a backend of the store offers: whole-object reads, atomic writes, streaming writes, conditional writes.

`Store` reaches the bytes through it (`local` for `file://`, `remote` for the rest). Knows no models,
no manifests and no URLs.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from callwright.errors import InvalidInput
from callwright.store.documents import MAX_BYTES

Buffer = bytes | bytearray | memoryview
"""One-dimensional bytes."""


@dataclass(frozen=True)
class Entry:
    """One object: its key below the store's root, its size in bytes and when it was last written."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Stored:
    """An object's bytes and the tag that a compare-and-swap of it needs, `etag_of` them."""

    data: bytes
    etag: str


def etag_of(data: bytes) -> str:
    """Return the tag of an object with these bytes: a digest, the same in every backend and behind every proxy."""
    return hashlib.sha256(data).hexdigest()


def too_large(where: str, size: int) -> InvalidInput:
    """Return what a backend raises for an object that is not to be read whole."""
    return InvalidInput(f"reading {where}: got {size} bytes; expected a document of at most {MAX_BYTES}")


class Writer(ABC):
    """A streaming write: nothing is visible under the key before `commit`, nothing ever after `abort`.

    As a context manager it commits when the block succeeds and aborts when it fails.
    """

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Append `data`, which the caller may change again as soon as this returns."""

    @abstractmethod
    def commit(self) -> None:
        """Make the object visible, whole and durable."""

    @abstractmethod
    def abort(self) -> None:
        """Drop what was written; does nothing after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.abort()


class Backend(Protocol):
    """Where objects are. Methods raise `NotFound`, `Conflict`, `InvalidInput` or `Unavailable`, nothing else."""

    def read(self, key: str) -> Stored:
        """Return a small object; one over `MAX_BYTES` raises `InvalidInput`."""

    def read_range(self, key: str, start: int, length: int) -> Buffer:
        """Return bytes `start` to `start + length`, which the object must have; maybe fewer, but at least one."""

    def write(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
        """Write a small object and return its new etag; a condition that does not hold raises `Conflict`."""

    def writer(self, key: str) -> Writer: ...

    def entry(self, key: str) -> Entry | None: ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects below the folder `prefix`, in no particular order."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""

    def sweep(self, prefix: str) -> None:
        """Clear away what killed writers left below the folder `prefix`, where that can be seen."""
