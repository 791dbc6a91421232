"""From a corpus to conversations: detects the format, reads row by row, checks, and does as `strict` says.

Every row that is not yielded is counted in the report with its file and line. Knows no dialect and no tokens.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from callsmith.datasets import checks, files, sources
from callsmith.datasets.conversation import JSON, Conversation
from callsmith.datasets.formats import alpaca, bfcl, openai, sharegpt, swift, toolbench
from callsmith.datasets.formats.row import Parts, RowError
from callsmith.datasets.report import Finding, Report
from callsmith.errors import InvalidInput

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
    counts it in every case. A remote corpus is copied to `cache_dir`. Raises as `sources.resolve` does.
    """
    report = Report() if report is None else report
    local = sources.resolve(str(path), cache_dir)
    source = str(path)
    reader = None if format == "auto" else _Reader(format, local)
    for row in files.rows(local):
        found: list[Finding] = []
        conversation: Conversation | None = None
        if row.value is None:
            found.append(Finding("unreadable", row.problem or "no value"))
        else:
            reader = reader or _Reader(detect(row.value, source, row.line), local)
            try:
                conversation = reader.conversation(row.value, source, row.line)
                found += checks.check(conversation)
            except RowError as error:
                found.append(Finding(error.kind, error.detail))
        if found and strict == "fail":
            raise InvalidInput(
                f"reading {path}: line {row.line}: {found[0].detail}; mend the line or set data.strict to drop or keep"
            )
        kept = conversation is not None and (not found or strict == "keep")
        report.record(source, row.line, found, kept=kept)
        if conversation is not None and kept:
            if any("reasoning_content" in message for message in conversation.messages):
                report.remarks["thought_before_answer_left_out"] += 1
            yield conversation


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


class _Reader:
    """One corpus's format, with what stands beside its file."""

    def __init__(self, format: str, path: Path) -> None:
        if format not in FORMATS:
            raise InvalidInput(f"reading {path}: got format {format!r}; expected auto or one of {', '.join(FORMATS)}")
        self._format = format
        self._gold = bfcl.gold_of(path) if format == "bfcl" else {}

    def conversation(self, row: JSON, source: str, line: int) -> Conversation:
        """One row in neutral form. Raises `RowError`."""
        parts = self._parts(row)
        identity = row.get("id")
        name = f"{Path(source).name}:{line}" if identity is None else str(identity)
        return Conversation(name, parts.messages, parts.tools, source, line)

    def _parts(self, row: JSON) -> Parts:
        match self._format:
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
                raise RowError("format", f"got {', '.join(row) or 'no keys'}; expected a row in format {self._format}")
