"""Where the contents of messages stand in the text that a base's chat template makes of them.

Says of each assistant turn whether the text shows it as it is served: many templates show a turn's thought, or the
tags around none, only while it is the last. Knows roles and texts; nothing of dialects, tokens or weights.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from callwright.datasets.rendering import HELLO, RefusedError, Renderer
from callwright.datasets.tokenizer import Message, Tokenizer
from callwright.dialects.types import REASONING, THINK, THINK_END, Rendered
from callwright.errors import InvalidInput
from callwright.store import Template

_IN_TAGS = re.compile(r"<(\w+)>.*</\1>", re.DOTALL)
_SUPPOSED = "[a thought]"
_MARK = "[a system text]"
_WITHIN = f"Before.\n{THINK}\nA thought.\n{THINK_END}\n\nAfter."
_BYE: list[Message] = [{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Good bye."}]


class Slot(NamedTuple):
    """One message in the whole text; positions are in characters."""

    role: str
    prompt_end: int | None
    """Where the model takes over at an assistant turn: the end of the serving prompt. None where the text shows the
    turn otherwise than it is served. Elsewhere `start`."""
    goes_on: bool
    """Whether what stands before the content is also what stands there while the model goes on within it."""
    start: int
    """First character of the content."""
    end: int
    """One past the last character of the content."""
    turn_end: int
    """One past the token that ends an assistant turn. Elsewhere `end`."""
    trimmed: int
    """Characters that the template has taken off the content's beginning."""


class _OtherPromptError(RefusedError):
    """The serving prompt is no beginning of the training text."""


class Filled(NamedTuple):
    """A templated conversation."""

    text: str
    slots: tuple[Slot, ...]


class _Part(NamedTuple):
    """A text that a message holds: its content, or the thought before it."""

    message: int
    key: str


class _Frames(NamedTuple):
    parts: tuple[_Part, ...]  # those that the text shows
    between: tuple[str, ...]  # one before each part, and one after the last
    taken_over: tuple[int | None, ...]  # by message: characters from the serving prompt's end to its first part
    goes_on: tuple[bool, ...]  # by message: whether what stands before is the same while it is the last
    turn_ends: tuple[int, ...]  # by message: characters after the content up to the end of its turn


class _Shape(NamedTuple):
    """What a template may look at in a message besides its texts."""

    role: str
    tag: str
    """The tag that the content stands in, such as a result's."""
    thinks: bool


