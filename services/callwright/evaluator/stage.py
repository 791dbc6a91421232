"""The evaluation of a run, as its FineTune document says: rows, reports, gate, records.

    findings = evaluate_run(run, base_url="http://127.0.0.1:8100/v1")
    findings.gate.passed

The same on a laptop and on a cluster. The caller serves the models and promotes.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from callwright.datasets import mixing
from callwright.datasets.conversation import Conversation
from callwright.datasets.formats.row import RowError
from callwright.errors import CallwrightError, Interrupted, InvalidInput, NotFound, Unavailable
from callwright.evaluator import findings, sets
from callwright.evaluator.decision import stored_at
from callwright.evaluator.evaluation import evaluate_async
from callwright.evaluator.findings import Findings
from callwright.evaluator.formats import split
from callwright.evaluator.gate import decide
from callwright.evaluator.report import Report
from callwright.evaluator.row import Row
from callwright.progress import Advance, beside, silent
from callwright.run import Run
from callwright.spec import measurement
from callwright.spec.model import EvaluationSet
from callwright.store import Store

JOURNALS = "evaluation"
"""Folder of the run with the answers that an interrupted evaluation carries on from."""
_KEPT_SECONDS = 30.0
"""Seconds after which answers are stored again."""
OWN_SPLIT = "test-split"
"""Name of the run's own test split as a set."""


def evaluate_run(
    run: Run,
    *,
    version: str | None = None,
    base_url: str,
    base_id: str | None = None,
    promoted_id: str | None = None,
    api_key: str | None = None,
    timeout_seconds: float = 120.0,
    rows: Iterable[Row] | None = None,
    on_progress: Advance = silent,
    on_note: Callable[[str], None] = lambda line: None,
) -> Findings:
    """Measure a run's candidate, decide by the gate, and record both in the store.

    The endpoint serves the candidate under the model's name; `version` defaults to the run's own. Base and promoted
    version are measured beside it where they are served, under `base_id` and `promoted_id`; the promoted version's
    report is otherwise taken from the store. All models are asked beside each other. What an interrupted evaluation
    carries on from is kept in `run.workdir` and, of each model, in the store, for another machine. `rows` replaces the
    document's sets. The caller promotes, or raises `GateFailed` with `findings.gate.message`. Raises `Unavailable`
    where the endpoint answered too little for a decision, and `Interrupted` on SIGTERM, with the answers kept.
    """
    finetune, store, version = run.finetune, run.store, version or run.version
    store.delete_keys([stored_at(run.name)])  # an earlier decision is not this one's, should it not be reached
    spec = finetune.spec.evaluate
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        on_note(line)

    rows = list(rows) if rows is not None else _rows(run, note)

    measured = measurement(finetune, version)
    standing, promoted = findings.promoted_report(store, finetune.model_name, other_than=version)
    models: dict[str, tuple[str, str | None]] = {}
    if spec.compare_base and base_id:
        models["base"] = (base_id, None)
    elif spec.compare_base:
        on_note("the base is not served here: the candidate is not compared with it")
    if standing and promoted_id:
        models["promoted"] = (promoted_id, standing)
    models["candidate"] = (run.model, version)
    advances = beside(on_progress, dict.fromkeys(models, len(rows)))

    async def measure(heading: str, model: str, version: str | None) -> Report:
        journal = f"{JOURNALS}/{measured}-{heading}{f'-{version}' if version else ''}.jsonl"
        here = run.workdir / journal
        async with _kept(store, run.key(journal), here):
            return await evaluate_async(
                base_url=base_url,
                model=model,
                rows=rows,
                notes=notes,
                concurrency=spec.concurrency,
                max_tokens=spec.max_tokens,
                api_key=api_key,
                timeout_seconds=timeout_seconds,
                version=version,
                on_progress=advances[heading],
                results_path=here,
                keep_finished=True,
            )

    async def measure_all() -> list[Report]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(measure(heading, *model)) for heading, model in models.items()]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    made = dict(zip(models, _run_until_told(measure_all()), strict=True))
    candidate, promoted = made["candidate"], made.get("promoted", promoted)
    in_order = {"base": made.get("base"), "promoted": promoted, "candidate": candidate}
    reports = {heading: report for heading, report in in_order.items() if report}
    gate = decide(spec.gate, candidate, promoted=promoted, expects_promoted=bool(standing), base=reports.get("base"))
    found = findings.gather(reports, gate, measured)
    findings.store_findings(store, run.name, found)
    findings.store_figures(store, run.model, version, run.name, found)
    return found


def _run_until_told(work: Coroutine[Any, Any, list[Report]]) -> list[Report]:
    """Run `work`; SIGTERM cancels it, as asyncio does it for Ctrl-C: an exception that a handler raises can come
    anywhere in the loop, and get lost there.
    """

    async def cancellable() -> list[Report]:
        task = asyncio.current_task()
        if task and on_main_thread:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    on_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise Interrupted("evaluating: stopped by SIGTERM; the answers so far are kept", signal.SIGTERM) from None
    finally:
        if on_main_thread:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@asynccontextmanager
async def _kept(store: Store, key: str, journal: Path) -> AsyncIterator[None]:
    """Take up the answers that the store has, and store those that come: at the end, and now and then before it, as a
    machine that is lost keeps nothing.
    """

    putting = threading.Lock()  # a thread goes on when its task is cancelled

    def put() -> None:
        with putting:
            if journal.is_file():
                store.put_bytes(key, journal.read_bytes())

    async def keep() -> None:
        while True:
            await asyncio.sleep(_KEPT_SECONDS)
            with suppress(CallwrightError):  # it is tried again
                await asyncio.to_thread(put)

    if not journal.exists() and store.exists(key):
        store.get_file(key, journal)
    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        put()


def _rows(run: Run, on_note: Callable[[str], None]) -> list[Row]:
    """Return the document's sets, or the run's own test split; notes what is left out and what overlaps with
    training.
    """
    named, corpora = run.finetune.spec.evaluate.sets, run.data / "sources"
    with TemporaryDirectory() as folder:
        mixed = None
        try:
            mixed = mixing.mix(run.finetune.spec.data, Path(folder), cache_dir=corpora)
        except (NotFound, Unavailable) as error:
            if not named:
                raise
            on_note(f"the training data is not here, so overlap with it is not looked for: {error}")
        rows = _own_split(mixed.test, on_note) if mixed and not named else []
        for each in named:
            rows.extend(_set(each, corpora, on_note))
        if mixed:
            for line in sets.overlap_notes(rows, sets.training_fingerprints(mixed.train)):
                on_note(line)
    return rows


def _own_split(test: Iterable[Conversation], on_note: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    reading = sets.Reading()
    for conversation in test:
        reading.conversations += 1
        try:
            rows.extend(split(conversation, set=OWN_SPLIT))
        except RowError as error:
            reading.fault(f"{conversation.source}:{conversation.line}", error.detail)
    for line in reading.notes(OWN_SPLIT):
        on_note(line)
    if not rows:
        raise InvalidInput(
            "evaluating: the run's own test split holds no request; expected at least one; "
            "name sets under evaluate.sets, or raise data.testFraction"
        )
    return rows


def _set(named: EvaluationSet, corpora: Path, on_note: Callable[[str], None]) -> Iterator[Row]:
    reading = sets.Reading()
    yield from sets.read(
        named.path, name=named.name, format=named.format, limit=named.limit, reading=reading, cache_dir=corpora
    )
    for line in reading.notes(named.name):
        on_note(line)
