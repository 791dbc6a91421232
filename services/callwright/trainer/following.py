"""Follows a training from the driver: metric lines off the board, into the journal, the store and the progress bar.

Owns the running report. Knows no model and no data; what becomes of a finished training is `training`'s.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import ray

from callwright.errors import Temporary
from callwright.store import Store
from callwright.trainer.progress import Journal

Advance = Callable[[int, int, str], None]
_POLL_SECONDS = 0.5
_REPORT_SECONDS = 5.0


class Follower:
    """Takes the workers' lines off the board in a thread, from the block's beginning to its end."""

    def __init__(self, board: Any, journal: Journal, store: Store, run: str, on_progress: Advance | None) -> None:
        self.journal = journal
        self._board, self._store, self._run, self._on_progress = board, store, run, on_progress
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-training", daemon=True)
        self._reported = 0.0

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._take()
        self.journal.close()

    def _follow(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            self._take()

    def _take(self) -> None:
        lines = ray.get(self._board.drain.remote())
        for line in lines:
            self.journal.add(line)
        if not lines:
            return
        latest = self.journal.latest
        if self._on_progress:
            self._on_progress(latest["step"], latest["steps"], _note(latest))
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            self._reported = time.monotonic()
            with contextlib.suppress(Temporary):  # the next report says more
                write_report(self._store, self._run, {**latest, "run": self._run, "status": "running"})


def write_report(store: Store, run: str, report: dict[str, Any]) -> None:
    """Write `runs/<run>/report.json`."""
    store.put_bytes(f"runs/{run}/report.json", (json.dumps(report, indent=2) + "\n").encode())


def _note(latest: dict[str, Any]) -> str:
    shown = (("loss", "loss {:.3f}"), ("eval_loss", "test loss {:.3f}"), ("token_accuracy", "accuracy {:.1%}"),
             ("tokens_per_second", "{:.0f} tokens/s"))  # fmt: skip
    return ", ".join(form.format(latest[name]) for name, form in shown if name in latest)
