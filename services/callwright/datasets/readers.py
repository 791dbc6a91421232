"""From a corpus to conversations: detects the format, reads row by row, checks, and does as `strict` says.

Every row that is not yielded is counted in the report with its file and line. Knows no dialect and no tokens.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from callwright.datasets import checks, files, sources
from callwright.datasets.conversation import JSON, Conversation, fingerprint
from callwright.datasets.formats import alpaca, bfcl, openai, sharegpt, swift, toolbench
from callwright.datasets.formats.row import Parts, RowError
from callwright.datasets.processes import Processes, chunks
from callwright.datasets.report import Finding, Report
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

    `format` is one of `FORMATS`, or `auto`, which looks at the first row that can be read. A faulty row raises
    `InvalidInput` (`fail`), is left out (`drop`), or is yielded all the same where it can be read (`keep`); `report`
    counts it in every case. A remote corpus is copied to `cache_dir`. Of each row some bytes are kept, to know it when
    it comes again. Raises as `sources.resolve` does.
    """
    lines = read_lines(path, format, strict=strict, report=report, cache_dir=cache_dir)
    return (Conversation.from_json(row.line) for row in lines)


class Usable(NamedTuple):
    """A row that is kept."""

    line: bytes
    """What `Conversation.from_json` reads; half a surrogate pair stands there as it does in Python."""
    fingerprint: int
    """See `callwright.datasets.conversation.fingerprint`."""
    digest: bytes
    """Of messages and tools."""
    left_out: bool
    """Whether it holds thoughts before an answer, which are not trained on."""


def read_lines(
    path: str | Path,
    format: str = "auto",
    *,
    strict: Strict = "drop",
    report: Report | None = None,
    cache_dir: Path | None = None,
    processes: Processes | None = None,
) -> Iterator[Usable]:
    """What `read` yields, as the bytes that processes hand on; `processes` share the work."""
    report = Report() if report is None else report
    reader = _Reader(str(path), format, cache_dir)
    for line, usable, found in reader.judged(processes or Processes(1)):
        report.formats[reader.source] = reader.format
        if found and strict == "fail":
            raise InvalidInput(
                f"reading {path}: line {line}: {found[0].detail}; mend the line or set data.strict to drop or keep"
            )
        kept = usable is not None and (not found or strict == "keep")
        report.record(reader.source, line, found, kept=kept)
        if usable is not None and kept:
            if usable.left_out:
                report.remarks["thought_before_answer_left_out"] += 1
            yield usable


def find(
    path: str | Path, line: int, format: str = "auto", *, cache_dir: Path | None = None
) -> tuple[Conversation, list[Finding]]:
    """The conversation at `line` of the corpus at `path`, as reports count lines, and its faults; see `read`.

    Raises `NotFound` for a line without a row, and `InvalidInput` for a row that cannot be read.
    """
    reader = _Reader(str(path), format, cache_dir)
    last = 0
    for row in reader.rows():
        if row.line > line:
            break
        if row.line == line:
            reader.learn(row)
            judged = reader.judge(row)
            if judged.usable is None:
                fault = judged.found[0].detail
                raise InvalidInput(f"reading {path}: line {line}: {fault}; mend the line or name another")
            return Conversation.from_json(judged.usable.line), judged.found
        last = row.line
        reader.learn(row)
    nearest = f"the last row before it is at {last}" if last else "there is none before it"
    raise NotFound(f"reading {path}: got no row at line {line}; expected one; {nearest}")


def detect(row: JSON, path: str, line: int) -> str:
    """Name of the format that `row` is written in. Raises `InvalidInput`."""
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


class _Judged(NamedTuple):
    """One row: what it says, where it can be read, and its faults."""

    line: int
    usable: Usable | None
    found: list[Finding]


class _Reader:
    """One corpus: its file, its format once that is known, and what stands beside it."""

    def __init__(self, source: str, format: str, cache_dir: Path | None) -> None:
        if format not in ("auto", *FORMATS):
            raise InvalidInput(f"reading {source}: got format {format!r}; expected auto or one of {', '.join(FORMATS)}")
        self.source = source
        self.format = format
        self._path = sources.resolve(source, cache_dir)
        self._gold = bfcl.gold_of(self._path) if format == "bfcl" else {}

    def rows(self) -> Iterator[files.Row]:
        """The rows of its file. Raises as `files.rows` does."""
        return files.rows(self._path)

    def learn(self, row: files.Row) -> None:
        """Let `row` decide on the format where none is set. Raises `InvalidInput`."""
        if self.format == "auto" and row.value is not None:
            self.format = detect(row.value, self.source, row.line)
            self._gold = bfcl.gold_of(self._path) if self.format == "bfcl" else {}

    def judged(self, processes: Processes) -> Iterator[_Judged]:
        """Each row, in order; the later ones of two that say the same are faulty. Raises as `rows` and `learn` do."""
        first: dict[bytes, int] = {}
        for chunk in processes.map(self.judge_all, chunks(self._learnt_rows())):
            for row in chunk:
                if row.usable is not None and first.setdefault(row.usable.digest, row.line) != row.line:
                    same = f"got the same conversation as at line {first[row.usable.digest]}; expected each once"
                    row.found.append(Finding("duplicate", same))
                yield row

    def _learnt_rows(self) -> Iterator[files.Row]:
        for row in files.raw_rows(self._path):
            if self.format == "auto":
                self.learn(row.decoded())
            yield row

    def judge_all(self, rows: Sequence[files.Row]) -> list[_Judged]:
        """See `judge`."""
        return [self.judge(row) for row in rows]

    def judge(self, row: files.Row) -> _Judged:
        """One row by itself, in neutral form. Changes nothing."""
        row = row.decoded()
        if row.value is None:
            return _Judged(row.line, None, [Finding("unreadable", row.problem or "no value")])
        try:
            parts = self._parts(row.value)
        except RowError as error:
            return _Judged(row.line, None, [Finding(error.kind, error.detail)])
        identity = row.value.get("id")
        name = f"{Path(self.source).name}:{row.line}" if identity is None else str(identity)
        conversation = Conversation(name, parts.messages, parts.tools, self.source, row.line)
        found = checks.check(conversation)
        try:
            usable = _usable(conversation, "strict")
        except UnicodeEncodeError as error:
            usable = _usable(conversation, "surrogatepass")
            found.append(
                Finding("encoding", f"got half a surrogate pair: {error.reason}; expected text that UTF-8 can hold")
            )
        return _Judged(row.line, usable, found)

    def _parts(self, row: JSON) -> Parts:
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
                return bfcl.read(row, self._gold)
            case _:
                raise RowError("format", f"got {', '.join(row) or 'no keys'}; expected a row in format {self.format}")


def _usable(conversation: Conversation, errors: str) -> Usable:
    content = conversation.content_json()
    return Usable(
        line=conversation.to_json(content).encode("utf-8", errors),
        fingerprint=fingerprint(conversation.messages),
        digest=hashlib.blake2b(content.encode("utf-8", errors), digest_size=8).digest(),
        left_out=any("reasoning_content" in message for message in conversation.messages),
    )
