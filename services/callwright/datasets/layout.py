"""Lays out a conversation as the texts that the model sees, in pieces with a loss weight each.

Applies the dialect, then the chat template, then the loss weights. A turn has its weights in a text that begins with
the very tokens that it is served after: most templates show all turns of a conversation so in one text, and others need
a text for each.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from callwright.datasets.conversation import Conversation
from callwright.datasets.native_turns import NativeTurns, ServedTurn
from callwright.datasets.rendering import RefusedError
from callwright.datasets.template import ChatTemplate, Filled, Slot
from callwright.datasets.tokenizer import Tokenizer, Tokens, added_tokens
from callwright.dialects.agentfabric import NO_KNOWLEDGE, AgentFabric, roleplay_steps
from callwright.dialects.foreign import Foreign, special_tokens
from callwright.dialects.native import Native
from callwright.dialects.reasoning import reasoning_as_thoughts
from callwright.dialects.types import REASONING, Dialect, Message, Rendered, Segment
from callwright.errors import InvalidInput
from callwright.spec.model import LossWeights
from callwright.store import Template

OBSERVATION = "Observation:"
_RESUMED: list[Message] = [
    {"role": "user", "content": "Look."},
    {"role": "assistant", "tool_calls": [{"id": "0", "function": {"name": "look", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "0", "content": "Seen."},
    {"role": "assistant", "content": "Done."},
]
"""A turn that the model goes on with after a result."""


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
    tokens: Tokens
    prompts: Mapping[int, int]
    """Where the serving prompt ends, in characters, of each message of the conversation that is trained here."""

    def token_counts(self) -> list[int]:
        """Return how many of the text's tokens each piece holds: those that begin in it."""
        ends = [0, *(self.tokens.count_before(piece.end) for piece in self.pieces[:-1]), len(self.tokens.ids)]
        return [after - before for before, after in pairwise(ends)]


class _Step(NamedTuple):
    """A request that serving gets: to write one message of the conversation."""

    turn: int
    """The message's index in the conversation."""
    message: int
    """Index of the rendered message that it is written in."""
    begun: int
    """Characters of that message's content which stand there already."""


