"""Reading parts of tensors, from local files or from the store, into memory that does not grow with them.

Knows where bytes are, not what they mean.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch

from callsmith.errors import InvalidInput
from callsmith.merger.checkpoint import SIZES, TensorRef, parse_header
from callsmith.store import FileEntry, Store

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Torch's dtype of each safetensors dtype."""


class Reader(Protocol):
    """Fills byte tensors from where tensors are."""

    def read_into(self, buffer: torch.Tensor, file: Path, start: int) -> None:
        """Fill the byte tensor `buffer` from byte `start` of `file`."""


class LocalReader:
    """Reads files of this machine. Keeps them open; close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._handles: dict[Path, int] = {}

    def read_into(self, buffer: torch.Tensor, file: Path, start: int) -> None:
        """Fill `buffer`. Raises `InvalidInput` when the file ends before."""
        handle = self._handles.get(file)
        if handle is None:
            handle = self._handles[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        rest = memoryview(buffer.numpy().data)
        while rest:
            count = os.preadv(handle, [rest], start)
            if count == 0:
                raise InvalidInput(f"reading {file}: it ended at byte {start} while it was being read")
            rest, start = rest[count:], start + count

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

    def read_into(self, buffer: torch.Tensor, file: Path, start: int) -> None:
        """Fill `buffer` from the object whose key is `file`."""
        view, at = memoryview(buffer.numpy().data), 0
        for block in self._store.blocks(str(file), size=len(view), start=start):
            view[at : at + len(block)] = block
            at += len(block)


def load(reader: Reader, tensor: TensorRef) -> torch.Tensor:
    """A whole tensor in memory."""
    return rows(reader, tensor, 0, tensor.shape[0] if tensor.shape else 1).view(tensor.shape)


def rows(reader: Reader, tensor: TensorRef, first: int, end: int) -> torch.Tensor:
    """Rows `first` to `end` of a tensor, that is, along its first dimension."""
    width = tensor.nbytes // max(1, tensor.shape[0] if tensor.shape else 1)
    buffer = torch.empty((end - first) * width, dtype=torch.uint8)
    reader.read_into(buffer, tensor.file, tensor.start + first * width)
    return buffer.view(TORCH[tensor.dtype]).view(end - first, width // SIZES[tensor.dtype])


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
