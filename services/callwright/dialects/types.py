"""The protocol of a dialect, and the types that it takes and returns: segments, turns and their parts, deltas."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

Kind = Literal["system", "user", "reasoning", "thought", "action", "action_input", "observation", "final", "text"]
REASONING = "reasoning_content"
"""Key of a message that has the model's reasoning, which is no part of its content."""
THOUGHT = "thought"
"""Key of a message that has what a ReAct corpus thought before its answer."""
THINK = "<think>"
THINK_END = "</think>"
Message = Mapping[str, Any]
"""An OpenAI chat message: what `json.loads` gives."""
ToolSpec = Mapping[str, Any]
"""An OpenAI tool, `{"type": "function", "function": {…}}`, or a bare ToolBench object."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a message's text whose tokens have one loss weight.

    `reasoning` is what stands in a think block, its tags included; `thought` is what follows ReAct's `Thought:`. An
    `observation` segment opens with its marker, `Observation:`; results that stand in a message of their own
    (toolbench, hermes) have the kind `user`.
    """

    kind: Kind
    text: str
    message: int = 0
    """Index into `Rendered.messages` of the message that the text belongs to."""
    turn: int | None = None
    """Index of the conversation's message that an assistant's text, or the result in it, was written for."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as the chat template gets it."""

    messages: tuple[dict[str, Any], ...]
    """Each has a role and a content; an assistant's may have `reasoning_content`, for templates that show it. It is
    empty where the content holds a think block of its own, which templates would else take for the message's."""
    continue_final: bool
    """The last message is an assistant's text that the model goes on writing, not a finished turn."""
    segments: tuple[Segment, ...]
    """In order; those of one message concatenate to exactly its content. None for a native dialect, whose turns only
    the base's template writes."""
    tools: tuple[dict[str, Any], ...] | None = None
    """OpenAI tools for a template that writes them; None where they are in the text, or there are none."""

    def by_message(self) -> list[list[Segment]]:
        """Return the segments of each message."""
        made: list[list[Segment]] = [[] for _ in self.messages]
        for segment in self.segments:
            made[segment.message].append(segment)
        return made

    def tool_as_user(self) -> "Rendered":
        """Return the same for a chat template without a tool role: results become user messages."""
        messages = tuple(m | {"role": "user"} if m["role"] == "tool" else m for m in self.messages)
        return replace(self, messages=messages)

    def reasoning_as_text(self) -> "Rendered":
        """Return the same for a chat template that does not show reasoning: it opens the message's content."""
        if not any(REASONING in message for message in self.messages):
            return self
        messages: list[dict[str, Any]] = []
        segments: list[Segment] = []
        for index, (message, own) in enumerate(zip(self.messages, self.by_message(), strict=True)):
            reasoning = message.get(REASONING)
            message = {key: value for key, value in message.items() if key != REASONING}
            if reasoning:
                block = write_reasoning(reasoning)
                message["content"] = block + message["content"]
                segments.append(Segment("reasoning", block, index, own[0].turn if own else None))
            messages.append(message)
            segments += own
        return replace(self, messages=tuple(messages), segments=tuple(segments))

    def for_template(self, *, tool_role: bool, shows_reasoning: bool) -> "Rendered":
        """Return the same for a chat template that shows results and reasoning so."""
        rendered = self if tool_role else self.tool_as_user()
        return rendered if shows_reasoning else rendered.reasoning_as_text()


def write_reasoning(reasoning: str) -> str:
    """Reasoning as a think block, with the white space that separates it from what follows."""
    return f"{THINK}\n{reasoning}\n{THINK_END}\n\n"


@dataclass(frozen=True, slots=True)
class Text:
    """Text that a client shows."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning, without the tags around it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A valid call. Two calls are equal when name and arguments are: ids are not part of the text."""

    id: str = field(compare=False)
    name: str
    arguments: str
    """A JSON object on one line, strict JSON, UTF-8 encodable."""


@dataclass(frozen=True, slots=True)
class MalformedCall:
    """Text of the model, verbatim, that should be a call and is none, and the reason."""

    text: str
    reason: str
    name: str | None = None
    """The tool's name as far as it could be read."""


