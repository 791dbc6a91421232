"""Work on many pieces, in order, in this process or in several, with few pieces under way at once.

Owns the processes. Knows nothing of what is done in them.
"""

import gc
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from types import TracebackType
from typing import TypeVar

CHUNK_ROWS = 128

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def chunks(rows: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """The rows in order, in pieces worth handing to another process."""
    each = iter(rows)
    while chunk := list(islice(each, CHUNK_ROWS)):
        yield chunk


class Processes:
    """One process, which is this one, or several others; use as a context."""

    def __init__(self, count: int) -> None:
        self._window = 2 * count
        self._executor = None if count == 1 else _executor(count)

    def map(self, work: Callable[[_Piece], _Result], pieces: Iterable[_Piece]) -> Iterator[_Result]:
        """What `work` makes of each piece, in order; with several processes all is pickled. Raises as `work` does."""
        if self._executor is None:
            yield from map(work, pieces)
            return
        under_way: deque[Future[_Result]] = deque()
        for piece in pieces:
            under_way.append(self._executor.submit(work, piece))
            if len(under_way) > self._window:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)


def _executor(count: int) -> ProcessPoolExecutor:
    # A fork server imports all once for all workers, and none of them inherits this process's threads.
    context = get_context("forkserver")
    context.set_forkserver_preload(["callwright.datasets.prepare", "transformers.utils.chat_template_utils"])
    return ProcessPoolExecutor(count, context, _start)


def _start() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # rows make many objects and hardly a cycle
