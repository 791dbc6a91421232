"""The file that an interrupted evaluation carries on from: a line per result, written as results come.

Holds only offsets in memory. A finished evaluation's journal is replaced by the next one; an unfinished one of
another model or other settings is refused rather than lost.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from callwright.errors import InvalidInput
from callwright.evaluator.outcomes import Outcome, from_json
from callwright.evaluator.rows import Row

_DONE = {"done": True}


class Journal:
    """Results at `path` (none are kept when it is None) of an evaluation with these `settings`."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self._offsets: dict[str, int] = {}
        self._file: BinaryIO | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise InvalidInput(f"keeping results: {path} cannot be written: {error}") from None
        if not self._resume(path, settings):
            self._file.truncate(0)
            self._write(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def find(self, row: Row) -> Outcome | None:
        """The earlier result of the very same request, if it got an answer."""
        offset = self._offsets.get(f"{row.key} {row.digest}") if self._offsets else None
        if offset is None or self._file is None:
            return None
        self._file.seek(offset)
        return from_json(json.loads(self._file.readline())["outcome"])

    def add(self, row: Row, outcome: Outcome) -> None:
        """Keep a result, on disk before this returns to the event loop."""
        if self._file:
            line = f'{{"row": {json.dumps(f"{row.key} {row.digest}")}, "outcome": {outcome.to_json()}}}\n'
            self._file.write(line.encode("utf-8", "replace"))
            self._file.flush()

    def finish(self) -> None:
        """Mark the evaluation as whole: the next one starts anew."""
        if self._file:
            self._write(_DONE)

    def _write(self, document: dict[str, Any]) -> None:
        assert self._file
        self._file.write(json.dumps(document).encode() + b"\n")
        self._file.flush()

    def _resume(self, path: Path, settings: dict[str, Any]) -> bool:
        """Index what is there. Returns whether to carry on from it; a line cut short is cut off."""
        assert self._file
        self._file.seek(0)
        header, offset = self._file.readline(), 0
        if not header.endswith(b"\n"):
            return False
        offset = len(header)
        for line in self._file:
            try:
                document = json.loads(line)
                if not line.endswith(b"\n") or not isinstance(document, dict):
                    break
                if document == _DONE:
                    self._offsets.clear()
                    return False
                if document["outcome"]["error"] is None:
                    self._offsets[document["row"]] = offset
            except (ValueError, KeyError, TypeError):
                break
            offset += len(line)
        self._file.truncate(offset)
        if json.loads(header) != settings:
            raise InvalidInput(
                f"carrying on from {path}: it holds an unfinished evaluation with other settings: got "
                f"{header.decode(errors='replace').strip()}; expected {json.dumps(settings)}; move it away"
            )
        return True
