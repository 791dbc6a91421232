"""How long work reports how far it is: one callback for every stage, and what wraps it.

Knows no terminal: bars are drawn by `callwright.cli.output`.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

Advance = Callable[[int, int, str], None]
"""Called with (done, total, a few words); the unit is the work's own."""


def silent(done: int, total: int, words: str) -> None:
    """Report to nobody."""


def in_bytes(advance: Advance) -> Advance:
    """Return an `Advance` that is called with bytes and reports them in MB, or in kB where there are few."""

    def report(done: int, total: int, words: str) -> None:
        unit, size = ("MB", 1_000_000) if total >= 10_000_000 else ("kB", 1000)
        advance(-(-total // size) if done >= total else done // size, -(-total // size), f"{unit} {words}")

    return report


def beside(advance: Advance, totals: Mapping[str, int]) -> dict[str, Advance]:
    """Return an `Advance` for each of several works that go on beside each other, by name, all reported as one."""
    told = {name: (0, total, "") for name, total in totals.items()}

    def report(name: str, done: int, total: int, words: str) -> None:
        told[name] = (done, total, f"{name}: {words}")
        counts, totals, said = zip(*told.values(), strict=True)
        advance(sum(counts), sum(totals), ", ".join(filter(None, said)))

    return {name: partial(report, name) for name in told}


def logged(log: logging.Logger, *, every_seconds: float) -> Advance:
    """Return an `Advance` that logs its last call, and of the others one every `every_seconds`."""
    last = 0.0

    def report(done: int, total: int, words: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= every_seconds:
            last = now
            log.info("%d/%d %s", done, total, words)

    return report
