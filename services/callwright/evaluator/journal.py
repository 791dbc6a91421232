"""Results of requests, and the file that an interrupted evaluation carries on from: a line for each, as they come.

    {"model": "m", "version": null, …}                       the settings
    {"row": "seen/3 0f3a…", "outcome": {"verdict": …}}       the row's key and digest, and its result
    {"done": true}                                           after the last one

A finished evaluation's file is written anew by the next, unless that takes its results over; an unfinished one of
another model or other settings is refused rather than lost. Only offsets are held in memory.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pydantic import TypeAdapter, ValidationError

from callwright.errors import InvalidInput
from callwright.evaluator.endpoint import Unanswered
from callwright.evaluator.row import Call, Row
from callwright.evaluator.scoring import Verdict

_DONE = {"done": True}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request; exactly one of verdict, loss and error is set."""

    verdict: Verdict | None = None
    loss: tuple[float, int] | None = None
    """Nats and tokens."""
    error: Unanswered | None = None
    content: str | None = None
    calls: tuple[Call, ...] = ()
    judged: bool | None = None
    """A judge model's verdict on the answer, if it gave one."""
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


_OUTCOME = TypeAdapter(Outcome)


class Journal:
    """Results at `path` (none are kept when it is None) of an evaluation with these `settings`.

    With `keep_finished` those of a finished evaluation are taken over too. Raises `InvalidInput` when the file cannot
    be written, is none of these, or holds an unfinished evaluation with other settings.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any], *, keep_finished: bool = False) -> None:
        self._offsets: dict[str, int] = {}
        self._file: BinaryIO | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise InvalidInput(f"keeping results: {path} cannot be written: {error}") from None
        try:
            self._resume(self._file, path, settings, keep_finished)
        except InvalidInput:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def find(self, row: Row) -> Outcome | None:
        """Return the earlier result of the very same request, if it got an answer."""
        offset = self._offsets.get(_name(row)) if self._offsets else None
        if offset is None or self._file is None:
            return None
        self._file.seek(offset)
        try:
            outcome = _OUTCOME.validate_python(json.loads(self._file.readline())["outcome"])
        except (KeyError, ValidationError):
            return None
        return None if outcome.error else outcome

    def add(self, row: Row, outcome: Outcome) -> None:
        """Keep a result, on disk before this returns to the event loop."""
        self._write({"row": _name(row), "outcome": asdict(outcome)})

    def finish(self) -> None:
        """Mark the evaluation as whole: the next one starts anew."""
        self._write(_DONE)

    def _write(self, document: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(document).encode() + b"\n")
            self._file.flush()

    def _resume(self, file: BinaryIO, path: Path, settings: dict[str, Any], keep_finished: bool) -> None:
        """Index the results that are taken over; a line cut short is cut off."""
        header, end = None, 0
        for start, end, document in _whole_lines(file):
            if document == _DONE and not keep_finished:
                header, end = settings, 0
                self._offsets.clear()
                break
            if header is None:
                header = document
            elif isinstance(document.get("row"), str):
                self._offsets[document["row"]] = start
        if header is None and file.seek(0, 2):
            raise InvalidInput(f"keeping results: {path} holds something else; expected results; move it away")
        if header not in (None, settings):
            raise InvalidInput(
                f"carrying on from {path}: it holds an unfinished evaluation with other settings: got "
                f"{json.dumps(header)}; expected {json.dumps(settings)}; move it away"
            )
        file.truncate(end)
        if not end:
            self._write(settings)


def _name(row: Row) -> str:
    return f"{row.key} {row.digest}"


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Start, end and JSON object of each line, up to the first that is no JSON object or is cut short."""
    file.seek(0)
    start = 0
    for line in file:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(document, dict) or not line.endswith(b"\n"):
            return
        yield start, start + len(line), document
        start += len(line)
