"""One more try where the model wrote a malformed call: it is told why, as the dialect tells a tool's result.

Owns which turns are tried again and what the model is told; knows nothing of HTTP.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from callwright.dialects.native import Native
from callwright.dialects.react_call import GIVE_UP
from callwright.dialects.types import (
    REASONING,
    THINK,
    CallDelta,
    ContentDelta,
    Delta,
    MalformedCall,
    StreamParser,
    ToolCall,
    Turn,
)
from callwright.sidecar.plan import RETRY, ChatPlan

Json = dict[str, Any]


@dataclass(frozen=True)
class MalformedTurn:
    """A turn that holds a malformed call and no other."""

    text: str
    """What the model wrote, up to the end of that call."""
    call: MalformedCall


class WithholdingParser:
    """A parser that keeps a malformed call back, and what follows it, until a call comes or `release` is called."""

    def __init__(self, parser: StreamParser) -> None:
        self._parser = parser
        self._written: list[str] = []
        self._withheld: list[Delta] = []
        self._called = False
        self._length = 0
        self.ends = {"content": "", REASONING: ""}
        """The last characters of content and of reasoning that were let through."""

    @property
    def kept(self) -> int:
        """Characters that are kept for a second try, or wait for the turn's end."""
        return self._length + self._parser.kept

    def feed(self, chunk: str) -> list[Delta]:
        """Take the next piece; returns what is certain by now and not kept back."""
        self._keep(chunk)
        return self._let_through(self._parser.feed(chunk))

    def passes(self, chunk: str) -> bool:
        """Take the next piece if all of it is content, and certain, and nothing is kept back."""
        if self._withheld or not self._parser.passes(chunk):
            return False
        self._keep(chunk)
        self.ends["content"] = chunk[-1]
        return True

    def close(self, *, cut: bool = False) -> list[Delta]:
        """End the turn; `malformed_turn` says what is still kept back."""
        return self._let_through(self._parser.close(cut=cut))

    def release(self) -> list[Delta]:
        """Return what was kept back: there is no second try."""
        withheld, self._withheld = self._withheld, []
        return withheld

    @property
    def malformed_turn(self) -> MalformedTurn | None:
        """The turn, where it is to be tried again."""
        call = next((found for delta in self._withheld if (found := _malformed_call(delta))), None)
        return _malformed_turn("".join(self._written), call) if call else None

    def _keep(self, chunk: str) -> None:
        self._written.append(chunk)
        self._length += len(chunk)

    def _let_through(self, deltas: Iterable[Delta]) -> list[Delta]:
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, CallDelta):
                self._called = True
                out += [*self.release(), delta]
            elif self._withheld or (not self._called and _malformed_call(delta)):
                self._withheld.append(delta)
            else:
                self.ends["content" if isinstance(delta, ContentDelta) else REASONING] = delta.text[-1:]
                out.append(delta)
        return out


def malformed_turn(completion: Json, turns: Sequence[Turn], plan: ChatPlan) -> MalformedTurn | None:
    """Return the turn of a whole completion, as the engine sent it, where it is to be tried again."""
    choices = completion.get("choices")
    if not plan.retry or not isinstance(choices, list) or len(choices) != 1:
        return None
    text = (choices[0].get("message") or {}).get("content")
    if choices[0].get("finish_reason") != "stop" or not text:
        return None
    calls = turns[0].calls
    wrong = [call for call in calls if isinstance(call, MalformedCall) and call.reason != GIVE_UP]
    return _malformed_turn(text, wrong[0]) if wrong and not any(isinstance(call, ToolCall) for call in calls) else None


def second_request(request: Json, plan: ChatPlan, turn: MalformedTurn) -> Json:
    """Return the client's `request` after the malformed turn, with the reason as the call's result."""
    names = [tool.get("function", tool)["name"] for tool in plan.tools or ()]
    told = f"Error: {turn.call.reason}. Nothing was called: call again with a tool's name and a JSON object."
    told += f" The tools are: {', '.join(names)}." if names else ""
    opening = plan.dialect.thought_tags[0] if isinstance(plan.dialect, Native) else THINK
    text = f"{opening}\n{turn.text}" if plan.opened else turn.text
    messages = [{"role": "assistant", "content": text}, {"role": "tool", "content": told}]
    return request | {"messages": [*request["messages"], *messages], RETRY: False}


def summed_usage(usage: object, first: object) -> Any:
    """Return the usage of both tries."""
    if not isinstance(usage, dict) or not isinstance(first, dict):
        return usage
    return {
        key: count + before if isinstance(count, int) and isinstance(before := first.get(key), int)
        else summed_usage(count, first.get(key))
        for key, count in usage.items()
    }  # fmt: skip


def _malformed_call(delta: Delta) -> MalformedCall | None:
    """Return the malformed call of `delta`; a model that gives up, in ToolBench's words, is left alone."""
    found = delta.malformed if isinstance(delta, ContentDelta) else None
    return found if found is not None and found.reason != GIVE_UP else None


def _malformed_turn(text: str, call: MalformedCall) -> MalformedTurn:
    end = text.find(call.text) + len(call.text) if call.text in text else len(text)
    return MalformedTurn(text[:end], call)