class LayoutMaker:
    """Lays out conversations for one dialect, one base's tokenizer and chat template, and one table of weights."""

    def __init__(
        self, dialect: Dialect, tokenizer: Tokenizer, loss: LossWeights, arguments: Mapping[str, Any] | None = None
    ) -> None:
        self._dialect = dialect
        self._foreign = Foreign(dialect, special_tokens(added_tokens(tokenizer)))
        native = dialect if isinstance(dialect, Native) else None
        self.template = ChatTemplate(tokenizer, arguments, with_tools=native is not None)
        self._turns = NativeTurns(native, self.template, tokenizer) if native else None
        self._think_blocks = native is None and self.settings.has_think_blocks
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._weights = weight_table(loss)
        self._last_turn_only = loss.preset == "last_turn"

    @property
    def settings(self) -> Template:
        """What a version's manifest says of the template."""
        return self._turns.settings if self._turns else self.template.settings

    def foreign_tokens(self, conversation: Conversation) -> int:
        """Return how many special tokens and markers are broken in what is not the model's own of it."""
        before = self._foreign.count
        self._foreign.broken(conversation.messages, conversation.tools)
        return self._foreign.count - before

    def layouts(self, conversation: Conversation) -> Iterator[Layout]:
        """Yield all texts to train on; the first is the whole conversation, as it is continued turn by turn in serving.

        Then come texts that end with an earlier turn, where the one before shows that turn otherwise than it is served,
        and those that other clients of the dialect send: AgentFabric's page, which sends a turn's steps one at a time.
        Raises `RefusedError` and `InvalidInput`.
        """
        yield from self.turn_layouts(conversation)
        if not isinstance(self._dialect, AgentFabric):
            return
        rendered, factors = self.render(conversation), _factors(conversation)
        trained = {step.turn for step in self._trained(rendered)}
        for step in roleplay_steps(self._rendered(conversation, AgentFabric(knowledge=NO_KNOWLEDGE))):
            last = len(step.messages) - 1
            turn = next(segment.turn for segment in step.by_message()[last] if segment.turn is not None)
            if turn in trained and step.messages[:last] != rendered.messages[:last]:
                yield self._laid_out(step, factors, [_Step(turn, last, 0)])

    def turn_layouts(self, conversation: Conversation) -> Iterator[Layout]:
        """Yield the texts that show each assistant turn as the sidecar has it served. Raises as `layouts` does."""
        if self._turns:
            yield from self._native_layouts(self._turns, conversation)
            return
        left = self._trained(self.render(conversation))
        while left:
            shorter = replace(conversation, messages=conversation.messages[: left[-1].turn + 1])
            layout = self._laid_out(self.render(shorter), _factors(conversation), left)
            yield layout
            left = [step for step in left if step.turn not in layout.prompts]

    def _trained(self, rendered: Rendered) -> list[_Step]:
        """Return the requests of a conversation whose answers are trained: all, or those of the last turn."""
        steps = self._steps(rendered)
        return [step for step in steps if not self._last_turn_only or step.message == steps[-1].message]

    def _native_layouts(self, native: NativeTurns, conversation: Conversation) -> Iterator[Layout]:
        messages, tools = self._foreign.broken(conversation.messages, conversation.tools)
        factors = _factors(conversation)
        turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        made = {index: native.turn(messages, index, tools) for index in turns}
        left = turns[-1:] if self._last_turn_only else turns
        while left:
            *before, last = left
            text = made[last].whole
            tokens, end = self._tokens(text), len(made[last].prompt)
            if tokens.part_at(end):
                shown = {n: made[n] for n in before if text.startswith(made[n].whole)}
                served = {n: turn for n, turn in shown.items() if tokens.part_at(len(turn.prompt))}
            else:
                tokens, served = self._tokens(text[:end]).followed_by(self._tokens(text[end:]), end), {}
            served[last] = made[last]
            pieces = [piece for n, turn in served.items() for piece in self._native_pieces(turn, factors[n])]
            prompts = {n: len(turn.prompt) for n, turn in served.items()}
            yield Layout(text, (*pieces, Piece(len(text), "template", 0.0)), tokens, prompts)
            left = [n for n in before if n not in served]

    def _native_pieces(self, turn: ServedTurn, factor: float) -> Iterator[Piece]:
        """Yield the pieces from the one before a turn to its end; the tags around no thought weigh what follows."""
        position = len(turn.prompt)
        yield Piece(position, "template", 0.0)
        weights = [self._weights.get(segment.kind, 0.0) * factor for segment in turn.segments]
        for n, segment in enumerate(turn.segments):
            position += len(segment.text)
            if n == 0 and segment.kind == "reasoning" and not turn.thinks:
                yield Piece(position, "template", weights[min(1, len(weights) - 1)])
            else:
                yield Piece(position, segment.kind, weights[n])
        yield Piece(len(turn.whole), "end_of_turn", weights[-1] if weights else self._weights["text"] * factor)

    def _steps(self, rendered: Rendered) -> list[_Step]:
        """Return the requests of a conversation, in order."""
        steps: dict[int, _Step] = {}
        lengths = [0] * len(rendered.messages)
        for segment in rendered.segments:
            message, turn = segment.message, segment.turn
            if turn is not None and turn not in steps:
                begun = lengths[message]
                steps[turn] = _Step(turn, message, begun and begun + self._resumed)
            lengths[message] += len(segment.text)
        return list(steps.values())

    @cached_property
    def _resumed(self) -> int:
        """Characters that the dialect itself writes after a result, before the model goes on in the same message."""
        *asked, answer = _RESUMED
        sent, whole = self._dialect.render(asked), self._dialect.render([*asked, answer])
        own = whole.by_message()[-1]
        before = sum(len(segment.text) for segment in own if segment.turn != len(asked))
        return len(sent.messages[-1]["content"]) - before if sent.continue_final else 0

    def render(self, conversation: Conversation) -> Rendered:
        """Return what the dialect makes of it for this template. Raises `RefusedError`."""
        return self._rendered(conversation, self._dialect, self.template.default_system)

    def _rendered(self, conversation: Conversation, dialect: Dialect, default_system: str = "") -> Rendered:
        messages = reasoning_as_thoughts(conversation.messages, dialect, think_blocks=self._think_blocks)
        try:
            rendered = dialect.render(
                *self._foreign.broken(messages, conversation.tools), default_system=default_system
            )
        except InvalidInput as error:
            raise RefusedError(f"the dialect {dialect.name} refuses it: {error}") from None
        return self.template.adapted(rendered)

    def _laid_out(self, rendered: Rendered, factors: Sequence[float], steps: Sequence[_Step]) -> Layout:
        """Return the layout of a text that trains the last of `steps`, and those of the others that it shows as
        served.
        """
        last = steps[-1]
        fill = self.template.fill if last.begun else self.template.fill_served
        filled = fill(rendered.messages[: last.message + 1], open_end=_waits(rendered))
        text = filled.text
        ends = {step.turn: self._prompt_end(step, filled, rendered) for step in steps}
        tokens = self._tokens(text)
        served = {turn: end for turn, end in ends.items() if end is not None and tokens.part_at(end)}
        if last.turn not in served:
            end = ends[last.turn]
            if end is None:
                raise RefusedError("the chat template begins a turn that goes on otherwise than the turn itself")
            tokens, served = self._tokens(text[:end]).followed_by(self._tokens(text[end:]), end), {last.turn: end}
        pieces: list[Piece] = []
        for index, (own, slot) in enumerate(zip(rendered.by_message(), filled.slots, strict=False)):
            if slot.role == "assistant":
                pieces += self._assistant_pieces(
                    own, slot, served, factors, bool(rendered.messages[index].get(REASONING))
                )
            else:
                pieces.append(Piece(slot.start, "template", 0.0))
                pieces += _laid(((segment.kind, segment.text, 0.0) for segment in own), slot)
        pieces.append(Piece(len(text), "template", 0.0))
        return Layout(text, tuple(pieces), tokens, served)

    def _prompt_end(self, step: _Step, filled: Filled, rendered: Rendered) -> int | None:
        """Return where the model takes over in the text; None where the text begins otherwise than the serving
        prompt.
        """
        slot = filled.slots[step.message]
        if not step.begun:
            return slot.prompt_end
        begun = rendered.messages[step.message]["content"][: step.begun]
        kept = begun if self.template.keeps_space else begun.rstrip()
        return slot.start - slot.trimmed + len(kept) if slot.goes_on else None

    def _tokens(self, text: str) -> Tokens:
        return Tokens(self._backend.encode(text, add_special_tokens=False))

    def _assistant_pieces(
        self, segments: Sequence[Segment], slot: Slot, served: Mapping[int, int], factors: Sequence[float], thinks: bool
    ) -> Iterator[Piece]:
        def weight(kind: str, turn: int | None) -> float:
            return self._weights.get(kind, 0.0) * factors[turn] if turn is not None and turn in served else 0.0

        parts = [
            (kind, text, weight(kind, segment.turn), segment.turn)
            for segment in segments
            for kind, text in _split_marker(segment)
        ] or [("text", "", 0.0, None)]
        (_, _, first, turn), (_, _, last, _) = parts[0], parts[-1]
        yield Piece(slot.start if slot.prompt_end is None else slot.prompt_end, "template", 0.0)
        # What the template adds after the serving prompt: a thought, or the end of one that the prompt has opened.
        yield Piece(slot.start, *(("reasoning", weight("reasoning", turn)) if thinks else ("template", first)))
        begins, position, begun = [], slot.start - slot.trimmed, set[int | None]()
        for _, text, _, turn in parts:
            # A template may take the space off that stands where the model goes on: then the model writes it.
            begins.append(position if turn is None or turn in begun else min(position, served.get(turn, position)))
            begun.add(turn)
            position += len(text)
        for (kind, _, value, _), end in zip(parts, [*begins[1:], position], strict=True):
            yield Piece(min(max(end, slot.start), slot.end), kind, value)
        yield Piece(slot.turn_end, "end_of_turn", last)


def _factors(conversation: Conversation) -> list[float]:
    return [message.get("weight", 1.0) for message in conversation.messages]


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
    """Return whether the text ends with a call and a bare `Observation:`, where the engine stops the model in
    serving.
    """
    if not rendered.segments or rendered.messages[-1]["role"] != "assistant":
        return False
    last = rendered.segments[-1]
    return last.kind == "observation" and last.text.strip() == OBSERVATION


def _laid(parts: Iterable[tuple[str, str, float]], slot: Slot) -> Iterator[Piece]:
    position = slot.start - slot.trimmed
    for kind, text, weight in parts:
        position += len(text)
        yield Piece(min(max(position, slot.start), slot.end), kind, weight)


def _split_marker(segment: Segment) -> Iterator[tuple[str, str]]:
    """Yield a segment as (kind, text), with the marker of an observation, which the model writes, apart from its
    result.
    """
    head, marker, result = segment.text.partition(OBSERVATION)
    if segment.kind != "observation" or not marker or head.strip():
        yield segment.kind, segment.text
        return
    yield "observation_marker", head + marker
    if result:
        yield "observation", result
