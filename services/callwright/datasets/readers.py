"""Reads a corpus as conversations: detects the format, reads row by row, checks, and does as `strict` says.

Every row that is not yielded is counted in the report with its file and line. Knows no dialect and no tokens.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from callwright.datasets import checks, files, sources
from callwright.datasets.conversation import JSON, Conversation, fingerprint
from callwright.datasets.formats import alpaca, bfcl, openai, sharegpt, swift, toolbench
from callwright.datasets.formats.row import ParsedRow, RowError
from callwright.datasets.formats.weights import read_weight, scaled
from callwright.datasets.processes import chunks, map_in_order
from callwright.datasets.report import Finding, Report
from callwright.dialects.literals import encodable
from callwright.errors import InvalidInput, NotFound

Strict = Literal["fail", "drop", "keep"]
FORMATS = ("ms_agent", "openai", "swift", "toolbench", "alpaca", "bfcl")


def read(
    path: str | Path,
    format: str = "auto",
    *,
    strict: Strict = "drop",
    report: Report | None = None,
    cache_dir: Path | None = None,
) -> Iterator[Conversation]:
    """Yield the conversations of the corpus at `path`, in order.

        for conversation in read("toolbench.jsonl.gz", strict="keep"): ...

    `format` is one of `FORMATS`, or `auto`, which looks at the first row that can be read. A faulty row raises
    `InvalidInput` (`fail`), is left out (`drop`), or is yielded all the same where it can be read (`keep`); `report`
    counts it in every case. A remote corpus is copied to `cache_dir`. Of each row some bytes are kept, to know it when
    it comes again. Raises as `sources.resolve` does.
    """
    lines = read_lines(path, format, strict=strict, report=report, cache_dir=cache_dir)
    return (Conversation.from_json(row.json) for row in lines)


class JudgedRow(NamedTuple):
    """One row: what it says, and its faults."""

    line: int
    found: list[Finding]
    json: bytes = b""
    """What `Conversation.from_json` reads, U+FFFD for half a surrogate pair; empty where the row cannot be read."""
    fingerprint: int = 0
    """See `callwright.datasets.conversation.fingerprint`."""
    digest: bytes = b""
    """Of messages and tools."""
    remarks: tuple[str, ...] = ()
    """What was noticed in it that is no fault; each once."""


def read_lines(
    path: str | Path,
    format: str = "auto",
    *,
    strict: Strict = "drop",
    report: Report | None = None,
    cache_dir: Path | None = None,
    executor: Executor | None = None,
) -> Iterator[JudgedRow]:
    """Yield what `read` yields, as the bytes that processes hand on; the processes of `executor` share the work."""
    report = Report() if report is None else report
    parser = _Parser.of(str(path), format, cache_dir)
    first: dict[bytes, int] = {}
    for row in parser.judge_all(executor):
        if row.json and first.setdefault(row.digest, row.line) != row.line:
            same = f"got the same conversation as at line {first[row.digest]}; expected each once"
            row.found.append(Finding("duplicate", same))
        report.formats[parser.source] = parser.format
        if row.found and strict == "fail":
            raise InvalidInput(
                f"reading {path}: line {row.line}: {row.found[0].detail}; mend the line or set data.strict to "
                "drop or keep"
            )
        kept = bool(row.json) and (not row.found or strict == "keep")
        report.record(parser.source, row.line, row.found, kept=kept)
        if kept:
            report.remarks.update(row.remarks)
            yield row


def judge(path: str | Path, format: str = "auto", *, cache_dir: Path | None = None) -> Iterator[JudgedRow]:
    """Yield every row of the corpus at `path`, also those that `read` would leave out. Raises as `read` does."""
    return _Parser.of(str(path), format, cache_dir).judge_all()


def find(
    path: str | Path, line: int, format: str = "auto", *, cache_dir: Path | None = None
) -> tuple[Conversation, list[Finding]]:
    """Return the conversation at `line` of the corpus at `path`, as reports count lines, and its faults; see `read`.

    Raises `NotFound` for a line without a row, and `InvalidInput` for a row that cannot be read.
    """
    parser = _Parser.of(str(path), format, cache_dir)
    last = 0
    for row in parser.rows():
        if row.line > line:
            break
        last = row.line
        if last == line:
            judged = parser.judge(row)
            if not judged.json:
                fault = judged.found[0].detail
                raise InvalidInput(f"reading {path}: line {line}: {fault}; mend the line or name another")
            return Conversation.from_json(judged.json), judged.found
    nearest = f"the last row before it is at {last}" if last else "there is none before it"
    raise NotFound(f"reading {path}: got no row at line {line}; expected one; {nearest}")


def detect(row: JSON, path: str, line: int) -> str:
    """Return the name of the format that `row` is written in. Raises `InvalidInput`."""
    if toolbench.matches(row):
        return "toolbench"
    if sharegpt.matches(row):
        return "ms_agent"
    if swift.matches(row):
        return "swift"
    if openai.matches(row):
        return "openai"
    if bfcl.matches(row):
        return "bfcl"
    if alpaca.matches(row):
        return "alpaca"
    keys = ", ".join(row) or "no keys"
    raise InvalidInput(
        f"reading {path}: line {line}: got a row with {keys}; expected conversations (ms_agent), messages (openai, "
        "swift), instruction and output (alpaca), or question and function (bfcl); set the source's format"
    )


class _Parser(NamedTuple):
    """Reads the rows of one corpus in one format; goes to other processes."""

    source: str
    path: Path
    format: str
    gold: dict[str, list[JSON]]
    """BFCL's, which stand in a file beside the corpus."""

    @classmethod
    def of(cls, source: str, format: str, cache_dir: Path | None) -> "_Parser":
        """Look for the corpus and, where `format` is `auto`, at its first row that can be read."""
        if format not in ("auto", *FORMATS):
            raise InvalidInput(f"reading {source}: got format {format!r}; expected auto or one of {', '.join(FORMATS)}")
        path = sources.resolve(source, cache_dir)
        if format == "auto":
            read = ((row.line, row.value) for row in files.rows(path) if row.value is not None)
            format = next((detect(value, source, line) for line, value in read), format)
        return cls(source, path, format, bfcl.gold_of(path) if format == "bfcl" else {})

    def rows(self) -> Iterator[files.Row]:
        """Yield the corpus's rows. Raises as `files.rows` does."""
        return files.rows(self.path)

    def judge_all(self, executor: Executor | None = None) -> Iterator[JudgedRow]:
        """Every row of the corpus, judged by itself. Raises as `files.rows` does."""
        return chain.from_iterable(map_in_order(self.judge_some, chunks(self.rows()), executor))

    def judge_some(self, rows: Sequence[files.Row]) -> list[JudgedRow]:
        """See `judge`."""
        return [self.judge(row) for row in rows]

    def judge(self, row: files.Row) -> JudgedRow:
        """Return one row by itself, in neutral form."""
        if row.value is None:
            return JudgedRow(row.line, [Finding("unreadable", row.problem or "no value")])
        try:
            parsed = self._parse(row.value)
            weight = read_weight(row.value, "")
            messages = tuple(scaled(message, 1.0 if weight is None else weight) for message in parsed.messages)
        except RowError as error:
            return JudgedRow(row.line, [Finding(error.kind, error.detail)])
        identity = row.value.get("id")
        name = f"{Path(self.source).name}:{row.line}" if identity is None else str(identity)
        conversation = Conversation(name, messages, parsed.tools, self.source, row.line)
        found = checks.check(conversation)
        try:
            content = conversation.content_json()
        except ValueError:
            return JudgedRow(
                row.line, [Finding("unreadable", "got a number that JSON cannot hold; expected a finite one")]
            )
        clean = encodable(content)
        if clean != content or encodable(name) != name:
            found.append(checks.HALF_SURROGATE)
        return JudgedRow(
            row.line,
            found,
            json=encodable(conversation.to_json(clean)).encode(),
            fingerprint=fingerprint(messages),
            digest=hashlib.blake2b(clean.encode(), digest_size=8).digest(),
            remarks=tuple(_remarks(messages)),
        )

    def _parse(self, row: JSON) -> ParsedRow:
        match self.format:
            case "ms_agent" if sharegpt.matches(row):
                return sharegpt.read(row)
            case "toolbench" if toolbench.matches(row):
                return toolbench.read(row)
            case "openai" if openai.matches(row):
                return openai.read(row)
            case "swift" if openai.matches(row):
                return swift.read(row)
            case "alpaca" if alpaca.matches(row):
                return alpaca.read(row)
            case "bfcl" if bfcl.matches(row):
                return bfcl.read(row, self.gold)
            case _:
                raise RowError("format", f"got {', '.join(row) or 'no keys'}; expected a row in format {self.format}")


def _remarks(messages: Sequence[JSON]) -> Iterator[str]:
    """Yield what a row says that changes what is trained on, or that training leaves out."""
    weights = {message.get("weight", 1.0) for message in messages if message["role"] == "assistant"}
    if 0 in weights:
        yield "turn_without_loss"
    if weights - {0, 1}:
        yield "turn_of_another_weight"
    if any("weight" in message for message in messages if message["role"] != "assistant"):
        yield "loss_of_another_role_left_out"
