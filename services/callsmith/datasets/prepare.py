"""The stage `data`: from a FineTune's `data` to Arrow files for training and rows for evaluation, made once.

The work folder's name is a digest of everything that goes in (settings, corpora, tokenizer, this code), so the same
input finds the same files. Knows no trainer and no store.
"""

import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from callsmith import dialects
from callsmith.datasets import arrow, mixing, sources
from callsmith.datasets.conversation import Conversation
from callsmith.datasets.corpus import Selection
from callsmith.datasets.encoding import Encoder, Example
from callsmith.datasets.mixing import Advance
from callsmith.datasets.report import Finding, Report
from callsmith.datasets.template import RefusedError, Tokenizer
from callsmith.errors import InvalidInput, NotFound
from callsmith.spec.model import Data

CHUNK_ROWS = 128
_POOL_ROWS = 4000
"""Fewer rows than this are encoded in this process: starting others costs some seconds."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where the stage's results are, and how much there is."""

    folder: Path
    train_rows: int
    train_tokens: int
    test_rows: int
    reused: bool
    """Whether an earlier run had made them from the same input."""

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


def prepare(
    data: Data,
    *,
    dialect: str,
    base_dir: Path,
    folder: Path,
    processes: int | None = None,
    on_progress: Advance | None = None,
) -> Prepared:
    """Mix and encode `data` for `dialect` and the base's tokenizer, below `folder`; reuse what is already there.

    `processes` defaults to the machine's. Raises `NotFound` and `InvalidInput` for what is wrong with the sources, the
    base's tokenizer or its template.
    """
    target = folder / f"{digest(data, dialect, base_dir)[:12]}-{_code_digest()[:6]}"
    if not (target / "report.json").is_file():
        making = folder / f"{target.name}.{os.getpid()}.part"
        making.mkdir(parents=True, exist_ok=True)
        try:
            _make(data, _Job(dialect, base_dir, data), making, processes, on_progress or _silent)
            shutil.rmtree(target, ignore_errors=True)
            making.replace(target)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return _prepared(target, reused=False)
    return _prepared(target, reused=True)


