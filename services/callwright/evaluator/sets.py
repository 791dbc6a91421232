"""Evaluation sets: from a file in any known form to the requests in it, and whether training has seen them.

    reading = Reading()
    rows = list(read("held-out.jsonl", reading=reading))
    print(*reading.notes("held-out"), sep="\\n")          what was left out, and why

The forms of rows are read in `callwright.evaluator.formats`, other corpora through `callwright.datasets`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

from callwright.datasets import checks, files, readers, sources
from callwright.datasets.conversation import JSON, Conversation, fingerprint
from callwright.datasets.formats import bfcl
from callwright.datasets.formats.row import RowError
from callwright.errors import InvalidInput, NotFound
from callwright.evaluator import formats
from callwright.evaluator.row import Message, Row

_EXAMPLES = 5


@dataclass
class Reading:
    """Counts what happened to a set's rows, so that none is left out silently."""

    conversations: int = 0
    without_gold: int = 0
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)
    """The first faults, as `file:line: what is wrong`."""

    def fault(self, where: str, what: str) -> None:
        """Count an unreadable row."""
        self.unreadable += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{where}: {what}")

    def notes(self, name: str) -> list[str]:
        """Lines for a person about what was left out; none when nothing was."""
        lines = []
        if self.without_gold:
            lines.append(f"{name}: {self.without_gold} of {self.conversations} rows have no gold and are left out")
        if self.unreadable:
            lines.append(f"{name}: {self.unreadable} of {self.conversations} rows cannot be read and are left out")
            lines.extend(f"  {example}" for example in self.examples)
        return lines


def read(
    path: str | Path,
    *,
    name: str | None = None,
    format: str = "auto",
    limit: int | None = None,
    reading: Reading,
    cache_dir: Path | None = None,
) -> Iterator[Row]:
    """Yield the requests of the set at `path`, in order, at most `limit` of them.

    `name` is the set's name in the report, the file's stem when absent; `reading` counts what is left out; a remote
    file is copied to `cache_dir`. Raises `NotFound` for a missing file, and `InvalidInput` for one in no known form.
    """
    local = sources.resolve(str(path), cache_dir)
    rows = _rows(str(path), local, name or local.stem, format, reading, cache_dir)
    yield from islice(_unique(rows), limit)


def _rows(path: str, local: Path, name: str, format: str, reading: Reading, cache_dir: Path | None) -> Iterator[Row]:
    first = next((row.value for row in files.rows(local) if row.value is not None), None)
    if first is None:
        raise InvalidInput(f"reading an evaluation set: {path} holds no row; expected requests with gold calls")
    openai = partial(formats.read_openai, set=name)
    match format:
        case "auto" | "openai" if "expected" in first:
            return _read_each(path, files.rows(local), openai, reading)
        case "auto" if formats.is_toolalpaca(first):
            return _read_each(path, formats.toolalpaca_in_openai_form(files.rows(local)), openai, reading)
        case "auto" | "bfcl" if format == "bfcl" or bfcl.matches(first):
            return _read_bfcl(path, local, name, reading)
        case _:
            return _conversations(path, name, format, reading, cache_dir)


def _read_each(
    path: str, rows: Iterable[files.Row], read_row: Callable[..., list[Row]], reading: Reading
) -> Iterator[Row]:
    for line, value, problem in rows:
        reading.conversations += 1
        try:
            if value is None:
                raise RowError("unreadable", problem or "no value")
            found = read_row(value, id=str(line))
            if not all(row.encodable for row in found):
                raise RowError(*checks.HALF_SURROGATE)
        except RowError as error:
            reading.fault(f"{path}:{line}", error.detail)
            continue
        reading.without_gold += not found
        yield from found


def _read_bfcl(path: str, local: Path, name: str, reading: Reading) -> Iterator[Row]:
    """BFCL's rows: those without gold are left out, but for irrelevance, where no call is due."""
    irrelevance = "irrelevance" in local.name
    if not irrelevance and not bfcl.gold_path(local).is_file():
        raise NotFound(
            f"reading {path}: no gold in {bfcl.gold_path(local)}; expected BFCL's file of possible answers there"
        )
    gold = {} if irrelevance else bfcl.gold_of(local, reading.fault)

    def read_row(value: JSON, id: str) -> list[Row]:
        found = formats.read_bfcl(value, gold, set=name, id=id)
        return found if irrelevance or str(value.get("id")) in gold else []

    return _read_each(path, files.rows(local), read_row, reading)


def _conversations(path: str, name: str, format: str, reading: Reading, cache_dir: Path | None) -> Iterator[Row]:
    for row in readers.judge(path, format, cache_dir=cache_dir):
        reading.conversations += 1
        try:
            if faults := [fault for fault in row.found if not row.json or fault == checks.HALF_SURROGATE]:
                raise RowError(*faults[0])
            found = formats.split(Conversation.from_json(row.json), set=name)
        except RowError as error:
            reading.fault(f"{path}:{row.line}", error.detail)
            continue
        reading.without_gold += not found
        yield from found


def _unique(rows: Iterable[Row]) -> Iterator[Row]:
    """Give a repeated id a number of its own, so that no two rows share a result."""
    seen: set[int] = set()
    for row in rows:
        id, number = row.id, 1
        while hash(id) in seen:
            number += 1
            id = f"{row.id}#{number}"
        seen.add(hash(id))
        yield row if number == 1 else replace(row, id=id)


def training_fingerprints(conversations: Iterable[Conversation]) -> set[int]:
    """Fingerprints of everything that users ask in training, up to each of their turns; eight bytes each."""
    return {mark for conversation in conversations for mark in _fingerprints(conversation.messages)}


def _fingerprints(messages: Iterable[Message]) -> Iterator[int]:
    said: list[Message] = []
    for message in messages:
        if message["role"] == "user":
            said.append(message)
            yield fingerprint(said)


def overlap_notes(rows: Iterable[Row], training: set[int]) -> list[str]:
    """Return a warning for each set with requests that also stand in the training data, which makes its results too
    good.

    Two requests are the same where users say the same, but for case, spaces and punctuation; `training` is
    `training_fingerprints`'.
    """
    sizes, found = Counter[str](), Counter[str]()
    for row in rows:
        sizes[row.set] += 1
        found[row.set] += fingerprint(row.messages) in training
    return [
        f"{name}: {count} of {sizes[name]} requests also stand in the training data: their results are too good"
        for name, count in sorted(found.items())
        if count
    ]
