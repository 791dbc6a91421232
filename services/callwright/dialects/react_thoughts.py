"""Reads the ReAct family's text as a stream, its marked thoughts as reasoning.

    Thought: I look.         reasoning, up to the next marker
    Action: get_weather

A turn that is a thought and nothing more answers with it: its text is content too, at the turn's end.
"""

import re
from dataclasses import dataclass
from typing import Any

from callwright.dialects import markers as m
from callwright.dialects.react_call import Outcome
from callwright.dialects.react_stream import ReactStream
from callwright.dialects.types import ContentDelta, Delta

_BLANKS = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class MarkedThoughts:
    """How marked thoughts are read as reasoning."""

    marker: str
    """How the dialect writes it. It stands in the reasoning too where a think block stands before the thought."""
    named: bool = False
    """It always stands there: think blocks and thoughts are to be told apart."""
    one_line: bool = False
    """A thought ends with its line, as an answer in a form follows without a marker."""


class ThoughtfulStream(ReactStream):
    """Reads one turn."""

    def __init__(self, *args: Any, thoughts: MarkedThoughts, opened: bool, **options: Any) -> None:
        super().__init__(*args, opened=opened, **options)
        self._reading = thoughts
        self._is_thinking = self._has_content = False
        self._lead = f"{thoughts.marker} " if thoughts.named or opened else ""
        """What stands before the first marked thought in the reasoning."""
        self._only: list[str] | None = []
        """What was thought in a turn that says nothing else so far."""

    def close(self, *, cut: bool = False) -> list[Delta]:
        deltas = super().close(cut=cut)
        return [*deltas, ContentDelta("".join(self._only))] if self._only and not cut else deltas

    def _is_prose(self, chunk: str) -> bool:
        return not self._is_thinking and super()._is_prose(chunk)

    def _at_marker(self, found: re.Match[str]) -> None:
        super()._at_marker(found)
        word = m.word_of(found)
        if word == m.THOUGHT:
            self._is_thinking = True
            self._thoughts = "apart" if self._thoughts == "said" else self._thoughts
            self._step = self._begin_line if self._reading.one_line else self._step
        elif word not in (m.ACTION, m.ACTION_INPUT):  # which may turn out to be prose
            self._is_thinking = False

    def _at_think(self, start: int, end: int) -> None:
        super()._at_think(start, end)
        if self._thoughts == "none":
            self._lead = f"{self._reading.marker} "

    def _begin_line(self) -> bool:
        """Skips the blanks before a thought of one line."""
        if not self._skip(_BLANKS):
            return False
        self._step = self._read_line
        return True

    def _read_line(self) -> bool:
        """Reads a thought of one line."""
        end = self._buffer.find("\n", self._position)
        self._say(self._take(self._before_gap(end if end >= 0 else len(self._buffer))))
        if end < 0:
            return False
        self._position = end
        self._is_thinking = False
        self._line_due = True
        self._step = self._resume
        return True

    def _conclude(self, outcome: Outcome) -> None:
        self._end_thought()
        super()._conclude(outcome)

    def _finish(self, rest: str, *, cut: bool) -> None:
        if self._step not in (self._read_prose, self._skip_stock_thought):  # a call that was begun is none, and content
            self._end_thought()
        super()._finish(rest, cut=cut)

    def _end_thought(self) -> None:
        self._is_thinking = False
        self._gap = self._gap if self._has_content else self._gap.lstrip()

    def _emit_call(self, name: str, arguments: str) -> None:
        self._is_thinking = False
        self._forget()
        super()._emit_call(name, arguments)

    def _say(self, text: str) -> None:
        if not text:
            return
        if not self._is_thinking:
            self._line_due = self._line_due and self._has_content
            self._has_content = True
            self._forget()
            super()._say(text)
            return
        if "`" in text or "~" in text:
            self._block = self._block_after(text)
        if self._only is not None:
            self._only.append("\n" + text if self._only and self._thoughts == "apart" else text)
            self.kept += len(text)
        self._think(self._lead + text)
        self._lead = ""
        self._line_due = False
        self._last_said = text[-1]

    def _forget(self) -> None:
        """The turn says something else too."""
        self._only, self.kept = None, 0

    def _finish_text(self, rest: str) -> None:
        super()._finish_text(rest.rstrip() if self._is_thinking else rest)
