"""`LeadingThought`: a parser that reads a marked thought before a typed answer as reasoning, which leaves the answer.

Knows parsers only; what marks a thought is its dialect's.
"""

from callwright.dialects.types import Delta, StreamParser, ThoughtDelta


class LeadingThought:
    """Takes a line `before THOUGHT after` off the head of a turn; `parser` reads the rest."""

    def __init__(self, parser: StreamParser, before: str, after: str) -> None:
        self._parser, self._before, self._after = parser, before, after
        self._head: str | None = ""
        """What was read and may be a thought; None once the rest has begun."""

    def feed(self, chunk: str) -> list[Delta]:
        """Takes the next piece; returns what is certain by now."""
        if self._head is None:
            return self._parser.feed(chunk)
        self._head += chunk
        if self._before.startswith(self._head) or (self._is_thought and self._after not in self._head):
            return []
        thought, rest = self._head.split(self._after, 1) if self._is_thought else ("", self._head)
        return [*self._said(thought), *self._parser.feed(rest)]

    def passes(self, chunk: str) -> bool:
        """Takes the next piece if all of it is content, and certain."""
        return self._head is None and self._parser.passes(chunk)

    def close(self, *, cut: bool = False) -> list[Delta]:
        """Ends the turn; returns the rest."""
        if self._head is None:
            return self._parser.close(cut=cut)
        head = self._head
        made = self._said(head) if self._is_thought else [*self._said(""), *self._parser.feed(head)]
        return [*made, *self._parser.close(cut=cut)]

    @property
    def _is_thought(self) -> bool:
        return self._head is not None and self._head.startswith(self._before)

    def _said(self, thought: str) -> list[Delta]:
        self._head = None
        text = thought.removeprefix(self._before).strip()
        return [ThoughtDelta(text)] if text else []
