"""A ReAct call that is being read, and what becomes of it: a call, an answer, a fault, or prose after all.

The stream parser says where name and input end; here it is decided what they mean.
"""

import re
from dataclasses import dataclass

from callwright.dialects.arguments import Fault, read_bare, read_object
from callwright.dialects.literals import MAX_DEPTH, read_json, write_json
from callwright.dialects.object_scanner import ObjectScanner, outside
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import MalformedCall

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


Outcome = Arguments | Answer | Fault


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
        self.scanner = ObjectScanner(_OUTSIDE)

    @property
    def text(self) -> str:
        """All of it, verbatim."""
        return "".join(self.head) + "".join(self.body)

    @property
    def may_stream(self) -> bool:
        """Whether the arguments may be sent before they are complete."""
        return self.tool is not None and self.tool is not self._closing_tool

    def resolve(self) -> None:
        """Finds the tool, also in a sentence, since an Action Input follows."""
        self.tool = self._closing() or self._names.mentioned(self.name)

    def without_input(self) -> Outcome | None:
        """Ends it without an Action Input: a call of a tool that needs no arguments, or prose: None."""
        if not self._names.known:
            return None
        self.tool = self._closing() or self._names.exact(self.name)
        if self.tool is None:
            return None
        if self.tool.required:
            return Fault(f"no Action Input; expected {', '.join(self.tool.required)}")
        return self._complete("{}")

    def with_bare(self) -> Outcome:
        """Ends it with an input that is no object."""
        if self.tool is None:
            return self._unknown()
        return self._complete(read_bare("".join(self.body), self.tool))

    def with_object(self) -> Outcome:
        """Ends it with an object that the scanner has read to its end."""
        if self.tool is None:
            return self._unknown()
        if self.scanner.too_deep:
            return Fault(f"the arguments are nested deeper than {MAX_DEPTH} levels")
        return self._complete(read_object("".join(self.body), self.tool))

    def broken_off(self, why: str) -> Outcome:
        """Ends it in the middle of its object; `why` is added to the reason."""
        return Fault(f"the arguments are not complete{why}") if self.tool is not None else self._unknown()

    def malformed(self, fault: Fault) -> MalformedCall:
        """Its text as a malformed call, for this reason."""
        return MalformedCall(
            self.text.rstrip(), fault.reason, self.tool.name if self.tool else self.name.strip() or None
        )

    def _closing(self) -> Tool | None:
        tool = self._closing_tool
        named = tool and re.fullmatch(rf"[\s`*\"']*{tool.name}(?:\s*->\s*\w+)?[\s`*\"'.]*", self.name)
        return tool if named else None

    def _unknown(self) -> Fault:
        return Fault(f"unknown tool {self.name.strip()[:64]!r}")

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
