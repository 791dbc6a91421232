"""Where the contents of messages stand in the text that a base's chat template makes of them.

Refuses a template whose generation prompt differs from the text that it gives the same turn in training, since the
model would then be served what it was not trained on. Knows roles and texts; nothing of dialects, tokens or weights.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from callwright.datasets.tokenizer import Message, Tokenizer
from callwright.errors import InvalidInput


class Slot(NamedTuple):
    """One message in the whole text; positions are in characters."""

    role: str
    prompt_end: int
    """Where the model takes over at an assistant turn: the end of the serving prompt. Elsewhere `start`."""
    start: int
    """First character of the content."""
    end: int
    """One past the last character of the content."""
    turn_end: int
    """One past the token that ends an assistant turn. Elsewhere `end`."""
    trimmed: int
    """Characters that the template has taken off the content's beginning."""


class Filled(NamedTuple):
    """A templated conversation."""

    text: str
    slots: tuple[Slot, ...]


class RefusedError(Exception):
    """The template or the dialect cannot hold this conversation: an order of roles, or a content that is rewritten."""


class _Frames(NamedTuple):
    between: tuple[str, ...]  # one before each content, and one after the last
    taken_over: tuple[int, ...]  # by message: characters from the serving prompt's end to the content
    turn_ends: tuple[int, ...]  # by message: characters after the content up to the end of its turn


class ChatTemplate:
    """A tokenizer's chat template, learnt once for each order of roles and checked on every conversation."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._name = tokenizer.name_or_path or "the base"
        self._frames = lru_cache(maxsize=4096)(self._learn)

    def fill(self, messages: Sequence[Message], *, open_end: bool = False) -> Filled:
        """Template `messages`; with `open_end` the last assistant turn is not closed.

        Raises `RefusedError` for a conversation that the template cannot hold, and `InvalidInput` for a template
        whose serving prompt differs from its training text.
        """
        frames = self._frames(tuple(message["role"] for message in messages))
        text = self._render(messages)
        slots = []
        position = 0
        for index, message in enumerate(messages):
            start = position + len(frames.between[index])
            content, trimmed = self._found(message["content"], text, start, frames.between[index + 1])
            position = start + len(content)
            slots.append(
                Slot(
                    role=message["role"],
                    prompt_end=start - frames.taken_over[index],
                    start=start,
                    end=position,
                    turn_end=position + frames.turn_ends[index],
                    trimmed=trimmed,
                )
            )
        return self._ended(text, slots, open_end)

    @cached_property
    def has_tool_role(self) -> bool:
        """Whether results have a place of their own; the sidecar asks the engine's template the same question."""
        return self._holds("user", "assistant", "tool") or not self._holds("user", "assistant", "user")

    def _holds(self, *roles: str) -> bool:
        try:
            self._frames(roles)
        except RefusedError:
            return False
        return True

    def _ended(self, text: str, slots: list[Slot], open_end: bool) -> Filled:
        last = slots[-1]
        if last.role == "assistant" and open_end:
            text = text[: last.end]
            slots[-1] = last._replace(turn_end=last.end)
        elif last.role == "assistant" and last.turn_end == last.end:
            # The template leaves the last turn open; the model still has to learn to stop there.
            text = text[: last.end] + (self._tokenizer.eos_token or "")
            slots[-1] = last._replace(turn_end=len(text))
        return Filled(text, tuple(slots))

    def _found(self, content: str, text: str, start: int, following: str) -> tuple[str, int]:
        """The content as it stands at `start`, trimmed or not, and how much was trimmed before it."""
        for written in (content, content.strip(), content.rstrip(), content.lstrip()):
            if text.startswith(written, start) and text.startswith(following, start + len(written)):
                return written, content.find(written)
        raise RefusedError(
            f"the chat template of {self._name} rewrites a message's content: got {text[start : start + 60]!r}; "
            f"expected {content[:60]!r}"
        )

    def _render(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise RefusedError(f"the chat template of {self._name} refuses the roles {roles}: {error}") from None
        except ValueError as error:
            raise InvalidInput(
                f"encoding: no chat template in {self._name}: {error}; take an instruction-tuned base or add a template"
            ) from None
        return str(text)

    def _learn(self, roles: tuple[str, ...]) -> _Frames:
        marks = [f"[content {index} of {role}]" for index, role in enumerate(roles)]
        messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        text = self._render(messages)
        between = []
        position = 0
        for mark in marks:
            start = text.find(mark, position)
            if start < 0:
                raise RefusedError(f"the chat template of {self._name} leaves out a message of {', '.join(roles)}")
            between.append(text[position:start])
            position = start + len(mark)
        between.append(text[position:])
        taken_over = []
        turn_ends = []
        for index, (role, mark) in enumerate(zip(roles, marks, strict=True)):
            mine = role == "assistant"
            taken_over.append(self._taken_over(messages[:index], text, text.find(mark)) if mine else 0)
            turn_ends.append(self._turn_end(between[index + 1]) if mine else 0)
        return _Frames(tuple(between), tuple(taken_over), tuple(turn_ends))

    def _taken_over(self, before: list[Message], text: str, start: int) -> int:
        prompt = self._render(before, prompt=True)
        if not text[:start].startswith(prompt):
            same = next((i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(text))
            raise InvalidInput(
                f"encoding: the chat template of {self._name} serves another prompt than it trains on: got "
                f"{prompt[same : same + 40]!r} in the prompt; expected {text[same : same + 40]!r} as in the training "
                "text; give the base a chat template whose generation prompt begins the assistant's turn"
            )
        return start - len(prompt)

    def _turn_end(self, frame: str) -> int:
        ends = [(frame.find(token), len(token)) for token in self._tokenizer.get_added_vocab() if token in frame]
        if not ends:
            return 0
        position, length = min(ends, key=lambda end: (end[0], -end[1]))
        return position + length
