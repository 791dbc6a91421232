"""Puts every row to a model, several at a time, and sums up the results.

    report = evaluate(base_url="http://127.0.0.1:8100/v1", model="m", rows=rows)
    report.total.accuracy

The walk of a row: an earlier result or `asking` -> `journal` -> `measures` -> `Report`.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence, Sized
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from itertools import zip_longest
from pathlib import Path
from typing import Any, ParamSpec

from callwright import dialects
from callwright.errors import InvalidInput, Unavailable
from callwright.evaluator import asking
from callwright.evaluator.endpoint import Endpoint
from callwright.evaluator.journal import Journal, Outcome
from callwright.evaluator.measures import FaultKind, Judged, judged, measure, shown_row
from callwright.evaluator.report import Report, ShownRow
from callwright.evaluator.row import Row
from callwright.progress import Advance

_PROGRESS_SECONDS = 0.2
_SAMPLES = 10
_P = ParamSpec("_P")


@dataclass(frozen=True)
class Judge:
    """A model, behind any OpenAI endpoint, that says whether final answers agree with their references."""

    base_url: str
    model: str
    api_key: str | None = None


async def evaluate_async(
    *,
    base_url: str,
    model: str,
    rows: Iterable[Row],
    notes: Sequence[str] = (),
    concurrency: int = 16,
    max_tokens: int = 512,
    dialect: str | None = None,
    api_key: str | None = None,
    timeout_seconds: float = 120.0,
    retries: int = 2,
    retry_seconds: float = 0.5,
    worst: int = 50,
    version: str | None = None,
    judge: Judge | None = None,
    on_progress: Advance | None = None,
    results_path: Path | None = None,
    keep_finished: bool = False,
) -> Report:
    """Measure `model` at the OpenAI endpoint `base_url` on `rows`, `concurrency` requests under way at once.

    `notes` on how the rows were read stand in the report. `dialect` goes along as a header, for a model whose own
    dialect the endpoint does not know. With `results_path`, an evaluation that was interrupted carries on; with
    `keep_finished` one that was finished gives its results too. `judge` gives its word on final answers. Raises
    `Unavailable` when the endpoint is or goes down, `NotFound` when it has no such model, `InvalidInput` when there is
    no row, no such dialect, or the key is refused.
    """
    if dialect not in (None, *dialects.NAMES):
        expected = ", ".join(dialects.NAMES)
        raise InvalidInput(f"evaluating {model!r}: got dialect {dialect!r}; expected one of {expected}")
    settings = {"model": model, "version": version, "dialect": dialect, "max_tokens": max_tokens}
    if judge:
        settings["judge"] = judge.model
    options: dict[str, Any] = {"timeout_seconds": timeout_seconds, "retries": retries, "retry_seconds": retry_seconds}

    async with AsyncExitStack() as stack:
        endpoint = Endpoint(base_url, model, dialect=dialect, api_key=api_key, **options)
        grader = Endpoint(judge.base_url, judge.model, api_key=judge.api_key, **options) if judge else None
        for each in filter(None, (endpoint, grader)):
            await stack.enter_async_context(each)
            await each.check()
        journal = stack.enter_context(Journal(results_path, settings, keep_finished=keep_finished))
        run = _Run(endpoint, grader, journal, dialect, max_tokens, concurrency, on_progress, worst)
        await run.all(iter(rows), len(rows) if isinstance(rows, Sized) else 0)
        return run.report(version, notes)


def _blocking(function: Callable[_P, Coroutine[Any, Any, Report]]) -> Callable[_P, Report]:
    @wraps(function)
    def call(*args: _P.args, **options: _P.kwargs) -> Report:
        return asyncio.run(function(*args, **options))

    return call


evaluate = _blocking(evaluate_async)
"""The same for callers without an event loop."""


@dataclass
class _Run:
    """The state of one evaluation."""

    endpoint: Endpoint
    judge: Endpoint | None
    journal: Journal
    dialect: str | None
    max_tokens: int
    concurrency: int
    on_progress: Advance | None
    worst_count: int

    def __post_init__(self) -> None:
        self.results: list[Judged] = []
        self.sets: dict[str, int] = {}
        """Of each set the place of its first row."""
        self.worst: dict[FaultKind, list[tuple[float, int, ShownRow]]] = {}
        """Severity, minus the row's place (so that concurrency changes nothing), and the row as the report shows it."""
        self.samples: list[tuple[str, int, ShownRow]] = []
        """Digest of the row, its place, and the row."""
        self.errors = self.resumed = self.unanswered_in_a_row = 0
        self.gives_logprobs = True
        self.started, self.told = time.monotonic(), 0.0

    async def all(self, rows: Iterator[Row], count: int) -> None:
        """Work through the rows; stop at the first error that makes the rest pointless."""
        numbered = enumerate(rows)
        tasks = [asyncio.create_task(self._some(numbered, count)) for _ in range(self.concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not self.results:
            raise InvalidInput("evaluating: got no row with gold; expected at least one request; check the sets")
        if not self.errors:
            self.journal.finish()
        self._tell(count, last=True)

    async def _some(self, rows: Iterator[tuple[int, Row]], count: int) -> None:
        for place, row in rows:
            outcome = self.journal.find(row)
            if outcome:
                self.resumed += 1
            else:
                outcome = await self._ask(row)
                self._give_up_when_down(outcome)
                self.journal.add(row, outcome)
            self._count(place, row, outcome)
            self._tell(count)

    async def _ask(self, row: Row) -> Outcome:
        if row.kind == "general" and self.gives_logprobs:
            outcome = await asking.measure_loss(self.endpoint, row)
            if outcome:
                return outcome
            self.gives_logprobs = False
        return await asking.ask(self.endpoint, row, dialect=self.dialect, max_tokens=self.max_tokens, judge=self.judge)

    def _give_up_when_down(self, outcome: Outcome) -> None:
        """Raise once the endpoint has stopped answering: the journal keeps what there is."""
        error = outcome.error
        self.unanswered_in_a_row = self.unanswered_in_a_row + 1 if error and error.temporary else 0
        if error and self.unanswered_in_a_row >= max(8, self.concurrency):
            raise Unavailable(
                f"evaluating {self.endpoint.model!r}: got {self.unanswered_in_a_row} failures in a row from "
                f"{self.endpoint.base_url}, the last: {error.reason}: {error.text}; expected answers; "
                f"{len(self.results)} requests are done; run the same command again to carry on"
            )

    def _count(self, place: int, row: Row, outcome: Outcome) -> None:
        result = judged(row, outcome)
        self.results.append(result)
        self.sets[result.set] = min(place, self.sets.get(result.set, place))
        self.errors += outcome.error is not None
        if result.fault.severity:
            entry = (result.fault.severity, -place, shown_row(row, outcome, result.fault.words))
            others = self.worst.get(result.fault.kind, ())
            self.worst[result.fault.kind] = heapq.nlargest(self.worst_count, [*others, entry])
        if result.kind in ("call", "no_call"):
            sample = (row.digest, place, shown_row(row, outcome, result.fault.words))
            self.samples = heapq.nsmallest(_SAMPLES, [*self.samples, sample])

    def _failures(self) -> tuple[ShownRow, ...]:
        """Return the worst answers, worst first: of each kind of fault as many, as far as there are."""
        in_turn = zip_longest(*sorted(self.worst.values(), reverse=True))
        taken = [entry for turn in in_turn for entry in turn if entry][: self.worst_count]
        return tuple(shown for _, _, shown in sorted(taken, reverse=True))

    def _tell(self, count: int, last: bool = False) -> None:
        now, done = time.monotonic(), len(self.results)
        if self.on_progress and (last or now - self.told >= _PROGRESS_SECONDS):
            self.told = now
            right = [result.correct for result in self.results if result.kind in ("call", "no_call")]
            words = f"{sum(right) / len(right):.1%} right" if right else ""
            self.on_progress(done, done if last else max(count, done + 1), words)

    def report(self, version: str | None, before: Sequence[str]) -> Report:
        """Return what was found, with the notes from `before`."""
        results, notes, names = self.results, [*before], sorted(self.sets, key=self.sets.__getitem__)
        if self.resumed:
            notes.append(f"{self.resumed} of {len(results)} results are from an earlier, interrupted run")
        if not self.gives_logprobs:
            notes.append("the endpoint gives no prompt log-probabilities: general conversations are scored by overlap")
        if self.errors:
            notes.append(f"{self.errors} of {len(results)} requests got no answer and count as wrong")
        return Report(
            model=self.endpoint.model,
            version=version,
            base_url=self.endpoint.base_url,
            dialect=self.dialect,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.started,
            total=measure(results),
            sets={name: measure([r for r in results if r.set == name]) for name in names},
            failures=self._failures(),
            samples=tuple(shown for _, _, shown in self.samples),
            notes=tuple(notes),
            calls={r.key: r.correct for r in results if r.kind == "call"},
            no_calls={r.key: r.correct for r in results if r.kind == "no_call"},
            losses={r.key: r.outcome.loss for r in results if r.outcome.loss},
        )
