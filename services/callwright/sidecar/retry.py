"""One more try where the model wrote a malformed call: it is told why, as the dialect tells a tool's result.

Owns which turns are tried again and what the model is told; knows nothing of HTTP.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from callwright.dialects.react_call import GIVE_UP
from callwright.dialects.types import CallDelta, ContentDelta, Delta, MalformedCall, StreamParser, ToolCall
from callwright.sidecar.requests import RETRY, Plan

Json = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A turn that holds a malformed call and no other."""

    text: str
    """What the model wrote, up to the end of that call."""
    malformed: MalformedCall


class Withholding:
    """A parser that keeps a malformed call back, and what follows it, until a call comes or it is told to let go."""

    def __init__(self, parser: StreamParser) -> None:
        self._parser = parser
        self._written: list[str] = []
        self._kept: list[Delta] = []
        self._called = False
        self.spoke = ""
        """The last character of content that was let through."""

    def feed(self, chunk: str) -> list[Delta]:
        """As the parser's."""
        self._written.append(chunk)
        return self._let_through(self._parser.feed(chunk))

    def passes(self, chunk: str) -> bool:
        """As the parser's."""
        if self._kept or not self._parser.passes(chunk):
            return False
        self._written.append(chunk)
        self.spoke = chunk[-1]
        return True

    def close(self, *, cut: bool = False) -> list[Delta]:
        """As the parser's; `failure` says what is still kept back."""
        return self._let_through(self._parser.close(cut=cut))

    def release(self) -> list[Delta]:
        """What was kept back: there is no second try."""
        kept, self._kept = self._kept, []
        return kept

    @property
    def failure(self) -> Failure | None:
        """The turn, where it is to be tried again."""
        malformed = next((m for delta in self._kept if (m := _malformed(delta))), None)
        return _failure("".join(self._written), malformed) if malformed else None

    def _let_through(self, deltas: Iterable[Delta]) -> list[Delta]:
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, CallDelta):
                self._called = True
                out += [*self.release(), delta]
            elif self._kept or (not self._called and _malformed(delta)):
                self._kept.append(delta)
            else:
                self.spoke = delta.text[-1:]
                out.append(delta)
        return out


def failure(answer: Json, plan: Plan) -> Failure | None:
    """The turn of a whole answer, as the engine sent it, where it is to be tried again."""
    choices = answer.get("choices")
    if not plan.retry or not isinstance(choices, list) or len(choices) != 1:
        return None
    text = (choices[0].get("message") or {}).get("content")
    if choices[0].get("finish_reason") != "stop" or not text:
        return None
    calls = plan.dialect.parse(text, plan.tools).calls
    wrong = [call for call in calls if isinstance(call, MalformedCall) and call.reason != GIVE_UP]
    return _failure(text, wrong[0]) if wrong and not any(isinstance(call, ToolCall) for call in calls) else None


def request_again(request: Json, plan: Plan, failed: Failure) -> Json:
    """The client's `request` after the failed turn, with the reason as the call's result."""
    names = [tool.get("function", tool)["name"] for tool in plan.tools or ()]
    told = f"Error: {failed.malformed.reason}. Nothing was called: call again with a tool's name and a JSON object."
    told += f" The tools are: {', '.join(names)}." if names else ""
    turn = [{"role": "assistant", "content": failed.text}, {"role": "tool", "content": told}]
    return request | {"messages": [*request["messages"], *turn], RETRY: False}


def with_spent(usage: object, spent: object) -> Any:
    """The usage of both tries."""
    if not isinstance(usage, dict) or not isinstance(spent, dict):
        return usage
    return {
        key: count + before if isinstance(count, int) and isinstance(before := spent.get(key), int)
        else with_spent(count, spent.get(key))
        for key, count in usage.items()
    }  # fmt: skip


def _malformed(delta: Delta) -> MalformedCall | None:
    """The malformed call of `delta`; a model that gives up, in ToolBench's words, is left alone."""
    found = delta.malformed if isinstance(delta, ContentDelta) else None
    return found if found is not None and found.reason != GIVE_UP else None


def _failure(text: str, malformed: MalformedCall) -> Failure:
    end = text.find(malformed.text) + len(malformed.text) if malformed.text in text else len(text)
    return Failure(text[:end], malformed)
