"""What commands print: colour and progress bars on a terminal, plain lines elsewhere, JSON for programs.

Results go to stdout, everything else to stderr.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from callwright.dialects.literals import encodable
from callwright.progress import Advance

_ESCAPED = {
    code: f"\\u{code:04x}"
    for code in (*range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
"""DEL, the second set of control characters, and what turns the direction of a line around."""
VISIBLE = _ESCAPED | {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: "␡"}
"""How control characters are shown, such as an escape that a terminal would obey."""


class _Console(Console):
    """Shows what comes from models, tools, pods and documents as data: no control character, no markup of Rich's."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of anything, to which the terminal's own codes are added later."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def visible(text: str) -> str:
    """Return the text with its control characters shown, but for line ends and tabs."""
    return text if text.isprintable() else text.translate(VISIBLE)


out = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = _Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
_PLAIN_SECONDS = 10.0


def fail(message: str) -> None:
    """Print an error to stderr."""
    err.print("error:", style="bold red", end=" ")
    err.print(message)


def note(message: str) -> None:
    """Print a plain line to stderr."""
    err.print(message)


def emit(as_json: bool, document: Any, lines: Iterable[RenderableType]) -> None:
    """Print a command's result to stdout: `document` as JSON, or `lines` for people, strings as they are."""
    if as_json:
        text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(document, indent=2, default=str)
        sys.stdout.write(text.translate(_ESCAPED) + "\n")
        return
    for line in lines:
        out.print(encodable(line) if isinstance(line, str) else line)


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
            TextColumn("{task.description:<10}", markup=False), BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
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
