"""Safetensors files: the tensors of a checkpoint by their headers, and their bytes from a local file or the store.

Without torch. Does not know what a tensor means or what a merge does.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callwright.errors import InvalidInput, NotFound
from callwright.store import FileEntry, Store, check_folder
from callwright.store.documents import MAX_BYTES, read_object
from callwright.store.model_folder import weight_files

BLOCK_BYTES = 1024 * 1024
"""Largest block that is read and handed on; a few rows of a wide tensor may take more."""
Read = Callable[[Path, int, int], bytearray]
"""`read(file, start, length)`: bytes of a file, or of the object whose key is `file`."""
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of each safetensors dtype that a merge can compute with."""
SIZES = FLOATS | {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
SIZES |= {"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}
_DIMENSIONS = 16
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class TensorRef:
    """A tensor that lies in a file."""

    name: str
    dtype: str
    """Its safetensors dtype, such as BF16."""
    shape: tuple[int, ...]
    file: Path = field(compare=False)
    start: int
    """Offset of its first byte in the file."""
    nbytes: int

    @property
    def is_float(self) -> bool:
        """Whether a merge can compute with it."""
        return self.dtype in FLOATS

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a model's directory, in the order in which they lie in its files."""

    folder: Path
    tensors: dict[str, TensorRef]
    config: dict[str, Any]
    """Its config.json."""

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read the headers of the safetensors files of a base model. Raises `NotFound` and `InvalidInput`."""
    config = read_object(check_folder(folder) / "config.json")
    tensors: dict[str, TensorRef] = {}
    for file in weight_files(folder):
        for tensor in read_header(file):
            if tensor.name in tensors:
                raise InvalidInput(f"reading the base: {tensor.name} is in {tensors[tensor.name].file} and in {file}")
            tensors[tensor.name] = tensor
    return Checkpoint(folder=folder, tensors=tensors, config=config)


def read_local(file: Path, start: int, length: int) -> bytearray:
    """Return the bytes of a local file. Raises `InvalidInput` if the file ends too early."""
    data = bytearray(length)
    with file.open("rb") as handle:
        handle.seek(start)
        if handle.readinto(data) < length:
            raise InvalidInput(f"reading {file}: it ended before byte {start + length} while it was being read")
    return data


def read_from(store: Store) -> Read:
    """Reads objects of `store`, by ranges."""
    return lambda key, start, length: bytearray(b"".join(store.blocks(str(key), size=length, start=start)))


def read_blocks(tensor: TensorRef, read: Read = read_local) -> Iterator[bytearray]:
    """Yield the bytes of a tensor, in order."""
    for first in range(0, tensor.nbytes, BLOCK_BYTES):
        yield read(tensor.file, tensor.start + first, min(BLOCK_BYTES, tensor.nbytes - first))


def read_header(file: Path, *, size: int | None = None, read: Read = read_local) -> list[TensorRef]:
    """Return the tensors of a safetensors file of `size` bytes (its own when None), by offset.

    Raises `NotFound`, or `InvalidInput` for one that is cut short.
    """
    try:
        size = file.stat().st_size if size is None else size
        length = int.from_bytes(read(file, 0, 8), "little") if size >= 8 else 0
        text = read(file, 8, length) if length <= min(size - 8, MAX_BYTES) else b""
    except FileNotFoundError:
        raise NotFound(f"reading {file}: no such file") from None
    except OSError as error:
        raise InvalidInput(f"reading {file}: {error.strerror}") from None
    start = 8 + len(text)
    try:
        header = read_object(text, str(file))
        tensors = [_tensor(name, entry, file, start) for name, entry in header.items() if name != "__metadata__"]
    except (InvalidInput, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"reading {file}: not a safetensors file: {error}; fetch it again") from None
    tensors.sort(key=lambda tensor: (tensor.start, tensor.nbytes))
    end = start
    for tensor in tensors:
        if tensor.start != end:
            raise InvalidInput(
                f"reading {file}: {tensor.name} begins at byte {tensor.start}; expected {end}, where the one before "
                "it ends; fetch it again"
            )
        end += tensor.nbytes
    if end != size:
        raise InvalidInput(f"reading {file}: got {size} bytes; expected {end} by its header; fetch it again")
    return tensors


def stored_tensors(store: Store, prefix: str, files: Mapping[str, FileEntry]) -> dict[str, TensorRef]:
    """Return the tensors of the safetensors files of a version that is being written, by their headers."""
    headers = (
        read_header(Path(prefix, path), size=entry.size, read=read_from(store))
        for path, entry in files.items()
        if path.endswith(".safetensors")
    )
    return {tensor.name: tensor for header in headers for tensor in header}


def _tensor(name: str, entry: dict[str, Any], path: Path, data_start: int) -> TensorRef:
    first, last = entry["data_offsets"]
    dtype, shape = str(entry["dtype"]), tuple(entry["shape"])
    numbers = (first, last, *shape)
    if len(shape) > _DIMENSIONS or not all(type(n) is int and 0 <= n < 2**63 for n in numbers) or last < first:
        raise ValueError(f"{name} has {str(shape)[:80]} at {first!r:.40} to {last!r:.40}")
    expected = SIZES.get(dtype, 0) * math.prod(shape)
    if expected and last - first != expected:
        raise ValueError(f"{name} has {last - first} bytes for {dtype} {list(shape)}")
    return TensorRef(name=name, dtype=dtype, shape=shape, file=path, start=data_start + first, nbytes=last - first)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json that has the vocabulary's size: the text model's, in a model of several
    parts.
    """
    text = config.get("text_config")
    return text if isinstance(text, dict) and "vocab_size" in text else config


def fingerprint(tensors: Iterable[TensorRef]) -> str:
    """sha256 over names, dtypes, shapes and the first and last 4 KiB of every tensor.

    Tells one training's weights from another's without reading them all, and is the same wherever they are copied to.
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tensor).encode())
        length = min(_SAMPLE_BYTES, tensor.nbytes)
        digest.update(read_local(tensor.file, tensor.start, length))
        digest.update(read_local(tensor.file, tensor.start + tensor.nbytes - length, length))
    return digest.hexdigest()


def same_bytes(one: TensorRef, other: TensorRef, read: Read = read_local) -> bool:
    """Return whether two tensors have the same dtype, shape and values, bit by bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(ours == theirs for ours, theirs in zip(read_blocks(one, read), read_blocks(other, read), strict=True))
