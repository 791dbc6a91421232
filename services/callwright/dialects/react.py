"""The ReAct family: how all dialects with Thought, Action, Action Input and Observation are rendered and read.

    Thought: I look.
    Action: get_weather
    Action Input: {"city": "Paris"}
    Observation: sunny
    Final Answer: The sun shines.

These lines are one assistant message, which the model goes on writing after each result. A dialect gives its prompt and
overrides what it writes differently.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from callwright.dialects import markers as m
from callwright.dialects.history import Piece, Said, hidden, learn_calls, read_said, valid, with_calls
from callwright.dialects.messages import Assistant, Page, System, User, open_user, read_messages, with_tools
from callwright.dialects.react_stream import ReactStream
from callwright.dialects.react_thoughts import MarkedThoughts, ThoughtfulStream
from callwright.dialects.tools import Names, Tool, choose, read_names, read_tools
from callwright.dialects.types import (
    THOUGHT,
    CallGrammar,
    Message,
    Rendered,
    Segment,
    ToolSpec,
    Turn,
    write_reasoning,
)

_WORDS = (m.ACTION_INPUT, m.ACTION, m.OBSERVATION, m.THOUGHT, m.FINAL_ANSWER, m.QUESTION)


class ReactDialect:
    """Base of the family; its public methods beyond `Dialect` are what a dialect may write differently."""

    name: ClassVar[str]
    prompt: ClassVar[str]
    """Shows the tools and the format; `{tools}` and `{names}` stand for the tools and their names."""
    stop: ClassVar[tuple[str, ...]] = ("\nObservation:",)
    answer_marker: ClassVar[bool] = False
    """`Answer:` is a marker too; what follows it is content, and further actions may follow."""
    results_inside: ClassVar[bool] = True
    """Results stand in the assistant's text; otherwise in messages of the role tool."""
    closing_tool: ClassVar[Tool | None] = None
    markers: ClassVar[tuple[str, ...]] = ()
    call_grammar: ClassVar[CallGrammar] = CallGrammar()

    def __init__(self) -> None:
        self._markers = m.Markers((*_WORDS, m.ANSWER) if self.answer_marker else _WORDS)

    @property
    def marker_in_result(self) -> re.Pattern[str] | None:
        return self._markers.in_result if self.results_inside else None

    # What a dialect may write differently.

    def tools_text(self, tools: tuple[Tool, ...]) -> str:
        """Return the prompt, with the tools as ms-swift writes them: each a Python repr."""
        declared = "\n\n".join(str(dict(tool.function)) for tool in tools)
        return self.prompt.format(tools=declared, names=",".join(tool.name for tool in tools))

    def system_text(self, given: str, tools: tuple[Tool, ...]) -> str:
        """Return the system message: what was given, then the tools, once."""
        return with_tools(given, self.tools_text(tools))

    def user_prefix(self, tools: tuple[Tool, ...], system: str) -> str:
        """Return what stands before a user's text, once; `system` is the system message that shows the tools."""
        return ""

    def observation(self, result: str) -> str:
        """Return a result, as a line."""
        return f"Observation: {result.rstrip()}\n"

    def resume(self) -> str:
        """Return what stands after the results, before the model goes on."""
        return ""

    def thought(self, text: str) -> list[Piece]:
        """Return what the model says before it calls, as lines."""
        return [("thought", f"Thought: {text}\n")] if text else []

    def final(self, text: str, thought: str, *, resumed: bool, tools: tuple[Tool, ...]) -> list[Piece]:
        """Return the answer that ends a turn: in the format if the prompt shows it or the turn used it, otherwise
        plain.
        """
        in_format = resumed or tools or thought
        return [*self.thought(thought), ("final", f"Final Answer: {text}")] if in_format else [("text", text)]

    def final_with_calls(self, text: str, thought: str, *, tools: tuple[Tool, ...]) -> list[Piece]:
        """Return an answer that shows how a call is written, so that it makes none."""
        return self.final(text, thought, resumed=True, tools=tools)

    def answer_frame(self) -> tuple[str, str]:
        return "Final Answer: ", ""

    def thought_frame(self) -> tuple[str, str]:
        return "Thought:", "\n"

    # What all share.

    def call_frame(self, name: str) -> tuple[str, str]:
        return f"Action: {name}\nAction Input: ", "\n"

    def parser(self, tools: Sequence[ToolSpec] | None, eager: bool = False, opened: bool = False) -> ReactStream:
        return self._stream(read_names(tools), eager=eager, opened=opened)

    def thoughtful_parser(
        self, tools: Sequence[ToolSpec] | None, eager: bool, opened: bool, thoughts: MarkedThoughts
    ) -> ReactStream:
        """Return the parser of a turn whose marked thoughts are reasoning."""
        make = partial(ThoughtfulStream, thoughts=thoughts)
        return self._stream(read_names(tools), eager=eager, opened=opened, make=make)

    def _stream(
        self,
        names: Names,
        *,
        eager: bool = False,
        opened: bool = False,
        with_results: bool = False,
        make: Callable[..., ReactStream] = ReactStream,
    ) -> ReactStream:
        closing = self.closing_tool
        if closing and names.known and names.exact(closing.name):
            closing = None  # the client declares it, so it is the client's tool
        return make(self._markers, names, eager=eager, opened=opened, closing_tool=closing, with_results=with_results)

    def parse(self, text: str, tools: Sequence[ToolSpec] | None, *, cut: bool = False, opened: bool = False) -> Turn:
        return self.parser(tools, opened=opened).read(text, cut=cut)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] | None = None,
        tool_choice: object = "auto",
        default_system: str = "",
    ) -> Rendered:
        declared = read_tools(tools)
        shown = choose(declared, tool_choice)
        items = read_messages(messages, default_system if shown else None)
        names = Names(declared or None)
        page = Page()
        prefix = ""
        resumed = False  # the turn before ended with a result, and this one goes on in the same message
        for index, item in enumerate(items):
            match item:
                case System(text):
                    page.open("system")
                    if shown and index == 0:
                        text = self.system_text(text, shown)
                        prefix = self.user_prefix(shown, text)
                    page.write("system", text)
                case User():
                    open_user(page, item, prefix)
                case Assistant():
                    learn_calls(names, item)
                    self._write_turn(page, item, names, shown, resumed=resumed)
            resumed = isinstance(item, Assistant) and bool(item.results) and self.results_inside
        last = items[-1] if items else None
        # A client may also send the result in the assistant's text. What is rendered decides, so that the same text is
        # treated alike when it comes again.
        written = page.text if isinstance(last, Assistant) and not last.results else ""
        reopened = bool(written) and self._ends_with_result(written, names)
        before = ""
        if reopened and self._segments(written, names)[-1].kind == "observation":
            before, resumed = "" if written.endswith("\n") else "\n", True
        if resumed:
            page.write("final", before + self.resume())
        return page.render(continue_final=resumed or reopened)

    def _write_turn(self, page: Page, turn: Assistant, names: Names, tools: tuple[Tool, ...], *, resumed: bool) -> None:
        said = read_said(lambda: self._stream(names, with_results=True), turn, self._markers.search)
        pieces = self._turn_pieces(turn, said, names, tools, resumed=resumed)
        if resumed:
            before: list[Piece] = [("reasoning", write_reasoning(said.reasoning))] if said.reasoning else []
            pieces = self._resumed([*before, *pieces])
        else:
            page.open("assistant")
            page.reason(said.reasoning)
        page.turn = turn.index
        pieces = self._with_results(pieces, turn) if self.results_inside else _without_line_end(pieces)
        for kind, text in pieces:
            page.write(kind, text)
        if not self.results_inside:
            for result in turn.results:
                page.open("tool")
                page.write("user", result)

    def _turn_pieces(
        self, turn: Assistant, said: Said, names: Names, tools: tuple[Tool, ...], *, resumed: bool
    ) -> list[Piece]:
        """Return what the model wrote in this turn: its own text as it is, plain text in the format."""
        before: list[Piece] = []
        if turn.thought:
            if self._is_marked(turn.thought, names):
                raise hidden(turn, "answer", THOUGHT)
            before = self.thought(turn.thought)
        text = said.text.strip()
        if names.known and not turn.calls and not turn.results and self._only_speaks_of_calls(said):
            return self.final_with_calls(text, turn.thought, tools=tools)
        if said.is_raw:
            pieces = [*before, *said.pieces]
        elif turn.calls or turn.results:
            pieces = self.thought("\n".join(filter(None, (turn.thought, text))))
        else:
            return self.final(said.text.lstrip(), turn.thought, resumed=resumed, tools=tools) if text else before
        calls: list[Piece] = []
        for call in turn.calls:
            calls.append(("action", f"Action: {call.name}\n"))
            calls.append(("action_input", f"Action Input: {call.arguments}\n"))
        written = pieces
        if calls:
            lines = _end_line(pieces)
            orders = [[*lines, *calls], [*calls, *lines]]
            if said.calls and not self._stream(names).read(turn.text, cut=True).calls:
                # The engine has cut a call off, which is none: it stands within a line.
                flat = self._markers.line_end.sub(" ", text)
                flat = f"… {flat}" if self._markers.head(flat) else flat
                orders.insert(1, [*ReactDialect.thought(self, flat), *calls])
                said = replace(said, calls=())
            written = with_calls(turn, said, calls, orders, lambda: self._stream(names)) or pieces
        may_hide = not said.is_plain and (not calls or written[-1] is not calls[-1])
        if turn.results and self.results_inside and may_hide:
            text = "".join(text for _, text in _end_line(written)) + self.observation("x")
            if self._segments(text, names)[-1].kind != "observation":
                raise hidden(turn, "results")
        return written

    def _only_speaks_of_calls(self, said: Said) -> bool:
        """Return whether calls that stand in a text are the answer's own words: a call that is made is known beside the
        text, or waits for its result.
        """
        kinds = [kind for kind, _ in said.pieces]
        is_answer = "observation" not in kinds if self.results_inside else kinds[:1] == ["text"]
        return is_answer and bool(valid(said.calls))

    def holds_marker(self, text: str) -> bool:
        """Return whether a line of the text opens with a marker, wherever the text may stand."""
        return self._markers.search(text) is not None

    def _is_marked(self, text: str, names: Names) -> bool:
        stream = self._stream(names)
        stream.read(text)
        return stream.met_marker

    def _resumed(self, pieces: list[Piece]) -> list[Piece]:
        """Return a turn behind a result, which opens with what stands there for the model already."""
        opening = self.resume()
        if not opening:
            return pieces
        kind, text = pieces[0] if pieces else ("text", "")
        if text.lstrip().startswith(opening):
            return [(kind, text.lstrip()), *pieces[1:]]
        if kind == "text":
            return [("final", f"{opening} {text.lstrip()}".rstrip(" ")), *pieces[1:]]
        return [("final", f"{opening}\n"), *pieces]

    def _with_results(self, pieces: list[Piece], turn: Assistant) -> list[Piece]:
        """Adds the results; the first follows an `Observation:` that may already stand there."""
        kind, text = pieces[-1] if pieces else ("text", "")
        waiting = kind == "observation" and awaits_result(text)
        if not turn.results:
            if kind == "observation" and not waiting:
                return _end_line(pieces)
            return [*_end_line(pieces), ("observation", "Observation:")] if turn.calls and not waiting else pieces
        pieces = pieces[:-1] if waiting else _end_line(pieces)
        return [*_end_line(pieces), *(("observation", self.observation(result)) for result in turn.results)]

    def _ends_with_result(self, text: str, names: Names) -> bool:
        """Return whether an assistant's text ends with a result, from which the model goes on."""
        last = text.lower().rfind("observation")
        if last < 0 or text.endswith("\nObservation:") or self._markers.speech(text, last):
            return False  # no result, one that is still awaited, or one that the model has gone on from
        segments = self._segments(text, names)
        return bool(segments) and segments[-1].kind == "observation" and not awaits_result(segments[-1].text)

    def segment(self, text: str, tools: Sequence[ToolSpec] | None = None) -> tuple[Segment, ...]:
        return self._segments(text, read_names(tools))

    def _segments(self, text: str, names: Names) -> tuple[Segment, ...]:
        stream = self._stream(names, with_results=True)
        stream.read(text)
        return stream.segments(text)


def _end_line(pieces: list[Piece]) -> list[Piece]:
    if not pieces or pieces[-1][1].endswith("\n"):
        return pieces
    kind, text = pieces[-1]
    return [*pieces[:-1], (kind, f"{text}\n")]


def _without_line_end(pieces: list[Piece]) -> list[Piece]:
    return [*pieces[:-1], (pieces[-1][0], pieces[-1][1].removesuffix("\n"))] if pieces else pieces


def awaits_result(observation: str) -> bool:
    """Return whether only the marker stands there, as a model leaves it; an empty result is written with a space."""
    _, _, result = observation.replace("：", ":").partition(":")
    return not result.strip() and result != " \n"