def digest(data: Data, dialect: str, base_dir: Path) -> str:
    """Hexadecimal SHA-256 of all input: settings, corpora, dialect, tokenizer. Raises as `sources.state` does."""
    parts = [dialect, data.model_dump_json(), *(sources.state(source.path) for source in data.sources)]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in _tokenizer_files(base_dir)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _code_digest() -> str:
    """Digest of the code that turns input into results."""
    room = Path(__file__).parent
    files = sorted([*room.rglob("*.py"), *(room.parent / "dialects").rglob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def load_tokenizer(base_dir: Path) -> Tokenizer:
    """The base's own tokenizer. Raises `NotFound` for no folder and `InvalidInput` for one without a fast tokenizer."""
    if not base_dir.is_dir():
        raise NotFound(f"loading the tokenizer: no folder {base_dir}; expected a model with tokenizer.json")
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(base_dir, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"loading the tokenizer: {base_dir} has none that can be read: {error}") from None
    if not tokenizer.is_fast:
        raise InvalidInput(f"loading the tokenizer: got a slow one in {base_dir}; expected tokenizer.json")
    loaded: Tokenizer = tokenizer
    return loaded


class _Job(NamedTuple):
    """What a worker needs to encode rows."""

    dialect: str
    base_dir: Path
    data: Data

    def encoder(self) -> Encoder:
        return Encoder(
            dialects.load(self.dialect),
            load_tokenizer(self.base_dir),
            self.data.loss,
            max_length=self.data.max_length,
            too_long=self.data.too_long,
        )


class _Encoded(NamedTuple):
    """A chunk's rows, encoded, and what happened on the way."""

    batches: bytes
    rows: int
    counts: Counter[str]
    findings: list[tuple[str, int, Finding]]


def _make(data: Data, job: _Job, folder: Path, processes: int | None, on_progress: Advance) -> None:
    report = Report()
    split = mixing.mix(data, folder, cache_dir=folder.parent / "sources", report=report, on_progress=on_progress)
    try:
        with (folder / "test.jsonl").open("wb") as lines:
            lines.writelines(split.test.lines())
        total = len(split.train) + len(split.test)
        done = 0
        tokens = {}
        processes = (os.cpu_count() or 1) if processes is None else processes
        with _Workers(job, processes if total >= _POOL_ROWS else 1) as workers:
            for name, selection in (("train", split.train), ("test", split.test)):
                with arrow.Writer(folder / f"{name}.arrow") as writer:
                    for encoded in workers.map(_chunks(selection)):
                        writer.write(encoded.batches)
                        report.encoding.update(encoded.counts)
                        for source, line, finding in encoded.findings:
                            report.note(source, line, finding)
                        done += encoded.rows
                        on_progress(done, total, "conversations encoded")
                tokens[name] = {"rows": writer.rows, "tokens": writer.tokens}
    finally:
        split.corpus.close()
    if not tokens["train"]["rows"]:
        raise InvalidInput(
            f"encoding: got no row to train on; expected at least one; {'; '.join(report.first_examples(3))}; "
            f"raise data.maxLength ({data.max_length}) or set data.tooLong to cut"
        )
    written = {"dialect": job.dialect, "data": data.model_dump(mode="json"), **tokens, **report.to_dict()}
    (folder / "report.json").write_text(json.dumps(written, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _chunks(selection: Selection) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for line in selection.lines():
        chunk.append(line)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _encode(encoder: Encoder, lines: Sequence[bytes]) -> _Encoded:
    examples: list[Example] = []
    counts: Counter[str] = Counter()
    findings: list[tuple[str, int, Finding]] = []
    for line in lines:
        conversation = Conversation.from_json(line)
        where = conversation.source, conversation.line
        try:
            example = encoder.encode(conversation)
            further = encoder.further(conversation)
        except RefusedError as error:
            counts["refused"] += 1
            findings.append((*where, Finding("refused", str(error))))
            continue
        if example is None:
            counts["too_long"] += 1
            findings.append((*where, Finding("too_long", "got more tokens than data.maxLength; left out")))
            continue
        counts["cut" if example.cut else "whole"] += 1
        examples.append(example)
        if further:
            counts["further_layouts"] += len(further)
            examples += further
    return _Encoded(arrow.to_bytes(examples), len(lines), counts, findings)


class _Workers:
    """Encodes chunks in order: in this process for few rows, else in others, with few chunks under way at once."""

    def __init__(self, job: _Job, processes: int) -> None:
        self._window = 2 * processes
        self._encoder = job.encoder()
        self._executor = None if processes == 1 else _executor(job, processes)

    def map(self, chunks: Iterator[list[bytes]]) -> Iterator[_Encoded]:
        if self._executor is None:
            yield from (_encode(self._encoder, chunk) for chunk in chunks)
            return
        under_way: deque[Future[_Encoded]] = deque()
        for chunk in chunks:
            under_way.append(self._executor.submit(_encode_in_worker, chunk))
            if len(under_way) > self._window:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)


def _executor(job: _Job, processes: int) -> ProcessPoolExecutor:
    # A fork server imports transformers once for all workers, and none of them inherits this process's threads.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformers.models.auto.tokenization_auto"])
    return ProcessPoolExecutor(processes, context, _start_worker, (job,))


_worker_encoder: list[Encoder] = []


def _start_worker(job: _Job) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker_encoder.append(job.encoder())


def _encode_in_worker(lines: Sequence[bytes]) -> _Encoded:
    return _encode(_worker_encoder[0], lines)


def _tokenizer_files(base_dir: Path) -> list[Path]:
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
    return [base_dir / name for name in names if (base_dir / name).is_file()]


def _prepared(folder: Path, *, reused: bool) -> Prepared:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    train, test = report["train"], report["test"]
    return Prepared(folder, train["rows"], train["tokens"], test["rows"], reused)


def _silent(done: int, total: int, note: str) -> None:
    pass
