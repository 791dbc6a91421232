"""What commands print: colour and progress bars on a terminal, plain lines elsewhere, JSON for programs.

Results go to stdout, everything else to stderr.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from callwright.dialects.literals import encodable
from callwright.progress import Advance

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


def emit(as_json: bool, document: Any, lines: Iterable[RenderableType]) -> None:
    """Print a command's result to stdout: `document` as JSON, or `lines` for people, strings as they are."""
    if as_json:
        text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(document, indent=2, default=str)
        sys.stdout.write(text + "\n")
        return
    for line in lines:
        out.print(encodable(line) if isinstance(line, str) else line, markup=False)


def table(*headings: str) -> Table:
    """Make an empty table without rules, with a header row if there are headings."""
    made = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(headings))
    for heading in headings:
        made.add_column(heading)
    return made


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Yield a function to report progress with: a bar on a terminal, else a line at most every ten seconds.

    Work that reports no progress shows nothing, such as a stage that was done earlier.
    """
    if err.is_terminal:
        columns = (
            TextColumn("{task.description:<10}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        bars = Progress(*columns, console=err)
        task = bars.add_task(title, total=1, note="")

        def draw(done: int, total: int, words: str) -> None:
            bars.start()
            bars.update(task, completed=done, total=max(total, 1), note=words)

        try:
            yield draw
        finally:
            bars.stop()
        return
    last = [0.0]

    def line(done: int, total: int, words: str) -> None:
        now = time.monotonic()
        if done >= total or now - last[0] >= _PLAIN_SECONDS:
            last[0] = now
            note(f"{title}: {done}/{total} {words}".rstrip())

    yield line
