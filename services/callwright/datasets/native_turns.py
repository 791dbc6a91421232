"""Turns as a base's own chat template writes them, tools and calls included, and as the native dialect reads them back.

A turn is what the template makes of the conversation up to its end, less the serving prompt before it. What the
template loses or moves of a turn refuses the conversation by name: training never sees another turn than the row's.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from callwright.datasets.rendering import TOOL, RefusedError
from callwright.datasets.template import ChatTemplate
from callwright.datasets.tokenizer import Tokenizer, added_tokens
from callwright.dialects.arguments import read_value
from callwright.dialects.foreign import special_tokens
from callwright.dialects.native import Native
from callwright.dialects.tools import read_names
from callwright.dialects.types import (
    REASONING,
    MalformedCall,
    Message,
    Rendered,
    Segment,
    Text,
    ToolCall,
    ToolSpec,
    Turn,
)
from callwright.errors import InvalidInput
from callwright.store import Template

_SUPPOSED = "[a thought]"
ASKED: Message = {"role": "user", "content": "How is the weather in Oslo?"}
CALLING: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "0", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    ],
}
RESULT: Message = {"role": "tool", "tool_call_id": "0", "content": "Sunny."}
ANSWER: Message = {"role": "assistant", "content": "It is sunny."}


class ServedTurn(NamedTuple):
    """An assistant's turn as it is served."""

    prompt: str
    text: str
    """What the model writes, read back."""
    end: str
    """The token that ends it."""
    segments: tuple[Segment, ...]
    """Of the text."""
    thinks: bool

    @property
    def whole(self) -> str:
        """The prompt and the turn."""
        return f"{self.prompt}{self.text}{self.end}"


