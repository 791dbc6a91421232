"""What a process needs to encode rows, and what it gives back: bytes of Arrow, and what happened to each row."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from callwright import dialects
from callwright.datasets import arrow
from callwright.datasets.base import HandedOver
from callwright.datasets.conversation import Conversation
from callwright.datasets.encoding import Encoder, Example
from callwright.datasets.report import Finding
from callwright.datasets.template import RefusedError
from callwright.spec.model import Data


class Job(NamedTuple):
    """What a worker needs to encode rows."""

    dialect: str
    tokenizer: Path
    """Where `base.hand_over` has put it."""
    data: Data

    digest: str
    """Of all input: another tokenizer in the same folder makes another job."""

    def encode(self, lines: Sequence[bytes]) -> "Encoded":
        """The conversations in `lines` of JSON. Raises as `Encoder.encode` does; refusals are counted."""
        return _encode(_encoder(self), lines)


class Encoded(NamedTuple):
    """A chunk's rows, encoded, and what happened on the way."""

    batches: bytes
    rows: int
    counts: Counter[str]
    findings: list[tuple[str, int, Finding]]


@lru_cache(maxsize=1)
def _encoder(job: Job) -> Encoder:
    """One for all chunks that a process encodes, since encoders learn."""
    return Encoder(
        dialects.load(job.dialect),
        HandedOver(job.tokenizer),
        job.data.loss,
        max_length=job.data.max_length,
        too_long=job.data.too_long,
    )


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
