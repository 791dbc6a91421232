"""Rows to encoded batches, in this process or in several, in order, with few batches under way at once.

Owns the processes. Knows no files: it is given lines of JSON and gives back bytes of Arrow and what happened.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from callsmith import dialects
from callsmith.datasets import arrow
from callsmith.datasets.conversation import Conversation
from callsmith.datasets.corpus import Selection
from callsmith.datasets.encoding import Encoder, Example
from callsmith.datasets.report import Finding
from callsmith.datasets.template import RefusedError, load_tokenizer
from callsmith.spec.model import Data

CHUNK_ROWS = 128


class Job(NamedTuple):
    """What a worker needs to encode rows."""

    dialect: str
    base_dir: Path
    data: Data

    def encoder(self) -> Encoder:
        """A new encoder. Raises as `load_tokenizer` does."""
        return Encoder(
            dialects.load(self.dialect),
            load_tokenizer(self.base_dir),
            self.data.loss,
            max_length=self.data.max_length,
            too_long=self.data.too_long,
        )


class Encoded(NamedTuple):
    """A chunk's rows, encoded, and what happened on the way."""

    batches: bytes
    rows: int
    counts: Counter[str]
    findings: list[tuple[str, int, Finding]]


def chunks(selection: Selection) -> Iterator[list[bytes]]:
    """The rows of `selection` in order, in pieces for `Workers.map`."""
    chunk: list[bytes] = []
    for line in selection.lines():
        chunk.append(line)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _encode(encoder: Encoder, lines: Sequence[bytes]) -> Encoded:
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
    return Encoded(arrow.to_bytes(examples), len(lines), counts, findings)


class Workers:
    """Encodes chunks in order: in this process for few rows, else in others, with few chunks under way at once."""

    def __init__(self, job: Job, processes: int) -> None:
        self._window = 2 * processes
        self._encoder = job.encoder()
        self._executor = None if processes == 1 else _executor(job, processes)

    def map(self, chunks: Iterator[list[bytes]]) -> Iterator[Encoded]:
        """Each chunk, encoded, in order. Raises what `Encoder.encode` raises but for refusals, which are counted."""
        if self._executor is None:
            yield from (_encode(self._encoder, chunk) for chunk in chunks)
            return
        under_way: deque[Future[Encoded]] = deque()
        for chunk in chunks:
            under_way.append(self._executor.submit(_encode_in_worker, chunk))
            if len(under_way) > self._window:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)


def _executor(job: Job, processes: int) -> ProcessPoolExecutor:
    # A fork server imports transformers once for all workers, and none of them inherits this process's threads.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformers.models.auto.tokenization_auto"])
    return ProcessPoolExecutor(processes, context, _start_worker, (job,))


_worker_encoder: list[Encoder] = []


def _start_worker(job: Job) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker_encoder.append(job.encoder())


def _encode_in_worker(lines: Sequence[bytes]) -> Encoded:
    return _encode(_worker_encoder[0], lines)
