"""The stage `data`: from a FineTune's `data` to Arrow files for training and rows for evaluation, made once.

The work folder's name is a digest of everything that goes in (settings, corpora, tokenizer, this code), so the same
input finds the same files. Knows no trainer and no store.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from callwright import dialects
from callwright.datasets import arrow, mixing, parity, sources
from callwright.datasets.choosing import Choice, choose
from callwright.datasets.conversation import Conversation
from callwright.datasets.encoding import Encoder, Example
from callwright.datasets.processes import chunks, default_count, map_in_order, open_executor
from callwright.datasets.rendering import RefusedError
from callwright.datasets.report import Finding, Report, foreign_tokens
from callwright.datasets.tokenizer import load_tokenizer
from callwright.errors import InvalidInput
from callwright.progress import Advance, silent
from callwright.run import Run
from callwright.spec.model import Data

_POOL_BYTES = 8_000_000
"""Smaller corpora are read and encoded in this process: starting others costs some seconds."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where the stage's results are, and how much there is."""

    folder: Path
    train_rows: int
    train_tokens: int
    test_rows: int
    reused: bool
    """Whether an earlier run had made them from the same input."""
    notes: tuple[str, ...] = ()
    """What a person should know of the base's dialect, a line each."""

    @property
    def train(self) -> Path:
        """Arrow file to train on, already in random order."""
        return self.folder / "train.arrow"

    @property
    def test(self) -> Path:
        """Arrow file of the test split, for the loss."""
        return self.folder / "test.arrow"

    @property
    def test_conversations(self) -> Path:
        """The test split in OpenAI form, for the evaluator."""
        return self.folder / "test.jsonl"

    @property
    def report(self) -> Path:
        """What happened to every row."""
        return self.folder / "report.json"

    def to_dict(self) -> dict[str, Any]:
        """Paths and counts, with the report, as JSON values."""
        report: dict[str, Any] = json.loads(self.report.read_text(encoding="utf-8"))
        paths = {"train": self.train, "test": self.test, "test_conversations": self.test_conversations}
        return {"reused": self.reused, "paths": {name: str(path) for name, path in paths.items()}, **report}


def prepare_run(run: Run, *, processes: int | None = None, on_progress: Advance = silent) -> Prepared:
    """Prepare the conversations of a run's document, or find them made. Raises as `prepare` does."""
    spec = run.finetune.spec
    return prepare(
        spec.data, dialect=spec.dialect, base_dir=run.base_settings, folder=run.data, processes=processes,
        template_arguments=spec.base.template_arguments, on_progress=on_progress,
    )  # fmt: skip


def discard_run(run: Run) -> None:
    """Delete what `prepare_run` has made of a run's document, so that the corpora are read anew."""
    spec = run.finetune.spec
    input_digest = digest(spec.data, spec.dialect, run.base_settings, spec.base.template_arguments)
    shutil.rmtree(_target(run.data, input_digest), ignore_errors=True)


class _Job(NamedTuple):
    """What a process needs to encode rows."""

    dialect: str
    is_native: bool
    """The base's chat template writes it."""
    tokenizer: Path
    """The base's, pickled: loading it as a base's is loaded would import torch into every process."""
    data: Data
    template_arguments: str
    """JSON."""

    def encode(self, lines: Sequence[bytes]) -> "_Encoded":
        """Return the conversations in `lines` of JSON. Raises as `Encoder.encode` does; refusals are counted."""
        encoder = _encoder(self)
        examples: list[Example] = []
        counts: Counter[str] = Counter()
        findings: list[tuple[str, int, Finding]] = []
        for line in lines:
            conversation = Conversation.from_json(line)
            where = conversation.source, conversation.line
            try:
                made = encoder.encode(conversation)
            except RefusedError as error:
                if self.data.strict == "fail":
                    told = f"{conversation.source}: line {conversation.line}: {error}"
                    raise InvalidInput(f"encoding {told}; mend the line or set data.strict to drop") from None
                counts["refused"] += 1
                findings.append((*where, Finding("refused", str(error))))
                continue
            if count := encoder.maker.foreign_tokens(conversation):
                findings.append((*where, foreign_tokens(count)))
            if not made:
                counts["too_long"] += 1
                findings.append((*where, Finding("too_long", "got more tokens than data.maxLength; left out")))
                continue
            made = [example for example in made if any(example.weights)]
            if not made:
                counts["without_loss"] += 1
                findings.append((*where, Finding("no_loss", "got weight 0 at every token; left out")))
                continue
            counts["cut" if made[0].cut else "whole"] += 1
            if len(made) > 1:
                counts["in_several_texts"] += 1
                counts["further_layouts"] += len(made) - 1
                counts["further_tokens"] += sum(len(example.input_ids) for example in made[1:])
            examples += made
        return _Encoded(arrow.to_batch(examples), len(lines), counts, findings)


class _Encoded(NamedTuple):
    """A chunk of rows, encoded, and what happened to each."""

    batch: Any
    """A `pyarrow.RecordBatch`."""
    rows: int
    """Rows read; the batch has those that could be encoded, in all their layouts."""
    counts: Counter[str]
    findings: list[tuple[str, int, Finding]]
    """Source, line and what was found there."""


@lru_cache(maxsize=1)
def _encoder(job: _Job) -> Encoder:
    """Return one for all chunks that a process encodes: it learns the chat template."""
    data = job.data
    tokenizer = pickle.loads(job.tokenizer.read_bytes())
    return Encoder(
        dialects.load(job.dialect, native=job.is_native), tokenizer, data.loss, max_length=data.max_length,
        too_long=data.too_long, template_arguments=json.loads(job.template_arguments),
    )  # fmt: skip


