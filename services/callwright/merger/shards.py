"""Output shards: safetensors headers, and the stream from the arithmetic to the store, hashed as it goes.

Several shards are written at once, each by two threads: one reads and computes blocks, the other hashes and writes
them. Few blocks wait between the two, so memory does not grow with the model.
"""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from callwright import machine
from callwright.merger.checkpoint import read_blocks
from callwright.merger.plan import Shard
from callwright.store import FileEntry, Store
from callwright.store.backend import Buffer, Writer

SHARDS_AT_ONCE = 4
"""Most shards that are written at once."""
_BEHIND = 4
"""Most blocks of a shard that wait to be hashed and written."""


def header(shard: Shard) -> bytes:
    """Return the safetensors header of a shard, its length first."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in shard.tensors:
        end = at + tensor.nbytes
        table[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
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
    after_commit: Callable[[str, FileEntry], None],
) -> None:
    """Compute and write `shards` below `prefix`.

    Called from several threads: `on_bytes` with every block's size, `before_commit` before a shard becomes visible
    (raise there to stop it), `after_commit` with its file name and entry once it is whole. Raises what they, the
    arithmetic and the store raise.
    """
    import torch  # imported here, because showing a plan does not need it

    at_once = min(SHARDS_AT_ONCE, machine.cpus(), max(1, len(shards)))
    stop = threading.Event()

    def advance(nbytes: int) -> None:
        if stop.is_set():
            raise StoppedError
        on_bytes(nbytes)

    def write(shard: Shard) -> None:
        if not stop.is_set():
            with store.writer(f"{prefix}/{shard.file}") as writer:
                entry = _write_shard(shard, writer, advance)
                before_commit()
            after_commit(shard.file, entry)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # in each thread: a block is too small to share out
    try:
        with ThreadPoolExecutor(at_once, thread_name_prefix="merge") as pool:
            try:
                done, _ = wait([pool.submit(write, shard) for shard in shards], return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
    finally:
        torch.set_num_threads(threads)
    for future in done:
        future.result()


class StoppedError(Exception):
    """Another shard's failure stops this one."""


def _write_shard(shard: Shard, writer: Writer, on_bytes: Callable[[int], None]) -> FileEntry:
    """Stream one shard into `writer`; returns its size and digest."""
    from callwright.merger.arithmetic import merged_blocks

    digest = hashlib.sha256()

    def put(block: Buffer) -> int:
        digest.update(block)
        writer.write(block)
        return len(block)

    size, behind = put(header(shard)), deque[Future[int]]()
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writing:
        for tensor in shard.tensors:
            for block in read_blocks(tensor.source) if tensor.copies else merged_blocks(tensor):
                on_bytes(len(block))
                behind.append(writing.submit(put, block))
                if len(behind) > _BEHIND:
                    size += behind.popleft().result()
    return FileEntry(sha256=digest.hexdigest(), size=size + sum(future.result() for future in behind))
