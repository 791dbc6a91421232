"""Counts what happened to every row: read, kept or dropped, and why, with the first examples by file and line.

Readers, mixing and encoding all write here, so that nothing disappears silently. Knows no formats and no dialects.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from callwright.dialects.literals import encodable

EXAMPLES_PER_KIND = 5


class Finding(NamedTuple):
    """One fault of one row: a short kind to count by, and what exactly is wrong."""

    kind: str
    detail: str


def foreign_tokens(count: int) -> Finding:
    """Return the finding for a row in which `count` of them were broken."""
    return Finding(
        "foreign_token", f"got {count} special tokens or markers in text that is not the model's own; broken"
    )


@dataclass
class SourceCount:
    """Rows of one source."""

    read: int = 0
    kept: int = 0
    dropped: int = 0


class Mixed(NamedTuple):
    """What became of one source's usable rows."""

    rows: int
    train: int
    repeated: int
    """Of the training rows, those that stand there again."""
    test: int
    near_test: int
    """Left out of training because they nearly repeat a test row."""


@dataclass
class Report:
    """Counts and examples; grows with the number of kinds, not with the number of rows."""

    sources: dict[str, SourceCount] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    """How each source is written, by `readers.FORMATS`; `auto` where no row could be read."""
    findings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)
    """What was noticed in rows that are none the worse for it."""
    mixing: dict[str, Mixed] = field(default_factory=dict)
    encoding: Counter[str] = field(default_factory=Counter)

    def record(self, source: str, line: int, found: Iterable[Finding], *, kept: bool) -> None:
        """Count one row of `source` and what was found in it."""
        count = self.sources.setdefault(source, SourceCount())
        count.read += 1
        if kept:
            count.kept += 1
        else:
            count.dropped += 1
        for finding in found:
            self.note(source, line, finding)

    def note(self, source: str, line: int, finding: Finding) -> None:
        """Count a finding of a row that is counted elsewhere, and keep it if it is among the first of its kind."""
        self.findings[finding.kind] += 1
        examples = self.examples.setdefault(finding.kind, [])
        if len(examples) < EXAMPLES_PER_KIND:
            examples.append(encodable(f"{source}:{line}: {finding.detail}"))

    @property
    def read(self) -> int:
        """Rows read over all sources."""
        return sum(count.read for count in self.sources.values())

    @property
    def kept(self) -> int:
        """Rows kept over all sources."""
        return sum(count.kept for count in self.sources.values())

    @property
    def dropped(self) -> int:
        """Rows left out over all sources."""
        return sum(count.dropped for count in self.sources.values())

    def first_examples(self, limit: int) -> list[str]:
        """Return the first examples over all kinds."""
        return [example for examples in self.examples.values() for example in examples][:limit]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "sources": {
                name: {"read": c.read, "kept": c.kept, "dropped": c.dropped} for name, c in self.sources.items()
            },
            "formats": self.formats,
            "findings": dict(self.findings),
            "examples": self.examples,
            "remarks": dict(self.remarks),
            "mixing": {name: mixed._asdict() for name, mixed in self.mixing.items()},
            "encoding": dict(self.encoding),
        }
