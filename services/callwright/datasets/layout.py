"""Lays out a conversation as the text that the model sees, in pieces with a loss weight each.

Applies the dialect, then the chat template, then the loss weights. Knows characters, not tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from callwright.datasets.conversation import Conversation
from callwright.datasets.template import ChatTemplate, RefusedError, Slot
from callwright.datasets.tokenizer import Tokens
from callwright.dialects.agentfabric import AgentFabric, roleplay_steps
from callwright.dialects.types import REASONING, Dialect, Rendered, Segment
from callwright.errors import InvalidInput
from callwright.spec.model import LossWeights

OBSERVATION = "Observation:"


class Piece(NamedTuple):
    """A stretch of the text, from the piece before it to `end` (characters), with one weight."""

    end: int
    kind: str
    """A segment's kind, `observation_marker`, `end_of_turn`, or `template` for what the chat template adds."""
    weight: float


class Layout(NamedTuple):
    """A conversation's text; the pieces cover it without gaps."""

    text: str
    pieces: tuple[Piece, ...]

    def token_counts(self, tokens: Tokens) -> list[int]:
        """How many of the text's tokens each piece holds: those that begin in it."""
        ends = [0, *(tokens.count_before(piece.end) for piece in self.pieces[:-1]), len(tokens.ids)]
        return [after - before for before, after in pairwise(ends)]


class LayoutMaker:
    """Lays out conversations for one dialect, one chat template and one table of weights."""

    def __init__(self, dialect: Dialect, template: ChatTemplate, loss: LossWeights) -> None:
        self._dialect = dialect
        self._template = template
        self._weights = weight_table(loss)
        self._last_turn_only = loss.preset == "last_turn"

    def lay_out(self, conversation: Conversation) -> Layout:
        """The conversation as it is continued turn by turn in serving. Raises `RefusedError` and `InvalidInput`."""
        return next(self.layouts(conversation))

    def layouts(self, conversation: Conversation) -> Iterator[Layout]:
        """All texts to train on: `lay_out`'s first, then those that other clients of the dialect send.

        AgentFabric's RolePlay sends a turn's steps one at a time; the first step of a turn is what `lay_out` has
        already. Raises as `lay_out` does.
        """
        rendered = self._rendered(conversation)
        factors = [message.get("weight", 1.0) for message in conversation.messages]
        yield self._laid_out(rendered, factors, last_turn_only=self._last_turn_only)
        if not isinstance(self._dialect, AgentFabric):
            return
        asked = {message["content"] for message in rendered.messages}
        for step in roleplay_steps(rendered):
            if step.messages[-2]["content"] not in asked:
                yield self._laid_out(step, factors, last_turn_only=True)

    def _rendered(self, conversation: Conversation) -> Rendered:
        try:
            without_reasoning = [{k: v for k, v in m.items() if k != REASONING} for m in conversation.messages]
            rendered = self._dialect.render(without_reasoning, conversation.tools)
        except InvalidInput as error:
            raise RefusedError(f"the dialect {self._dialect.name} refuses it: {error}") from None
        if any(message["role"] == "tool" for message in rendered.messages) and not self._template.has_tool_role:
            return rendered.tool_as_user()
        return rendered

    def _laid_out(self, rendered: Rendered, factors: Sequence[float], *, last_turn_only: bool) -> Layout:
        segments = rendered.by_message()
        filled = self._template.fill(rendered.messages, open_end=_waits(rendered))
        last = max((i for i, slot in enumerate(filled.slots) if slot.role == "assistant"), default=-1)
        pieces: list[Piece] = []
        for index, (own, slot) in enumerate(zip(segments, filled.slots, strict=True)):
            if slot.role == "assistant":
                table = {} if last_turn_only and index != last else self._weights
                pieces += _assistant_pieces(own, slot, table, factors)
            else:
                pieces.append(Piece(slot.start, "template", 0.0))
                pieces += _laid(((segment.kind, segment.text, 0.0) for segment in own), slot)
        pieces.append(Piece(len(filled.text), "template", 0.0))
        return Layout(filled.text, tuple(pieces))


def weight_table(loss: LossWeights) -> dict[str, float]:
    """Weight of each kind of piece in an assistant turn."""
    kinds = ("reasoning", "thought", "action", "action_input", "final", "text", "observation_marker")
    written = dict.fromkeys(kinds, 1.0)
    match loss.preset:
        case "none":
            return {**written, "observation": 1.0}
        case "all" | "last_turn":
            return written
        case "react":
            return {
                "reasoning": loss.reasoning,
                "thought": loss.thought,
                "action": loss.action,
                "action_input": loss.action_input,
                "final": loss.final,
                "text": loss.final,
                "observation_marker": loss.observation_marker,
                "observation": loss.observation,
            }


def _waits(rendered: Rendered) -> bool:
    """Whether the text ends with a call and a bare `Observation:`, where the engine stops the model in serving."""
    if not rendered.segments or rendered.messages[-1]["role"] != "assistant":
        return False
    last = rendered.segments[-1]
    return last.kind == "observation" and last.text.strip() == OBSERVATION


def _assistant_pieces(
    segments: Sequence[Segment], slot: Slot, table: dict[str, float], factors: Sequence[float]
) -> Iterator[Piece]:
    parts = [
        (kind, text, table.get(kind, 0.0) * (1.0 if segment.turn is None else factors[segment.turn]))
        for segment in segments
        for kind, text in _split_marker(segment)
    ]
    first, last = (parts[0][2], parts[-1][2]) if parts else (0.0, 0.0)
    yield Piece(slot.prompt_end, "template", 0.0)
    yield Piece(slot.start, "template", first)  # what the template adds after the serving prompt
    yield from _laid(parts, slot)
    yield Piece(slot.turn_end, "end_of_turn", last)


def _laid(parts: Iterable[tuple[str, str, float]], slot: Slot) -> Iterator[Piece]:
    position = slot.start - slot.trimmed
    for kind, text, weight in parts:
        position += len(text)
        yield Piece(min(max(position, slot.start), slot.end), kind, weight)


def _split_marker(segment: Segment) -> Iterator[tuple[str, str]]:
    """A segment as (kind, text), with the marker of an observation, which the model writes, apart from its result."""
    head, marker, result = segment.text.partition(OBSERVATION)
    if segment.kind != "observation" or not marker or head.strip():
        yield segment.kind, segment.text
        return
    yield "observation_marker", head + marker
    if result:
        yield "observation", result
