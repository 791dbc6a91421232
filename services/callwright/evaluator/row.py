"""One request to put to a model, with its gold: what should come back. Every kind of set is read into these."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from callwright.dialects.literals import encodable
from callwright.evaluator.bfcl_rule import AcceptedCall

Message = dict[str, Any]
Tool = dict[str, Any]
Kind = Literal["call", "no_call", "answer", "general"]
"""`call`: a call is due; `no_call`: tools are offered and none fits; `answer`: tool results are there, to be put into
words; `general`: a conversation without tools."""


class Call(NamedTuple):
    """A call of a tool, with its arguments as JSON values."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A request: the messages up to a user or tool turn, the tools, and the gold that follows."""

    set: str
    id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    expected: tuple[Call, ...] = ()
    reference: str | None = None
    """Text of the gold answer, where there is one."""
    bfcl: tuple[AcceptedCall, ...] = ()
    """BFCL's gold, one for each call of `expected`, where the row is from there: it decides instead of equality."""

    @property
    def key(self) -> str:
        """Name of the row in results: unique over the sets of an evaluation."""
        return f"{self.set}/{self.id}"

    @property
    def kind(self) -> Kind:
        """What the row measures."""
        if self.expected:
            return "call"
        if not self.tools and self.reference is not None:
            return "general"
        return "answer" if self.messages[-1]["role"] == "tool" else "no_call"

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with the request or its gold."""
        return hashlib.blake2b(self._text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    @property
    def encodable(self) -> bool:
        """Whether UTF-8 can hold the row: there is no half of a surrogate pair in it."""
        return all(encodable(text) == text for text in (self.key, self._text))

    @property
    def _text(self) -> str:
        """The request and its gold as JSON."""
        gold = [*self.expected, *(call.gold for call in self.bfcl)]
        return json.dumps([self.messages, self.tools, gold, self.reference], sort_keys=True, ensure_ascii=False)
