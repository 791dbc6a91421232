"""The evaluation of a run, as its FineTune document says: rows, reports, gate, records.

Owns the order of the stage, for a laptop and a cluster alike. Does not know who serves the models, and does not
promote.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from callwright.datasets import mixing
from callwright.datasets.conversation import Conversation
from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.evaluator import overlap, records
from callwright.evaluator.evaluation import Advance, evaluate
from callwright.evaluator.findings import Findings, gather
from callwright.evaluator.gate import decide
from callwright.evaluator.report import Report
from callwright.evaluator.rows import Reading, Row, from_messages, read
from callwright.spec import FineTune
from callwright.spec.model import EvaluationSet
from callwright.store import Store

OWN_SPLIT = "test-split"
"""Name of the run's own test split as a set."""
Progress = Callable[[str], Advance]
"""Gives the function to report one model's progress with, by its heading."""


@dataclass(frozen=True)
class Served:
    """Model ids at the endpoint. Only the candidate must be there."""

    candidate: str
    base: str | None = None
    promoted: str | None = None


def evaluate_run(
    finetune: FineTune,
    *,
    run: str,
    version: str,
    store: Store,
    base_url: str,
    served: Served,
    workdir: Path,
    api_key: str | None = None,
    timeout_seconds: float = 120.0,
    rows: Iterable[Row] | None = None,
    on_progress: Progress | None = None,
    on_note: Callable[[str], None] = lambda line: None,
) -> Findings:
    """Measure a run's candidate, decide by the gate, and record both in the store.

    Base and promoted version are measured beside it where they are served; the promoted version's report is otherwise
    taken from the store. `workdir` keeps what an interrupted evaluation carries on from. `rows` replaces the
    document's sets. The caller promotes, or raises `GateFailed` with `findings.gate.message`.
    """
    spec = finetune.spec.evaluate
    rows = list(rows) if rows is not None else _rows(finetune, workdir, on_note)

    def measure(heading: str, model: str, *, dialect: str | None = None) -> Report:
        return evaluate(
            base_url=base_url,
            model=model,
            rows=rows,
            concurrency=spec.concurrency,
            max_tokens=spec.max_tokens,
            dialect=dialect,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            version=version if heading == "candidate" else None,
            on_progress=on_progress(heading) if on_progress else None,
            results_path=workdir / "evaluation" / f"{version}-{heading}.jsonl",
        )

    reports: dict[str, Report] = {}
    if spec.compare_base and served.base:
        reports["base"] = measure("base", served.base, dialect=finetune.spec.dialect)
    elif spec.compare_base:
        on_note("the base is not served here: the candidate is not compared with it")
    standing, promoted = records.read_promoted(store, finetune.model_name, other_than=version)
    if standing and served.promoted:
        promoted = measure("promoted", served.promoted)
    if promoted:
        reports["promoted"] = promoted
    candidate = reports["candidate"] = measure("candidate", served.candidate)
    gate = decide(spec.gate, candidate, promoted=promoted, expects_promoted=bool(standing), base=reports.get("base"))
    findings = gather(reports, gate)
    records.write(store, run, findings)
    try:
        records.write_figures(store, finetune.model_name, version, run, findings)
    except NotFound:
        on_note(f"{finetune.model_name} {version} is no whole version in {store.url}: its manifest gets no figures")
    return findings


def _rows(finetune: FineTune, workdir: Path, on_note: Callable[[str], None]) -> list[Row]:
    """The document's sets, or the run's own test split; notes what is left out and what overlaps with training."""
    sets, corpora = finetune.spec.evaluate.sets, workdir / "corpora"
    with TemporaryDirectory() as folder:
        split = None
        try:
            split = mixing.mix(finetune.spec.data, Path(folder), cache_dir=corpora)
        except (NotFound, Unavailable) as error:
            if not sets:
                raise
            on_note(f"the training data is not here, so overlap with it is not looked for: {error}")
        rows = _own_split(split.test) if split and not sets else []
        for part in sets:
            rows.extend(_set(part, corpora, on_note))
        if split:
            for line in overlap.notes(rows, overlap.known(split.train)):
                on_note(line)
    return rows


def _own_split(test: Iterable[Conversation]) -> list[Row]:
    rows = [row for c in test for row in from_messages(c.messages, c.tools, set=OWN_SPLIT, id=c.id)]
    if not rows:
        raise InvalidInput(
            "evaluating: the run's own test split holds no request; expected at least one; "
            "name sets under evaluate.sets, or raise data.testFraction"
        )
    return rows


def _set(part: EvaluationSet, corpora: Path, on_note: Callable[[str], None]) -> Iterator[Row]:
    reading = Reading()
    yield from read(part.path, name=part.name, format=part.format, limit=part.limit, reading=reading, cache_dir=corpora)
    for line in reading.notes(part.name):
        on_note(line)
