"""Reading bytes of tensors, from local files or from the store, into buffers that the caller gives.

Knows where bytes are, not what they mean. Without torch: what is only copied need not wait for it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from callwright.errors import InvalidInput
from callwright.merger.checkpoint import TensorRef, parse_header
from callwright.store import FileEntry, Store

BLOCK_BYTES = 4 * 1024 * 1024
"""Largest block that is read and handed on; a few rows of a wide tensor may take more."""


class Reader(Protocol):
    """Fills buffers from where tensors are."""

    def read_into(self, buffer: memoryview, file: Path, start: int) -> None:
        """Fill `buffer` from byte `start` of `file`."""


class LocalReader:
    """Reads files of this machine. Keeps them open; close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._handles: dict[Path, int] = {}

    def read_into(self, buffer: memoryview, file: Path, start: int) -> None:
        """Fill `buffer`. Raises `InvalidInput` when the file ends before."""
        handle = self._handles.get(file)
        if handle is None:
            handle = self._handles[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        while buffer:
            count = os.preadv(handle, [buffer], start)
            if count == 0:
                raise InvalidInput(f"reading {file}: it ended at byte {start} while it was being read")
            buffer, start = buffer[count:], start + count

    def close(self) -> None:
        """Close the files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class StoreReader:
    """Reads objects of a store, by ranges."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read_into(self, buffer: memoryview, file: Path, start: int) -> None:
        """Fill `buffer` from the object whose key is `file`."""
        at = 0
        for block in self._store.blocks(str(file), size=len(buffer), start=start):
            buffer[at : at + len(block)] = block
            at += len(block)


def stored_tensors(store: Store, prefix: str, files: Mapping[str, FileEntry]) -> dict[str, TensorRef]:
    """The tensors of the safetensors files of a version that is being written, by their headers."""
    found: dict[str, TensorRef] = {}
    for path, entry in files.items():
        if path.endswith(".safetensors"):
            key = f"{prefix}/{path}"
            length = int.from_bytes(b"".join(store.blocks(key, size=8)), "little")
            text = b"".join(bytes(block) for block in store.blocks(key, size=length, start=8))
            found |= {tensor.name: tensor for tensor in parse_header(text, file=Path(key), size=entry.size)}
    return found