def prepare(
    data: Data,
    *,
    dialect: str | None,
    base_dir: Path,
    folder: Path,
    template_arguments: Mapping[str, Any] | None = None,
    processes: int | None = None,
    on_progress: Advance = silent,
) -> Prepared:
    """Mix and encode `data` for `dialect` and the base's tokenizer, below `folder`; reuse what is already there.

    `processes` defaults to as many as this one may use. Raises `NotFound` and `InvalidInput` for what is wrong with the
    sources, the base's tokenizer or its template.
    """
    target = _target(folder, digest(data, dialect, base_dir, template_arguments))
    if not (target / "report.json").is_file():
        making = folder / f"{target.name}.{os.getpid()}.part"
        making.mkdir(parents=True, exist_ok=True)
        try:
            tokenizer = load_tokenizer(base_dir)
            choice = choose(dialect, tokenizer, template_arguments)  # what is wrong with the template is said first
            pickled = making / "tokenizer.pickle"
            pickled.write_bytes(pickle.dumps(tokenizer))
            job = _Job(choice.dialect.name, choice.is_native, pickled, data, _dumped(template_arguments))
            _make(job, choice, making, processes, on_progress)
            pickled.unlink()
            shutil.rmtree(target, ignore_errors=True)
            making.replace(target)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return _prepared(target, reused=False)
    return _prepared(target, reused=True)


def digest(data: Data, dialect: str | None, base_dir: Path, template_arguments: Mapping[str, Any] | None = None) -> str:
    """Return the hexadecimal SHA-256 of all input: settings, dialect, corpora, tokenizer. Raises as `sources.state`
    does.
    """
    parts = [dialect or "", _dumped(template_arguments), data.model_dump_json(), corpora_digest(data, base_dir)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def corpora_digest(data: Data, base_dir: Path) -> str:
    """Return the hexadecimal SHA-256 of the input that stands outside the document: corpora and tokenizer. Raises
    likewise.
    """
    parts = [sources.state(source.path) for source in data.sources]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in _tokenizer_files(base_dir)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _dumped(template_arguments: Mapping[str, Any] | None) -> str:
    return json.dumps(template_arguments or {}, sort_keys=True)


def _target(folder: Path, input_digest: str) -> Path:
    return folder / f"{input_digest[:12]}-{_code_digest()[:6]}"


def _code_digest() -> str:
    """Return the digest of the code that turns input into results."""
    room = Path(__file__).parent
    files = sorted([*room.rglob("*.py"), *(room.parent / "dialects").rglob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _make(job: _Job, choice: Choice, folder: Path, processes: int | None, on_progress: Advance) -> None:
    data = job.data
    report = Report()
    cache_dir = folder.parent / "sources"
    size = sum(sources.resolve(source.path, cache_dir).stat().st_size for source in data.sources)
    with open_executor((processes or default_count()) if size >= _POOL_BYTES else 1) as executor:
        encoder = _encoder(job)
        split = mixing.mix(data, folder, cache_dir=cache_dir, report=report, on_progress=on_progress, executor=executor)
        try:
            tokens = _encode(job, split, executor, folder, report, on_progress)
            sampled = parity.sample(encoder, map(Conversation.from_json, split.train.lines()))
        finally:
            split.corpus.close()
    if not tokens["train"]["rows"]:
        raise InvalidInput(
            f"encoding: got no row to train on; expected at least one; {'; '.join(report.first_examples(3))}; "
            f"raise data.maxLength ({data.max_length}) or set data.tooLong to cut"
        )
    sampled |= {"dialect": job.dialect, "stop": choice.stop}
    (folder / parity.FILE).write_text(json.dumps(sampled, ensure_ascii=False), encoding="utf-8")
    written = {
        "dialect": job.dialect,
        "notes": choice.notes,
        "data": data.model_dump(mode="json"),
        **tokens,
        **report.to_dict(),
    }
    (folder / "report.json").write_text(json.dumps(written, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _encode(
    job: _Job, split: mixing.Split, executor: Executor | None, folder: Path, report: Report, on_progress: Advance
) -> dict[str, dict[str, int]]:
    """Write the split's files; return rows and tokens of each."""
    with (folder / "test.jsonl").open("wb") as lines:
        lines.writelines(split.test.lines())
    total = len(split.train) + len(split.test)
    done = 0
    tokens = {}
    for name, selection in (("train", split.train), ("test", split.test)):
        with arrow.Writer(folder / f"{name}.arrow") as writer:
            for encoded in map_in_order(job.encode, chunks(selection.lines()), executor):
                writer.write(encoded.batch)
                report.encoding.update(encoded.counts)
                for source, line, finding in encoded.findings:
                    report.note(source, line, finding)
                done += encoded.rows
                on_progress(done, total, "conversations encoded")
        tokens[name] = {"rows": writer.rows, "tokens": writer.tokens}
    return tokens


def _tokenizer_files(base_dir: Path) -> list[Path]:
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
    return [base_dir / name for name in names if (base_dir / name).is_file()]


def _prepared(folder: Path, *, reused: bool) -> Prepared:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    train, test = report["train"], report["test"]
    return Prepared(folder, train["rows"], train["tokens"], test["rows"], reused, tuple(report["notes"]))
