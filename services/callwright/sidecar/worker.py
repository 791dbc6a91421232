"""`Worker`: long computing is done beside the event loop, so that it holds no other request up.

It has few threads: they and the event loop take turns every few milliseconds, and each more makes the loop wait longer
for its turn.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

SHORT = 16 * 1024
"""Bytes that are read, rendered or translated at once; what is longer goes to a thread."""
_THREADS = 4
P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Computes what is long in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="worker")

    async def run(self, size: int, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return what `function` returns, which has `size` bytes to compute with. Raises what it raises."""
        if size <= SHORT:
            return function(*arguments, **named)
        return await asyncio.wrap_future(self._threads.submit(function, *arguments, **named))

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
