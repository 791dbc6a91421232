"""Conversations in a file, read back by number in any order, so that a shuffle moves numbers and not texts.

Owns one file in the work folder. Knows nothing of sources, splits or tokens.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from callwright.datasets.conversation import Conversation


class Corpus:
    """An append-only file of conversations, and where each begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._starts = array("Q", [0])

    def append(self, line: bytes) -> int:
        """Add a conversation, as a line of the JSON that `Conversation.to_json` makes; return its number."""
        self._file.write(line + b"\n")
        self._starts.append(self._starts[-1] + len(line) + 1)
        return len(self._starts) - 2

    def line(self, index: int) -> bytes:
        """Return the conversation with that number, as the line of JSON that `Conversation.from_json` reads."""
        self._file.flush()
        start, end = self._starts[index], self._starts[index + 1]
        return os.pread(self._file.fileno(), end - start, start)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Conversation:
        return Conversation.from_json(self.line(index))

    def close(self) -> None:
        """Close and remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Selection:
    """Rows of a corpus in an order of their own; a row may stand there more than once."""

    def __init__(self, corpus: Corpus, order: Sequence[int]) -> None:
        self._corpus = corpus
        self.order = array("Q", order)

    def lines(self) -> Iterator[bytes]:
        """Yield the rows as lines of JSON."""
        return (self._corpus.line(index) for index in self.order)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Conversation]:
        return (self._corpus[index] for index in self.order)
