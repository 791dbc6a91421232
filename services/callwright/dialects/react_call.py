"""A ReAct call that is being read, and what becomes of it: a call, an answer, a fault, or prose after all.

The stream parser says where name and input end; here it is decided what they mean.
"""

import re
from dataclasses import dataclass

from callwright.dialects.arguments import Fault, read_bare, read_call, read_object, says_nothing
from callwright.dialects.literals import MAX_DEPTH, read_json, read_literal, write_json
from callwright.dialects.object_scanner import ObjectScanner, outside
from callwright.dialects.react_inline import InlineCall, begin
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import Kind, MalformedCall

GIVE_UP = "give_up_and_restart"
# Outside strings a line that might open with a marker may be where the object was broken off.
_OUTSIDE = outside(r"\n(?=[ \t]{0,8}(?:[AaFfOoQqTt*#_<]|\Z))")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that a closing tool was called with."""

    text: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a valid call."""

    json: str


@dataclass(frozen=True, slots=True)
class NoCall:
    """A word for none where the tool should stand: nothing is called."""


Outcome = Arguments | Answer | NoCall | Fault
_NOTHING = re.compile(
    r"(?:finish|-+|no|n\.a|n/a|(?:none|nothing|not|no (?:more |further )?(?:action|tool|api|function|input)s?)"
    r"(?: (?:is |are )?(?:needed|required|necessary|applicable))?|(?:无需|不需要)(?:调用|使用)?(?:工具|操作|行动)?)"
    r"(?: ?\([^()]{0,80}\))?"
).fullmatch
"""Matches what is written for no tool and for its input, beside the words for nothing."""
_WORD = re.compile(r"[^\W\d][\w.\-]*")
_EDGES = " \t\r\n`*\"'"
_ARGUED = re.compile(r"([^\s:：\"']+[^\sa-z:：\"'][^\s:：\"']*)(?:\s*[:：]|\s+[\"'“])\s*\S.*").fullmatch
"""Matches a name that is no word of prose, and text behind it as a value is written."""
_NO_PROSE = re.compile(r"[^\W\d]\w*_\w+")