Part = Text | Thought | ToolCall | MalformedCall


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant turn, read: its parts in order."""

    parts: tuple[Part, ...] = ()

    @property
    def content(self) -> str | None:
        """What a client shows as text, that of malformed calls included; None where there is none."""
        return "".join(part.text for part in self.parts if isinstance(part, Text | MalformedCall)) or None

    @property
    def thought(self) -> str | None:
        """All reasoning; None where there is none."""
        return "".join(part.text for part in self.parts if isinstance(part, Thought)) or None

    @property
    def calls(self) -> tuple[ToolCall | MalformedCall, ...]:
        """The calls, malformed ones too."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall | MalformedCall))


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More content. With `malformed`, the text holds a call that is none, whole, and ends with it."""

    text: str
    malformed: MalformedCall | None = None


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """More reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """More of a call: id and name in its first delta only, arguments to be concatenated."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


Delta = ContentDelta | ThoughtDelta | CallDelta


class CallGrammar(NamedTuple):
    """What a grammar that constrains decoding has to know of a dialect's calls, beside each call's frame."""

    style: Literal["json", "qwen_xml", "python", "gemma"] = "json"
    """How arguments are written, in xgrammar's words but for Python's and Gemma's, which are grammars of ours."""
    opening: str = ""
    """What stands before the first call, and not before others."""
    separator: str = ""
    """What stands between two calls."""
    closing: str = ""
    """What stands after the last call."""


class StreamParser(Protocol):
    """Reads one assistant turn that arrives in pieces of any size."""

    @property
    def kept(self) -> int:
        """Characters that were sent and are kept for the turn's end all the same."""

    def feed(self, chunk: str) -> list[Delta]:
        """Takes the next piece; returns what is certain by now."""

    def passes(self, chunk: str) -> bool:
        """Takes the next piece if all of it is content, and certain; False otherwise, and then nothing is taken.

        The short way through prose, which most of a stream is.
        """

    def close(self, *, cut: bool = False) -> list[Delta]:
        """Ends the turn; returns the rest. `cut`: the length limit ended it, so nothing that is open gets completed."""


class Dialect(Protocol):
    """A way of writing tools, calls and results as text. One object renders and parses it."""

    @property
    def name(self) -> str:
        """The name that specs and manifests use."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings for the engine; they open at a line start."""

    @property
    def marker_in_result(self) -> "re.Pattern[str] | None":
        """Matches, without a character of it, what a result must not hold; None where it stands in its own message."""

    @property
    def markers(self) -> tuple[str, ...]:
        """Its own tags, which text of users, tools and results must not hold; those that all models know are broken
        anyway.
        """

    @property
    def call_grammar(self) -> CallGrammar:
        """How calls are told in a grammar."""

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] | None = None,
        tool_choice: object = "auto",
        default_system: str = "",
    ) -> Rendered:
        """Writes a conversation, its tools and results included. Raises InvalidInput on what is no conversation.

        `default_system`: what the chat template says where no system message is, and would not where the tools bring
        one.
        """

    def segment(self, text: str, tools: Sequence[ToolSpec] | None = None) -> tuple[Segment, ...]:
        """Splits an assistant's text, results included, as it is read. `tools` None: any name is a tool."""

    def call_frame(self, name: str) -> tuple[str, str]:
        """Return what stands before and after the arguments of a call, for a grammar that constrains decoding."""

    def answer_frame(self) -> tuple[str, str]:
        """Return what stands before and after an answer that is JSON, for the same; read back, the JSON is all there
        is.
        """

    def thought_frame(self) -> tuple[str, str]:
        """Return what stands before and after a thought of one line, for the same; empty where nothing marks one."""

    def parse(self, text: str, tools: Sequence[ToolSpec] | None, *, cut: bool = False, opened: bool = False) -> Turn:
        """Reads a whole turn: feeds a parser the text in one piece and accumulates its deltas."""

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> StreamParser:
        """Return a parser for one turn. `tools` None: any name is a tool. `eager`: arguments are sent as they arrive.

        `opened`: the prompt has ended within a think block, so the text begins in it.
        """


def accumulate(deltas: Iterable[Delta]) -> Turn:
    """Adds deltas up to the turn that a client of the stream sees."""
    parts: list[tuple[Callable[[str], Part], list[str]]] = []
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        match delta:
            case CallDelta(index, call_id, name, arguments):
                if index not in calls:
                    calls[index] = []
                    parts.append((partial(ToolCall, call_id or "", name or ""), calls[index]))
                calls[index].append(arguments)
            case ThoughtDelta(text):
                _add(parts, Thought, text)
            case ContentDelta(text, None):
                _add(parts, Text, text)
            case ContentDelta(text, MalformedCall(written, reason, name)):
                _add(parts, Text, text.removesuffix(written))
                parts.append((partial(MalformedCall, reason=reason, name=name), [written]))
    return Turn(tuple(make("".join(texts)) for make, texts in parts))


def _add(parts: list[tuple[Callable[[str], Part], list[str]]], make: type[Text | Thought], text: str) -> None:
    if text and (not parts or parts[-1][0] is not make):
        parts.append((make, []))
    if text:
        parts[-1][1].append(text)
