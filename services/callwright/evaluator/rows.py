"""One request to put to a model, and what it should answer; conversations become requests turn by turn.

Owns what a row is and the kinds of rows. Knows nothing of endpoints or scores. Conversations come through
`callwright.datasets`, BFCL's files through `callwright.evaluator.bfcl`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from callwright.datasets import Report, files, readers, sources
from callwright.errors import InvalidInput

Message = dict[str, Any]
Tool = dict[str, Any]
Kind = Literal["call", "no_call", "answer", "general"]
"""`call`: a call is due; `no_call`: tools are offered and none fits; `answer`: tool results are there, to be put into
words; `general`: a conversation without tools."""

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool, with its arguments as JSON values."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BfclRule:
    """BFCL's gold of a row: the functions as its files declare them, and each argument's accepted values."""

    functions: tuple[dict[str, Any], ...]
    accepted: tuple[dict[str, dict[str, list[Any]]], ...]
    category: str


@dataclass(frozen=True, slots=True)
class Row:
    """A request: the messages up to a user or tool turn, the tools, and the gold that follows."""

    set: str
    id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    expected: tuple[Call, ...] = ()
    reference: str | None = None
    """Text of the gold answer, where there is one."""
    bfcl: BfclRule | None = None

    @property
    def key(self) -> str:
        """Name of the row in results: unique over the sets of an evaluation."""
        return f"{self.set}/{self.id}"

    @property
    def kind(self) -> Kind:
        """What the row measures."""
        if self.expected:
            return "call"
        if not self.tools and self.reference is not None:
            return "general"
        return "answer" if self.messages[-1]["role"] == "tool" else "no_call"

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with the request or its gold."""
        gold = [[call.name, call.arguments] for call in self.expected]
        text = json.dumps([self.messages, self.tools, gold, self.reference], sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass
class Reading:
    """What became of a file's rows: nothing is left out silently."""

    conversations: int = 0
    requests: int = 0
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
    file is copied to `cache_dir`. Raises `NotFound` for a missing file and `InvalidInput` for one in no known form.
    """
    local = sources.resolve(str(path), cache_dir)
    rows = _rows(str(path), local, name or local.stem, format, reading, cache_dir)
    for row in islice(_unique(rows, set()), limit):
        reading.requests += 1
        yield row


def _rows(path: str, local: Path, name: str, format: str, reading: Reading, cache_dir: Path | None) -> Iterator[Row]:
    first = next((row.value for row in files.rows(local) if row.value is not None), None)
    if first is None:
        raise InvalidInput(f"reading an evaluation set: {path} holds no row; expected requests with gold calls")
    match format:
        case "auto" | "openai" if "expected" in first:
            return _from_expected(path, local, name, reading)
        case "auto" | "bfcl" if "question" in first and "function" in first:
            from callwright.evaluator import bfcl

            return bfcl.read(local, name, reading)
        case "auto" if {"Function_Description", "Instructions", "Golden_Answers"} <= first.keys():
            from callwright.evaluator import toolalpaca

            return toolalpaca.read(local, name, reading)
        case _:
            return _from_datasets(path, name, format, reading, cache_dir)


def _unique(rows: Iterable[Row], seen: set[int]) -> Iterator[Row]:
    """Give a repeated id a number of its own, so that no two rows share a result."""
    for row in rows:
        id, number = row.id, 1
        while hash(id) in seen:
            number += 1
            id = f"{row.id}#{number}"
        seen.add(hash(id))
        if number == 1:
            yield row
        else:
            yield Row(row.set, id, row.messages, row.tools, row.expected, row.reference, row.bfcl)


def _from_expected(path: str, local: Path, name: str, reading: Reading) -> Iterator[Row]:
    for row in files.rows(local):
        reading.conversations += 1
        if row.value is None:
            reading.fault(f"{path}:{row.line}", row.problem or "no value")
            continue
        try:
            found = from_document(row.value, set=name, id=str(row.line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reading.fault(f"{path}:{row.line}", f"{type(error).__name__}: {error}")
            continue
        reading.without_gold += not found
        yield from found


def _from_datasets(path: str, name: str, format: str, reading: Reading, cache_dir: Path | None) -> Iterator[Row]:
    report = Report()
    try:
        # Gold that strays from its tools' schemas is gold all the same: only what cannot be read is left out.
        for conversation in readers.read(path, format, strict="keep", report=report, cache_dir=cache_dir):
            found = from_messages(conversation.messages, conversation.tools, set=name, id=conversation.id)
            reading.without_gold += not found
            yield from found
    finally:
        reading.conversations += report.read
        reading.unreadable += report.dropped
        reading.examples.extend(report.first_examples(_EXAMPLES) if report.dropped else ())


def from_document(document: dict[str, Any], *, set: str, id: str) -> list[Row]:
    """Make the requests of one OpenAI-form row; `id` serves where the row has none.

    With `expected`, the row is one request. Without, each assistant turn is the gold of the request before it.
    Raises `ValueError`, `KeyError` or `TypeError` for a row in another form.
    """
    messages, tools = tuple(document["messages"]), tuple(document.get("tools") or ())
    row_id = str(document.get("id", id))
    if "expected" not in document:
        return from_messages(messages, tools, set=set, id=row_id)
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise ValueError("messages must end in a user or tool turn where `expected` is given")
    expected = tuple(Call(call["name"], arguments(call["arguments"])) for call in document["expected"] or ())
    return [Row(set, row_id, messages, tools, expected, document.get("reference"))]


def from_messages(messages: Iterable[Message], tools: Iterable[Tool], *, set: str, id: str) -> list[Row]:
    """Make a request of each assistant turn of a conversation; of one without tools, only of the last."""
    messages, tools = tuple(messages), tuple(tools)
    rows = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant" or place == 0 or messages[place - 1]["role"] not in ("user", "tool"):
            continue
        calls = message.get("tool_calls") or ()
        expected = tuple(Call(c["function"]["name"], arguments(c["function"]["arguments"])) for c in calls)
        reference = message.get("content") or None
        if expected or reference:
            rows.append(Row(set, f"{id}:{place}", messages[:place], tools, expected, reference))
    return rows if tools else rows[-1:]


def arguments(value: Any) -> dict[str, Any]:
    """Read arguments given as an object or as its JSON text. Raises `ValueError`."""
    value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ValueError(f"got arguments {value!r}; expected a JSON object")
    return value