class PendingCall:
    """The text of one `Action:` so far. `closing_tool` is ToolBench's Finish: calling it answers."""

    def __init__(self, names: Names, closing_tool: Tool | None, marker: str) -> None:
        self._names = names
        self._closing_tool = closing_tool
        self.head = [marker]
        """Text up to the input."""
        self.body: list[str] = []
        """Text of the input."""
        self.name = ""
        self.tool: Tool | None = None
        self.fenced = False
        self.is_named_inside = False
        """The tool's name stands in the object, in place of a line of its own."""
        self.is_streaming = False
        """Its arguments are emitted as they come."""
        self.marks: list[tuple[int, Kind]] = []
        """Where it begins, and its input."""
        self.is_further = False
        """It is an object behind the input of the call before."""
        self._inline: str | Fault | None = None
        """The arguments that stand on the line of the name."""
        self.scanner = ObjectScanner(_OUTSIDE)

    @property
    def text(self) -> str:
        """All of it, verbatim."""
        return "".join(self.head) + "".join(self.body)

    @property
    def is_complete(self) -> bool:
        """Whether its arguments were read with its name."""
        return self._inline is not None

    @property
    def may_stream(self) -> bool:
        """Whether the arguments may be sent before they are complete."""
        return self.tool is not None and self.tool is not self._closing_tool

    def begin_inline(self, name: str, bracket: str) -> InlineCall | None:
        """Return the call that the bracket after this text opens; None where it opens none."""
        self.name = name
        return begin(name, bracket, self._names, self._closing())

    def take_inline(self, inline: InlineCall) -> str | None:
        """Takes all that stands on the name's line; returns the text after the call, or None where it is prose."""
        self.head += [self.name, inline.text]
        read = inline.read()
        if read is None:
            self.name += inline.text
            return None
        self.tool = inline.tool
        self._inline, after = read if self.tool is not None else (self._unknown(), "")
        return after

    def resolve(self) -> None:
        """Finds the tool, also in a sentence, since an Action Input follows."""
        self.tool = self._closing() or self._names.mentioned(self.name)

    def without_input(self, *, before_result: bool = False) -> Outcome | None:
        """Ends it without an Action Input: a call of a tool that needs no arguments, or prose: None."""
        if self._inline is not None:
            return self._complete(self._inline)
        self.tool = self._closing() or (self._names.exact(self.name) if self._names.known else None)
        if self.tool is None:
            return self._without_tool(before_result)
        if self.tool.required:
            return Fault(f"no Action Input; expected {', '.join(self.tool.required)}")
        return self._complete("{}")

    def _without_tool(self, before_result: bool) -> Outcome | None:
        if _says_none(self.name):
            return NoCall()
        name = self.name.strip(_EDGES)
        argued = _ARGUED(name)
        if self._names.known and argued and (tool := self._names.exact(argued[1])) is not None:
            self.tool = tool
            return Fault("the input stands on the line of the tool's name, and not as arguments")
        if self._names.known and (_NO_PROSE.fullmatch(name) or (before_result and _WORD.fullmatch(name))):
            return self._unknown()
        return None

    def with_bare(self) -> Outcome:
        """Ends it with an input that is no object."""
        body = "".join(self.body)
        if self.tool is None:
            return NoCall() if _says_none(self.name) and _says_none(body) else self._unknown()
        if self._inline is not None and says_nothing(body):
            return self._complete(self._inline)
        return self._complete(read_bare(body, self.tool))

    def with_object(self) -> Outcome:
        """Ends it with an object that the scanner has read to its end."""
        body = "".join(self.body)
        if self.is_further:
            return Fault("more than one object as the input")
        if self.is_named_inside and not self.scanner.too_deep:
            return self._with_named_object(body)
        if self.tool is None and not self.is_named_inside:
            return NoCall() if _says_none(self.name) and _says_none(body) else self._unknown()
        if self.scanner.too_deep or self.tool is None:
            return Fault(f"the arguments are nested deeper than {MAX_DEPTH} levels")
        return self._complete(read_object(body, self.tool))

    def _with_named_object(self, body: str) -> Outcome:
        try:
            name, self.tool, result = read_call(read_literal(body), self._names)
        except ValueError as error:
            return Fault(f"the call is no JSON object: {error}")
        self.name = name or ""
        return self._complete(result)

    def broken_off(self, why: str) -> Outcome:
        """Ends it in the middle of its object; `why` is added to the reason."""
        known = self.tool is not None or self.is_named_inside
        return Fault(f"the arguments are not complete{why}") if known else self._unknown()

    def malformed(self, fault: Fault) -> MalformedCall:
        """Its text as a malformed call, for this reason."""
        return MalformedCall(
            self.text.rstrip(), fault.reason, self.tool.name if self.tool else self.name.strip(_EDGES) or None
        )

    def _closing(self) -> Tool | None:
        tool = self._closing_tool
        named = tool and re.fullmatch(rf"[\s`*\"']*{tool.name}(?:\s*->\s*\w+)?[\s`*\"'.]*", self.name, re.IGNORECASE)
        return tool if named else None

    def _unknown(self) -> Fault:
        return Fault(f"unknown tool {self.name.strip(_EDGES)[:64]!r}")

    def _complete(self, result: str | Fault) -> Outcome:
        if isinstance(result, Fault):
            return result
        if self.tool is not self._closing_tool:
            return Arguments(result)
        given = read_json(result)
        fields = given if isinstance(given, dict) else {}
        if fields.get("return_type") == GIVE_UP:
            return Fault(GIVE_UP)
        answer = fields.get("final_answer")
        if answer is None:
            return Fault("Finish without a final_answer")
        return Answer(answer if isinstance(answer, str) else write_json(answer))


def _says_none(text: str) -> bool:
    said = text.strip(_EDGES)
    if said[:1] + said[-1:] in ("()", "[]", "<>"):
        said = said[1:-1]
    return says_nothing(said) or _NOTHING(said.lower().rstrip(".。!")) is not None
