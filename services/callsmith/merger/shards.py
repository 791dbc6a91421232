"""Output shards: safetensors headers, and the stream from the arithmetic to the store, hashed as it goes.

Several shards are written at once, a lane for each, and each by three threads: one reads and computes, one hashes, one
writes. The buffers between them are few and used again, so memory does not grow with the model.
"""

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch

from callsmith.merger.arithmetic import BLOCK_BYTES, blocks
from callsmith.merger.plan import Shard
from callsmith.merger.tensors import LocalReader
from callsmith.store import FileEntry, Store
from callsmith.store.objects import Writer

LANES = 4
"""Most shards that are written at once; as many as there are cores, where there are fewer."""
_BUFFERS = 4
"""Blocks of one lane on their way."""


@dataclass(frozen=True)
class Written:
    """A file that is whole in the store."""

    file: str
    entry: FileEntry


def header(shard: Shard) -> bytes:
    """The safetensors header of a shard, its length first."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for step in shard.steps:
        table[step.name] = {"dtype": step.dtype, "shape": list(step.shape), "data_offsets": [at, at + step.nbytes]}
        at += step.nbytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_shards(
    shards: Sequence[Shard],
    store: Store,
    prefix: str,
    *,
    on_bytes: Callable[[int], None],
    before_commit: Callable[[], None],
    after_commit: Callable[[Written], None],
) -> None:
    """Compute and write `shards` below `prefix`.

    Called from several threads: `on_bytes` with every block's size, `before_commit` before a shard becomes visible
    (raise there to stop it), `after_commit` once it is whole. Raises what they, the arithmetic and the store raise.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a tile is too small to share out
    lanes = min(LANES, len(os.sched_getaffinity(0)), max(1, len(shards)))
    stop = threading.Event()

    def write(shard: Shard) -> None:
        if not stop.is_set():
            with store.writer(f"{prefix}/{shard.file}") as writer:
                entry = _write_shard(shard, writer, on_bytes=on_bytes, stop=stop)
                before_commit()
            after_commit(Written(shard.file, entry))

    try:
        with ThreadPoolExecutor(lanes, thread_name_prefix="merge") as pool:
            try:
                done, _ = wait([pool.submit(write, shard) for shard in shards], return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
        for future in done:
            future.result()
    finally:
        torch.set_num_threads(threads)


def _write_shard(shard: Shard, writer: Writer, *, on_bytes: Callable[[int], None], stop: threading.Event) -> FileEntry:
    with LocalReader() as reader, _Line(writer) as line:
        line.put_bytes(header(shard))
        for step in shard.steps:
            for block in blocks(step, reader, line.take):
                if stop.is_set():
                    raise StoppedError
                on_bytes(block.numel())
                line.put(block)
    return line.entry


class StoppedError(Exception):
    """Another shard's failure stops this one."""


class _Line:
    """The way of one shard's blocks: a thread that hashes them, then one that writes them, then they are free again."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._free: queue.Queue[torch.Tensor] = queue.Queue()
        for _ in range(_BUFFERS):
            self._free.put(torch.empty(BLOCK_BYTES, dtype=torch.uint8))
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._digest = hashlib.sha256()
        self._size = 0
        self._failure: BaseException | None = None

    @property
    def entry(self) -> FileEntry:
        """Size and digest of what went through."""
        return FileEntry(sha256=self._digest.hexdigest(), size=self._size)

    def take(self, nbytes: int) -> torch.Tensor:
        """A free buffer, after waiting for one; a larger one than usual is made for one use."""
        buffer = self._free.get()
        return buffer if buffer.numel() >= nbytes else torch.empty(nbytes, dtype=torch.uint8)

    def put_bytes(self, data: bytes) -> None:
        """Hash and write `data`, before the first block."""
        self._digest.update(data)
        self._size += len(data)
        self._writer.write(data)

    def put(self, block: torch.Tensor) -> None:
        """Hash and write `block`, a buffer got from `take` or the beginning of one. Raises what failed before it."""
        if self._failure is not None:
            raise self._failure
        self._size += block.numel()
        self._hashing.submit(self._hash, block)

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._hashing.shutdown()
        self._writing.shutdown()
        if kind is None and self._failure is not None:
            raise self._failure

    def _hash(self, block: torch.Tensor) -> None:
        self._digest.update(block.numpy().data)
        self._writing.submit(self._write, block)

    def _write(self, block: torch.Tensor) -> None:
        try:
            if self._failure is None:
                self._writer.write(block.numpy().data)
        except BaseException as error:  # noqa: BLE001 - carried over to the lane, which raises it
            self._failure = error
        finally:
            self._free.put(torch.empty(0, dtype=torch.uint8).set_(block.untyped_storage()))
