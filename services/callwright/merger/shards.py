"""Output shards: safetensors headers, and the stream from the arithmetic to the store, hashed as it goes.

Several shards are written at once, a lane for each, and each by three threads: one reads and computes, one hashes, one
writes. The buffers between them are few and used again, so memory does not grow with the model. Torch is started
beside them: what is only copied does not wait for it.
"""

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from callwright.merger.plan import Shard, Step
from callwright.merger.reading import BLOCK_BYTES, LocalReader, Reader
from callwright.store import FileEntry, Store
from callwright.store.backend import Writer

LANES = 4
"""Most shards that are written at once."""
_WAITING = 2
"""How many more than there are cores, in a folder: they wait for the disk. Uploads have threads of their own."""
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
    waiting = 0 if store.root is None else _WAITING
    lanes = min(LANES, len(os.sched_getaffinity(0)) + waiting, max(1, len(shards)))
    stop = threading.Event()

    def write(shard: Shard, arithmetic: "Future[_Arithmetic]") -> None:
        if not stop.is_set():
            with store.writer(f"{prefix}/{shard.file}") as writer:
                entry = _write_shard(shard, writer, arithmetic, on_bytes=on_bytes, stop=stop)
                before_commit()
            after_commit(Written(shard.file, entry))

    with ThreadPoolExecutor(1) as starter, ThreadPoolExecutor(lanes, thread_name_prefix="merge") as pool:
        arithmetic = starter.submit(_Arithmetic)
        try:
            done, _ = wait([pool.submit(write, shard, arithmetic) for shard in shards], return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    arithmetic.result().finish()
    for future in done:
        future.result()


class _Arithmetic:
    """Torch, started in a thread of its own, for arithmetic in one thread: a tile is too small to share out."""

    def __init__(self) -> None:
        import torch

        from callwright.merger.arithmetic import blocks

        self.blocks = blocks
        self._set_threads, self._threads = torch.set_num_threads, torch.get_num_threads()
        self._set_threads(1)

    def finish(self) -> None:
        """Let torch use as many threads as before."""
        self._set_threads(self._threads)


def _write_shard(
    shard: Shard,
    writer: Writer,
    arithmetic: "Future[_Arithmetic]",
    *,
    on_bytes: Callable[[int], None],
    stop: threading.Event,
) -> FileEntry:
    with LocalReader() as reader, _Line(writer) as line:
        line.put_bytes(header(shard))
        for step in shard.steps:
            blocks = _copied if step.copies else arithmetic.result().blocks
            for block in blocks(step, reader, line.take):
                if stop.is_set():
                    raise StoppedError
                on_bytes(len(block))
                line.put(block)
    return line.entry


def _copied(step: Step, reader: Reader, take: Callable[[int], memoryview]) -> Iterator[memoryview]:
    for first in range(0, step.nbytes, BLOCK_BYTES):
        out = take(min(BLOCK_BYTES, step.nbytes - first))
        reader.read_into(out, step.source.file, step.source.start + first)
        yield out


class StoppedError(Exception):
    """Another shard's failure stops this one."""


class _Line:
    """The way of one shard's blocks: a thread that hashes them, then one that writes them, then they are free again."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._free: queue.Queue[memoryview] = queue.Queue()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(BLOCK_BYTES)))
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._digest = hashlib.sha256()
        self._size = 0
        self._failure: BaseException | None = None

    @property
    def entry(self) -> FileEntry:
        """Size and digest of what went through."""
        return FileEntry(sha256=self._digest.hexdigest(), size=self._size)

    def take(self, nbytes: int) -> memoryview:
        """The first bytes of a free buffer, after waiting for one; a larger one than usual is made."""
        buffer = self._free.get()
        return (buffer if len(buffer) >= nbytes else memoryview(bytearray(nbytes)))[:nbytes]

    def put_bytes(self, data: bytes) -> None:
        """Hash and write `data`, before the first block."""
        self._digest.update(data)
        self._size += len(data)
        self._writer.write(data)

    def put(self, block: memoryview) -> None:
        """Hash and write `block`, which was got from `take`. Raises what failed before it."""
        if self._failure is not None:
            raise self._failure
        self._size += len(block)
        self._hashing.submit(self._hash, block)

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._hashing.shutdown()
        self._writing.shutdown()
        if kind is None and self._failure is not None:
            raise self._failure

    def _hash(self, block: memoryview) -> None:
        self._digest.update(block)
        self._writing.submit(self._write, block)

    def _write(self, block: memoryview) -> None:
        try:
            if self._failure is None:
                self._writer.write(block)
        except BaseException as error:  # noqa: BLE001 - carried over to the lane, which raises it
            self._failure = error
        finally:
            self._free.put(memoryview(block.obj))