class ChatTemplate:
    """A base's chat template, learnt once for each shape of a conversation and checked on every conversation.

    Raises `InvalidInput` as `Renderer` does, and for a template that serves another prompt than it trains on.
    """

    def __init__(
        self, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None = None, *, with_tools: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self.renderer = Renderer(tokenizer, arguments, with_tools=with_tools)
        self._frames = lru_cache(maxsize=4096)(self._learn)
        try:
            self.fill_served(HELLO)
        except _OtherPromptError as error:
            raise InvalidInput(f"encoding: {error}") from None
        except RefusedError:
            pass  # other conversations may get through

    def fill(self, messages: Sequence[Message], *, open_end: bool = False) -> Filled:
        """Template `messages`; with `open_end` the last assistant turn is not closed.

        Raises `RefusedError` for a conversation that the template cannot hold.
        """
        frames = self._frames(tuple(map(_shape, messages)))
        text = self.renderer.text(messages)
        return self._ended(Filled(text, tuple(self._slots(messages, text, frames))), open_end)

    def fill_served(self, messages: Sequence[Message], *, open_end: bool = False) -> Filled:
        """As `fill`, with the last assistant turn as it is served.

        A turn without a thought whose prompt has opened one is written otherwise by some templates: then the thought
        that a turn with one would have ends where it began.
        """
        filled = self.fill(messages, open_end=open_end)
        return self._without_thought(messages, open_end) if filled.slots[-1].prompt_end is None else filled

    def adapted(self, rendered: Rendered) -> Rendered:
        """Return what a dialect has rendered, as this template can show it; serving is told by the manifest to do
        the same.
        """
        has_results = any(message["role"] == "tool" for message in rendered.messages)
        return rendered.for_template(
            tool_role=not has_results or self.has_tool_role, shows_reasoning=self.shows_reasoning
        )

    @property
    def settings(self) -> Template:
        """What a version's manifest says of the template."""
        return Template(
            sha256=self.renderer.digest,
            arguments=self.renderer.arguments,
            tool_role=self.has_tool_role,
            shows_reasoning=self.shows_reasoning,
            opens_reasoning=self.renderer.text(HELLO[:1], prompt=True).rstrip().endswith(THINK),
            default_system=self.default_system,
            keeps_think_blocks=self.keeps_think_blocks,
        )

    @cached_property
    def has_tool_role(self) -> bool:
        """Whether results have a place of their own; the sidecar asks the engine's template the same question."""
        return self._holds("user", "assistant", "tool") or not self._holds("user", "assistant", "user")

    @cached_property
    def keeps_space(self) -> bool:
        """Whether the space at the end of a turn that the model goes on with is in the serving prompt."""
        begun = [HELLO[0], {"role": "assistant", "content": "Hello.\n"}]
        return self.renderer.text(begun, goes_on=True).endswith("\n")

    @cached_property
    def shows_reasoning(self) -> bool:
        """Whether an assistant's thought may stand beside its content, in a key of its own."""
        try:
            frames = self._frames((_Shape("user", "", False), _Shape("assistant", "", True)))
        except RefusedError:
            return False
        return any(part.key == REASONING for part in frames.parts)

    @cached_property
    def keeps_think_blocks(self) -> bool:
        """Whether a think block within an assistant's content stays there, in the last turn and in an earlier one."""
        told = {"role": "assistant", "content": _WITHIN} | ({REASONING: ""} if self.shows_reasoning else {})
        try:
            texts = [self.renderer.text([HELLO[0], told, *more]) for more in ((), HELLO)]
        except RefusedError:
            return True
        return all(_WITHIN in text for text in texts)

    @cached_property
    def default_system(self) -> str:
        """The system text that the template writes where a conversation has none; empty where it writes none."""
        try:
            given, without = (self.renderer.text(messages) for messages in ([_system(_MARK), *HELLO], HELLO))
            before, _, after = given.partition(_MARK)
            text = without[len(before) : len(without) - len(after)]
            is_fixed = self.renderer.text([_system(text), *_BYE]) == self.renderer.text(_BYE)
        except RefusedError:
            return ""
        return text if is_fixed else ""

    def _holds(self, *roles: str) -> bool:
        try:
            self._frames(tuple(_Shape(role, "", False) for role in roles))
        except RefusedError:
            return False
        return True

    def _slots(self, messages: Sequence[Message], text: str, frames: _Frames) -> Iterator[Slot]:
        position, first = 0, None
        for (index, key), before, after in zip(frames.parts, frames.between, frames.between[1:], strict=False):
            start = position + len(before)
            written, trimmed = self._found(messages[index][key], text, start, after)
            position = start + len(written)
            first = start if first is None else first
            if key == REASONING:
                continue
            distance = frames.taken_over[index]
            yield Slot(
                role=messages[index]["role"],
                prompt_end=None if distance is None else first - distance,
                goes_on=frames.goes_on[index],
                start=start,
                end=position,
                turn_end=position + frames.turn_ends[index],
                trimmed=trimmed,
            )
            first = None

    def _without_thought(self, messages: Sequence[Message], open_end: bool) -> Filled:
        *before, last = messages
        supposed = [*before, last | {REASONING: _SUPPOSED}]
        filled = self.fill(supposed, open_end=open_end) if not last.get(REASONING) else None
        if filled is None or (end := filled.slots[-1].prompt_end) is None:
            raise self._other_prompt(messages)
        begin = filled.text.index(_SUPPOSED, end)
        gone, slot = len(_SUPPOSED), filled.slots[-1]
        slot = slot._replace(start=slot.start - gone, end=slot.end - gone, turn_end=slot.turn_end - gone)
        return Filled(filled.text[:begin] + filled.text[begin + gone :], (*filled.slots[:-1], slot))

    def _other_prompt(self, messages: Sequence[Message]) -> _OtherPromptError:
        prompt, text = self.renderer.text(messages[:-1], prompt=True), self.renderer.text(messages)
        same = next((i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(text))
        return _OtherPromptError(
            f"the chat template of {self.renderer.name} serves another prompt than it trains on: got "
            f"{prompt[same : same + 40]!r} in the prompt; expected {text[same : same + 40]!r} as in the training text; "
            "give the base a chat template whose generation prompt begins the assistant's turn"
        )

    def _ended(self, filled: Filled, open_end: bool) -> Filled:
        text, (*slots, last) = filled
        if last.role == "assistant" and open_end:
            text = text[: last.end]
            last = last._replace(turn_end=last.end)
        elif last.role == "assistant" and last.turn_end == last.end:
            # The template leaves the last turn open; the model still has to learn to stop there.
            text = text[: last.end] + (self._tokenizer.eos_token or "")
            last = last._replace(turn_end=len(text))
        return Filled(text, (*slots, last))

    def _found(self, content: str, text: str, start: int, following: str) -> tuple[str, int]:
        """Return the content as it stands at `start`, trimmed or not, and how much was trimmed before it."""
        for written in (content, content.strip(), content.rstrip(), content.lstrip()):
            if text.startswith(written, start) and text.startswith(following, start + len(written)):
                return written, content.find(written)
        raise RefusedError(
            f"the chat template of {self.renderer.name} rewrites a message's content: got "
            f"{text[start : start + 60]!r}; expected {content[:60]!r}"
        )

    def _learn(self, shapes: tuple[_Shape, ...]) -> _Frames:
        messages = [_marked(index, shape) for index, shape in enumerate(shapes)]
        text = self.renderer.text(messages)
        parts, between = [], []
        firsts: dict[int, int] = {}
        ends: dict[int, int] = {}
        position = 0
        for part in (_Part(i, key) for i, held in enumerate(messages) for key in (REASONING, "content") if key in held):
            start = text.find(messages[part.message][part.key], position)
            if start < 0 and part.key == REASONING:
                continue  # of an earlier turn; the last one's is looked for by `_taken_over`
            if start < 0:
                roles = ", ".join(shape.role for shape in shapes)
                raise RefusedError(f"the chat template of {self.renderer.name} leaves out a message of {roles}")
            parts.append(part)
            between.append(text[position:start])
            firsts.setdefault(part.message, start)
            position = ends[part.message] = start + len(messages[part.message][part.key])
        between.append(text[position:])
        taken_over: list[int | None] = []
        turn_ends, goes_on = [], []
        for index, shape in enumerate(shapes):
            if shape.role != "assistant":
                taken_over.append(0)
                goes_on.append(False)
                turn_ends.append(0)
                continue
            goes_on.append(self.renderer.text(messages[: index + 1]).startswith(text[: ends[index]]))
            lost = shape.thinks and _Part(index, REASONING) not in parts
            taken_over.append(None if lost else self._taken_over(messages[:index], text, firsts[index]))
            turn_ends.append(self._turn_end(between[parts.index(_Part(index, "content")) + 1]))
        return _Frames(tuple(parts), tuple(between), tuple(taken_over), tuple(goes_on), tuple(turn_ends))

    def _taken_over(self, before: list[Message], text: str, start: int) -> int | None:
        prompt = self.renderer.text(before, prompt=True)
        return start - len(prompt) if text[:start].startswith(prompt) else None

    def _turn_end(self, frame: str) -> int:
        ends = [(frame.find(token), len(token)) for token in self._tokenizer.get_added_vocab() if token in frame]
        if not ends:
            return 0
        position, length = min(ends, key=lambda end: (end[0], -end[1]))
        return position + length


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


def _shape(message: Message) -> _Shape:
    found = _IN_TAGS.fullmatch(message["content"])
    return _Shape(message["role"], found[1] if found else "", bool(message.get(REASONING)))


def _marked(index: int, shape: _Shape) -> Message:
    """Return a message of this shape whose texts can be told in any other text."""
    mark = f'[content "{index}" of {shape.role}]'  # in quotes: results that become JSON are none that it holds
    message = {"role": shape.role, "content": f"<{shape.tag}>{mark}</{shape.tag}>" if shape.tag else mark}
    return message | ({REASONING: f"[thought {index}]"} if shape.thinks else {})
