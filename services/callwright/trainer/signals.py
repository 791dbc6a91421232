"""A training told to end before its time: the first signal asks for a checkpoint, a second Ctrl-C waits no more.

Owns the process's handlers for SIGTERM and SIGINT while a training runs. How the workers are asked is given to it.
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
    """The signal that asked for an end; None as long as there was none."""

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
    """Do `start`, which may take SIGTERM for itself, as Ray does; from then on SIGTERM ends this process.

    With the exit code that a shell gives it, and not before every block has been left. Afterwards SIGTERM is whose it
    was.
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
    """Do `work` in a thread and wait for it: Ray Train takes SIGINT for itself where it runs in the main one.

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
