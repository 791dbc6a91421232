"""Signals during a training: the first SIGTERM or Ctrl-C asks for a checkpoint and an end; the next Ctrl-C ends it.

Owns the process's handlers for SIGTERM and SIGINT while a training runs.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Notice:
    """The signal that asked for an end; None while there was none."""

    number: signal.Signals | None = None


@contextmanager
def stopping_on_signals(ask: Callable[[], object], on_note: Callable[[str], None] | None = None) -> Iterator[Notice]:
    """Call `ask` on SIGTERM and SIGINT, where this thread may handle signals; the handlers before come back at the end.

    SIGINT after either of them is a KeyboardInterrupt.
    """
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return

    def handle(number: int, frame: object) -> None:
        if number == signal.SIGINT and notice.number is not None:
            raise KeyboardInterrupt
        notice.number = signal.Signals(number)
        if on_note:
            on_note("train: stopping after this step, with a checkpoint; Ctrl-C stops at once")
        ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield notice
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def termination_ends(start: Callable[[], object]) -> Iterator[None]:
    """Call `start`, which may install a SIGTERM handler as Ray does, then let SIGTERM end this process in the block.

    SIGTERM raises `SystemExit` with a shell's exit code, 143, so that every `finally` runs. The handler from before
    `start` comes back at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        start()
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        start()
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_aside(work: Callable[[], object]) -> None:
    """Do `work` in a thread and wait for it, because Ray Train takes over SIGINT when it runs in the main thread.

    Raises what `work` raises.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            done.set_exception(error)
        else:
            done.set_result(None)

    thread = threading.Thread(target=run, name="training", daemon=True)
    thread.start()
    while thread.is_alive():  # one endless wait could miss a signal that comes just before it begins
        thread.join(0.5)
    done.result()
