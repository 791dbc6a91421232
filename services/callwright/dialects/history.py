"""An earlier turn's text, read by the dialect's own parser before the turn is written again.

The text is the model's own: it stays as the model wrote it where the parser finds more than plain text in it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from callwright.dialects.messages import Assistant
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Names
from callwright.dialects.types import Kind, MalformedCall, Thought, ToolCall
from callwright.errors import InvalidInput

Piece = tuple[Kind, str]


@dataclass(slots=True)
class Said:
    """What a turn says, and what it thought before."""

    reasoning: str
    pieces: list[Piece]
    """Of the text without the reasoning at its head."""
    calls: tuple[ToolCall | MalformedCall, ...]
    """Calls that the text itself makes."""
    is_plain: bool
    """Whether the text without the reasoning holds none of the dialect's markers."""

    @property
    def text(self) -> str:
        """The text without the reasoning at its head."""
        return "".join(text for _, text in self.pieces)

    @property
    def is_raw(self) -> bool:
        """Whether the text is written in the dialect already: it opens with a marker, or makes a call."""
        kinds = [kind for kind, _ in self.pieces]
        return not self.is_plain and (kinds[:1] not in ([], ["text"]) or "action" in kinds or "action_input" in kinds)


def learn_calls(names: Names, turn: Assistant) -> None:
    """Know what the turn calls from here on, declared or not. What a later turn calls says nothing of an earlier one,
    so that a turn is read alike wherever the conversation is cut.
    """
    for call in turn.calls:
        names.learn(call.name)


def read_said(new_stream: Callable[[], Stream], turn: Assistant, find: Callable[[str], object]) -> Said:
    """Reads the text of a turn, in which nothing but text stands where `find` finds nothing."""
    if not find(turn.text):
        return Said(turn.reasoning, [("text", turn.text)] if turn.text else [], (), True)
    stream = new_stream()
    read, segments = stream.read(turn.text), stream.segments(turn.text)
    begins = next((n for n, segment in enumerate(segments) if segment.kind != "reasoning"), len(segments))
    first = read.parts[0] if begins and read.parts else None
    thoughts = dict.fromkeys((turn.reasoning, first.text if isinstance(first, Thought) else ""))
    pieces = [(segment.kind, segment.text) for segment in segments[begins:]]
    is_plain = not stream.met_marker or (bool(begins) and not any(find(text) for _, text in pieces))
    return Said("\n".join(filter(None, thoughts)), pieces, read.calls, is_plain)


def with_calls(
    turn: Assistant, said: Said, calls: list[Piece], orders: Iterable[list[Piece]], new_stream: Callable[[], Stream]
) -> list[Piece] | None:
    """Return the first of the `orders` of text and `calls` that is read as these calls; None where the text makes them
    itself.

    Raises InvalidInput where there is none.
    """
    if said.is_plain:
        return next(iter(orders))
    own, made = _read(new_stream(), calls), valid(said.calls)
    if made == own:
        return None
    found = (order for order in orders if not made and _read(new_stream(), order) == own)
    if (order := next(found, None)) is None:
        raise hidden(turn, "tool_calls")
    return order


def valid(calls: Iterable[ToolCall | MalformedCall]) -> tuple[ToolCall, ...]:
    """Return those that are no malformed ones."""
    return tuple(call for call in calls if isinstance(call, ToolCall))


def hidden(turn: Assistant, what: str, field: str = "content") -> InvalidInput:
    """Return the error for a turn whose text would be read as something else than what stands beside it."""
    return InvalidInput(
        f"messages[{turn.index}].{field}: got text that hides the {what} behind it, or reads as others; expected text "
        "without the format's markers; take them out"
    )


def _read(stream: Stream, pieces: list[Piece]) -> tuple[ToolCall, ...]:
    return valid(stream.read("".join(text for _, text in pieces)).calls)
