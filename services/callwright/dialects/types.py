"""The protocol of a dialect, and the types that it takes and returns: segments, calls, turns, deltas."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["system", "user", "thought", "action", "action_input", "observation", "final", "text"]
Message = Mapping[str, Any]
"""An OpenAI chat message: what `json.loads` gives."""
ToolSpec = Mapping[str, Any]
"""An OpenAI tool, `{"type": "function", "function": {…}}`, or a bare ToolBench object."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a message's text whose tokens have one loss weight.

    An `observation` segment opens with its marker, `Observation:`; results that stand in a message of their own
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
    continue_final: bool
    """The last message is an assistant's text that the model goes on writing, not a finished turn."""
    segments: tuple[Segment, ...]
    """In order; those of one message concatenate to exactly its content."""

    def by_message(self) -> list[list[Segment]]:
        """The segments of each message."""
        made: list[list[Segment]] = [[] for _ in self.messages]
        for segment in self.segments:
            made[segment.message].append(segment)
        return made

    def tool_as_user(self) -> "Rendered":
        """The same for a chat template without a tool role: results become user messages."""
        messages = tuple(m | {"role": "user"} if m["role"] == "tool" else m for m in self.messages)
        return Rendered(messages, self.continue_final, self.segments)


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


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant turn, read. The text of a malformed call is part of the content too."""

    content: str | None
    calls: tuple[ToolCall | MalformedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More content. With `malformed`, the text holds a call that is none, whole, and ends with it."""

    text: str
    malformed: MalformedCall | None = None


@dataclass(frozen=True, slots=True)
class CallDelta:
    """More of a call: id and name in its first delta only, arguments to be concatenated."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


Delta = ContentDelta | CallDelta


class StreamParser(Protocol):
    """Reads one assistant turn that arrives in pieces of any size."""

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

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None = None, tool_choice: object = "auto"
    ) -> Rendered:
        """Writes a conversation, its tools and results included. Raises InvalidInput on what is no conversation."""

    def segment(self, text: str) -> tuple[Segment, ...]:
        """Splits an assistant's text, results included, at this dialect's markers."""

    def call_frame(self, name: str) -> tuple[str, str]:
        """What stands before and after the JSON arguments of a call, for a grammar that constrains decoding."""

    def answer_frame(self) -> tuple[str, str]:
        """What stands before and after an answer that is JSON, for the same; read back, the JSON is all there is."""

    def parse(self, text: str, tools: Sequence[ToolSpec] | None, *, cut: bool = False) -> Turn:
        """Reads a whole turn: feeds a parser the text in one piece and accumulates its deltas."""

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False) -> StreamParser:
        """A parser for one turn. `tools` None: any name is a tool. `eager`: arguments are sent as they arrive."""


def accumulate(deltas: Iterable[Delta]) -> Turn:
    """Adds deltas up to the turn that a client of the stream sees."""
    content: list[str] = []
    calls: list[ToolCall | MalformedCall | int] = []
    heads: dict[int, tuple[str, str]] = {}
    arguments: dict[int, list[str]] = {}
    for delta in deltas:
        if isinstance(delta, ContentDelta):
            content.append(delta.text)
            if delta.malformed is not None:
                calls.append(delta.malformed)
        else:
            if delta.index not in heads:
                heads[delta.index] = (delta.id or "", delta.name or "")
                arguments[delta.index] = []
                calls.append(delta.index)
            arguments[delta.index].append(delta.arguments)
    return Turn(
        content="".join(content) or None,
        calls=tuple(ToolCall(*heads[c], "".join(arguments[c])) if isinstance(c, int) else c for c in calls),
    )
