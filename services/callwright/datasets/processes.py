"""Maps work over many pieces in order, in this process or in several, with few pieces in memory at once.

Knows nothing of what is done to them.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import forkserver, get_context
from typing import TypeVar

from callwright import machine

CHUNK_ROWS = 128
_PROCESS_BYTES = 256 * 1024 * 1024
"""Memory that one more process is sure to find: about 100 MiB of its own, and the pieces that it works on."""

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def default_count() -> int:
    """Return how many processes to work in: one for each CPU, and no more than there is memory for."""
    return max(1, min(machine.cpus(), machine.memory_bytes() // _PROCESS_BYTES - 2))  # this one, and the fork server


@contextmanager
def open_executor(count: int) -> Iterator[Executor | None]:
    """Processes for `map_in_order`; None where `count` is 1, so that this process does the work.

    Leaving the block early drops the work that has not begun.
    """
    if count == 1:
        yield None
        return
    # A fork server imports all once for all workers, and none of them inherits this process's threads.
    context = get_context("forkserver")
    context.set_forkserver_preload(["callwright.datasets.prepare", "transformers.tokenization_utils_tokenizers"])
    forkserver.ensure_running()  # it imports while the caller does what comes first
    executor = ProcessPoolExecutor(count, context, _start)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def map_in_order(
    work: Callable[[_Piece], _Result], pieces: Iterable[_Piece], executor: Executor | None = None
) -> Iterator[_Result]:
    """Yield what `work` makes of each piece, in order; with an executor, work, pieces and results are pickled.

    Raises as `work` does.
    """
    if executor is None:
        yield from map(work, pieces)
        return
    under_way, most = deque[Future[_Result]](), 2 * machine.cpus()
    for piece in pieces:
        under_way.append(executor.submit(work, piece))
        if len(under_way) > most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def chunks(rows: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Yield the rows in order, in pieces worth handing to another process."""
    each = iter(rows)
    while chunk := list(islice(each, CHUNK_ROWS)):
        yield chunk


def _start() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as many processes as cores: no threads in each beside