class NativeTurns:
    """What a base's chat template makes of the turns of a native dialect."""

    def __init__(self, dialect: Native, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self.dialect, self._renderer, self._template = dialect, template.renderer, template
        special = special_tokens(added_tokens(tokenizer))
        self.shows_special = dialect.is_special(special)
        call = dialect.write(Turn((ToolCall("", TOOL["function"]["name"], '{"city": "Oslo"}'),)), [TOOL]).rstrip()
        own = {*dialect.thought_tags, *filter(call.endswith, dialect.markers)}
        ends = {*special, tokenizer.eos_token or ""} - {"", *own} | {*dialect.stop}
        self._ends = sorted(ends, key=len, reverse=True)
        self._eos = tokenizer.eos_token or ""
        self._header = self._begins()
        """What begins a turn in a prompt that ends with a question."""
        self._shows_reasoning = True
        self._shows_reasoning = any(map(self._shows_thought, (CALLING, ANSWER)))

    @property
    def settings(self) -> Template:
        """What a version's manifest says of the template. Raises `RefusedError`."""
        opens = self._opens(self.prompt([ASKED], [TOOL]))
        try:
            resumes = self._opens(self.prompt([ASKED, CALLING, RESULT], [TOOL]))
        except RefusedError:  # it shows no results
            resumes = False
        return self._template.settings.model_copy(
            update={
                "tools": True,
                "tool_role": True,
                "shows_reasoning": self._shows_reasoning,
                "opens_reasoning": opens,
                "resumes_reasoning": resumes,
                "default_system": "",
            }
        )

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings at which the engine is to stop; where it shows special tokens, those that end turns are among
        them.
        """
        ends = [self.written([ASKED, said], [TOOL])[2] for said in (CALLING, ANSWER)] if self.shows_special else []
        return tuple(dict.fromkeys((*self.dialect.stop, *filter(None, ends))))

    def turn(self, messages: Sequence[Message], index: int, tools: Sequence[ToolSpec] | None) -> ServedTurn:
        """Return the turn that `messages[index]` is. Raises `RefusedError`, also where it is not read back as it
        was.
        """
        prompt, text, end = self.written(messages[: index + 1], tools)
        wanted = self._neutral(messages[: index + 1], tools)[0]
        stream = self.dialect.parser(tools or None, opened=self._opens(prompt))
        read = stream.read(text)
        if lost := _lost(wanted, read, tools):
            raise RefusedError(f"the chat template of {self._renderer.name} does not keep message {index + 1}: {lost}")
        return ServedTurn(prompt, text, end, stream.segments(text), REASONING in wanted)

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None) -> str:
        """Return the serving prompt. Raises `RefusedError`."""
        rendered = self._neutral(messages, tools)[1]
        return self._renderer.text(rendered.messages, prompt=True, tools=rendered.tools)

    def written(self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None) -> tuple[str, str, str]:
        """Return the serving prompt of the last message, what the template makes of it, and the token that ends it.

        Raises `RefusedError`.
        """
        prompt = self.prompt(messages[:-1], tools)
        wanted, done = self._neutral(messages, tools)
        whole = self._renderer.text(done.messages, tools=done.tools)
        if not whole.startswith(prompt) and REASONING not in wanted:
            whole = self._without_thought(done)
        if not whole.startswith(prompt):
            raise RefusedError(f"the chat template of {self._renderer.name} serves another prompt than it trains on")
        # A model that goes on in its turn after results is asked for no new one, as later prompts may show it.
        text = whole.removeprefix(prompt).removeprefix(self._header)
        return (prompt, *self._ended(text, bool(wanted.get("tool_calls"))))

    def _neutral(self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None) -> tuple[Message, Rendered]:
        """Return the last message, and all of them as the template shows them. Raises `RefusedError`."""
        try:
            rendered = self.dialect.render(messages, tools)
        except InvalidInput as error:
            raise RefusedError(f"the dialect {self.dialect.name} refuses it: {error}") from None
        shown = rendered.for_template(tool_role=True, shows_reasoning=self._shows_reasoning)
        return rendered.messages[-1], shown

    def _without_thought(self, rendered: Rendered) -> str:
        """Return the text with the last turn's thought empty, of a template that leaves the tags out around none."""
        *before, last = rendered.messages
        text = self._renderer.text([*before, last | {REASONING: _SUPPOSED}], tools=rendered.tools)
        before_it, _, after = text.rpartition(_SUPPOSED)
        return before_it + after

    def _opens(self, prompt: str) -> bool:
        return prompt.rstrip().endswith(self.dialect.thought_tags[0].rstrip())

    def _ended(self, written: str, calls: bool) -> tuple[str, str]:
        """Return a turn's text, and the token that ends it, which the template may leave to the model."""
        stripped = written.rstrip()
        for end in self._ends:
            if stripped.endswith(end):
                return stripped.removesuffix(end), end
        return written, (calls and self.dialect.hand_over) or self._eos

    def _begins(self) -> str:
        try:
            asked, prompt = (self._renderer.text([dict(ASKED)], prompt=taken_over) for taken_over in (False, True))
        except RefusedError:
            return ""
        return prompt.removeprefix(asked) if prompt.startswith(asked) else ""

    def _shows_thought(self, said: Message) -> bool:
        """Return whether the template shows the thought of a turn that is the last."""
        try:
            rendered = self._neutral([ASKED, {**said, REASONING: _SUPPOSED}], [TOOL])[1]
            return _SUPPOSED in self._renderer.text(rendered.messages, tools=rendered.tools)
        except RefusedError:
            return False


def _lost(wanted: Message, read: Turn, tools: Sequence[ToolSpec] | None) -> str:
    """Return what is missing or otherwise in a turn that was read back, in words; empty where nothing is."""
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in wanted.get("tool_calls") or ()]
    found = [(call.name, json.loads(call.arguments)) for call in read.calls if isinstance(call, ToolCall)]
    if len(found) != len(calls):
        malformed = [call.reason for call in read.calls if isinstance(call, MalformedCall)]
        reason = f" ({malformed[0]})" if malformed else ""
        return f"got {len(found)} calls; expected {len(calls)}{reason}"
    for (name, given), (own, arguments) in zip(found, calls, strict=True):
        if name != own or not _same(given, arguments, own, tools):
            return f"got the call {name} with {_dumped(given)[:80]}; expected {own} with {_dumped(arguments)[:80]}"
    for what, said, expected in (
        ("text", read.content, wanted["content"]),
        ("thought", read.thought, wanted.get(REASONING)),
    ):
        if (said or "").strip() != (expected or "").strip():
            return f"got the {what} {(said or '').strip()[:60]!r}; expected {(expected or '').strip()[:60]!r}"
    behind = False
    for part in read.parts:
        if behind and isinstance(part, Text) and part.text.strip():
            return f"got the text {part.text.strip()[:60]!r} behind the calls; expected it before them"
        behind = behind or isinstance(part, ToolCall)
    return ""


def _same(given: Any, arguments: Any, name: str, tools: Sequence[ToolSpec] | None) -> bool:
    """Return whether two calls' arguments are the same, of the types that the tool's schema says."""
    if _dumped(given) == _dumped(arguments):
        return True
    tool = read_names(tools or None).exact(name)
    read = read_value(arguments, tool) if tool else None
    return isinstance(read, str) and _dumped(json.loads(read)) == _dumped(given)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
