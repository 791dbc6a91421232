"""What commands print: colour and progress bars on a terminal, plain lines elsewhere, JSON where a machine reads.

Results go to stdout, everything else to stderr.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int, int, str], None]
"""Called with (done, total, note): units are the work's own."""

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_PLAIN_SECONDS = 10.0


def fail(message: str) -> None:
    """Print an error to stderr."""
    err.print("error:", style="bold red", end=" ")
    err.print(message, markup=False)


def note(message: str) -> None:
    """Print a plain line to stderr."""
    err.print(message, markup=False)


def emit_json(value: Any) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Yield a function to report progress with: a bar on a terminal, else a line at most every ten seconds."""
    if err.is_terminal:
        columns = (
            TextColumn("{task.description:<10}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=err) as bars:
            task = bars.add_task(title, total=1, note="")
            yield lambda done, total, text: bars.update(task, completed=done, total=max(total, 1), note=text)
        return
    last = [0.0]

    def line(done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done >= total or now - last[0] >= _PLAIN_SECONDS:
            last[0] = now
            note(f"{title}: {done}/{total} {text}".rstrip())

    yield line
