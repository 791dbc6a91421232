"""The engine's stream becomes the client's, chunk by chunk: dialect text in, content and tool calls out.

Pure: knows the OpenAI protocol and dialect parsers, nothing of HTTP. A chunk that needs no change stays as it came.
"""

from collections.abc import Callable
from typing import Any

from callwright.dialects.types import CallDelta, ContentDelta, Delta, StreamParser
from callwright.sidecar.alike import Alike
from callwright.sidecar.answers import Observed, malformed_entry, tools_to_call
from callwright.sidecar.events import dumps, loads
from callwright.sidecar.events import event as on_wire
from callwright.sidecar.requests import Plan
from callwright.sidecar.retry import Failure, Withholding, with_spent

Json = dict[str, Any]
_READ = ("role", "content", "tool_calls")
_HEAD = ("id", "object", "created", "model")


class StreamTranslation:
    """The events of one stream, in order."""

    def __init__(self, plan: Plan, observed: Observed) -> None:
        self._plan, self._observed = plan, observed
        self._choices: dict[int, _Choice] = {}
        self._alike = Alike()
        self._speaker: _Choice | None = None
        self._passes: Callable[[str], bool] | None = None
        self._to_retry: _Choice | None = None
        self.done = False
        """The engine has ended the stream properly."""
        self.failed = False
        """The engine has sent an error, which was passed on."""
        self.failure: Failure | None = None
        """The turn, which is to be tried again: `again` or `give_up` goes on."""
        self._head: Json = {}
        self._usage: bytes | None = None
        self._spent: object = None

    def prepare(self) -> None:
        """Do what can be done before the first event."""
        self._choice(0)

    def passes(self, piece: bytes) -> bool:
        """Take `piece` when it is an event on the wire that is to be sent as it is; otherwise take nothing.

        The short way through prose, which most of a stream is.
        """
        passes = self._passes
        return passes is not None and (text := self._alike.text(piece)) is not None and passes(text)

    def event(self, data: bytes) -> list[bytes]:
        """The client's events for the engine's event with `data`; neither bears `data:` or the empty line."""
        if data == b"[DONE]":
            self.done = True
            return [data] if self.failure is None else []
        if self.passes(on_wire(data)):
            return [data]
        try:
            chunk = loads(data)
            choices = chunk["choices"]
        except (ValueError, KeyError, TypeError):
            self.failed, self.failure = True, None  # no second try either
            return [data]
        if not choices:
            return self._at_usage(chunk, data)
        made: list[bytes] = []
        for choice in choices:
            state = self._choice(choice["index"])
            out = state.feed(choice)
            if out is None and len(choices) == 1 and not self._head:
                if self._alike.learn(data, chunk, choice["delta"]["content"]):
                    self._speaker = state
                made.append(data)
                continue
            made += [_dump(chunk | self._head, changed) for changed in ([choice] if out is None else out)]
            if state.failure is not None:
                self._to_retry = state
                self.failure, self._head = state.failure, {key: chunk[key] for key in _HEAD if key in chunk}
        self._passes = self._speaker.passes if self._speaker else None
        return made

    def again(self, plan: Plan) -> list[bytes]:
        """Events before those of the answer to `plan`, the second try, which continue the same message."""
        self._plan, self.failure, self.done = plan, None, False
        self._speaker = self._passes = None
        return [_dump(self._head, choice) for choice in self._to_retry.again(plan)] if self._to_retry else []

    def give_up(self) -> list[bytes]:
        """The events that were kept back for a second try, which there won't be."""
        self.failure = None
        kept = self._to_retry.give_up() if self._to_retry else []
        usage = [self._usage] if self._usage and self._plan.show_usage else []
        return [*(_dump(self._head, choice) for choice in kept), *usage, b"[DONE]"]

    @property
    def malformed(self) -> bool:
        """Whether text of a malformed call was sent."""
        return any(state.malformed for state in self._choices.values())

    def _choice(self, index: int) -> "_Choice":
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(self._plan, self._observed)
        return state

    def _at_usage(self, chunk: Json, data: bytes) -> list[bytes]:
        self._observed.usage(chunk.get("usage"))
        if self.failure is not None:
            self._usage, self._spent = data, chunk.get("usage")
            return []
        if self._spent is not None:
            data = dumps(chunk | self._head | {"usage": with_spent(chunk.get("usage"), self._spent)})
        return [data] if self._plan.show_usage else []


class _Choice:
    """One choice of a stream: its parser, and what was sent of it."""

    def __init__(self, plan: Plan, observed: Observed) -> None:
        self._plan, self._observed = plan, observed
        self._parser, self._withholding = _parsers(plan)
        self._begun = False
        self._calls = 0
        self.malformed = 0
        """Malformed calls sent as content."""
        self.failure: Failure | None = None
        """The turn, which is to be tried again."""
        self._logprobs: list[Any] = []
        self._held: Json | None = None
        self._last: Json = {}

    @property
    def passes(self) -> Callable[[str], bool] | None:
        """Takes a text when a chunk that says it is to be sent as it is; None, until the next `feed`, when none is."""
        return self._parser.passes if self._plain else None

    def feed(self, choice: Json) -> list[Json] | None:
        """The choice of each chunk to send, or None when `choice` is to be sent as it is."""
        delta = choice.get("delta") or {}
        text = delta.get("content")
        finish = choice.get("finish_reason")
        deltas = self._parser.feed(text) if text else []
        if self._plain and finish is None and _unchanged(deltas, text):
            return None
        if finish is not None:
            deltas += self._close(finish)
            finish = None if self.failure is not None else finish
            self._last = choice | {"logprobs": None}
        out: list[Json] = []
        if not self._begun:
            self._begun = True
            out.append({"role": "assistant", "content": None})
        if rest := {key: value for key, value in delta.items() if key not in _READ and value}:
            out.append(rest)
        out += [made for each in deltas for made in self._delta(each)]
        return self._framed(choice, out, finish)

    def again(self, plan: Plan) -> list[Json]:
        """Go on with the answer to `plan`; returns what parts it from what was said before."""
        spoke = self._withholding.spoke if self._withholding else ""
        if self.failure is not None:
            self._observed.malformed(self.failure.malformed)
        self._plan, self.failure, self._logprobs = plan, None, []
        self._parser, self._withholding = _parsers(plan)
        return self._framed(self._last, [{"content": "\n"}], None) if spoke.strip() else []

    def give_up(self) -> list[Json]:
        """What was kept back, as the end of the message."""
        self.failure = None
        kept = self._withholding.release() if self._withholding else []
        return self._framed(self._last, [made for each in kept for made in self._delta(each)], "stop")

    def _close(self, finish: str) -> list[Delta]:
        deltas = self._parser.close(cut=finish == "length")
        if self._withholding is None:
            return deltas
        if finish != "stop":
            return [*deltas, *self._withholding.release()]
        self.failure = self._withholding.failure
        return deltas

    @property
    def _plain(self) -> bool:
        """Nothing is held back, so a chunk may pass as it is."""
        return self._begun and self._held is None and not self._logprobs

    def _framed(self, choice: Json, deltas: list[Json], finish: str | None) -> list[Json]:
        frame = {key: value for key, value in choice.items() if key not in ("delta", "logprobs", "finish_reason")}
        framed = [] if self._held is None else [self._held]
        framed += [frame | {"delta": delta, "finish_reason": None} for delta in deltas]
        self._held = None
        if finish is not None:
            self._finish(framed, frame, finish)
        elif framed and _is_call(framed[-1]["delta"]):
            # A call waits for the next event: clients of ms-swift look for calls in the chunk that ends the stream.
            self._held = framed.pop()
        self._add_logprobs(choice, framed)
        return framed

    def _finish(self, framed: list[Json], frame: Json, reason: str) -> None:
        if reason == "stop" and self._calls:
            reason = "function_call" if self._plan.legacy else "tool_calls"
        if framed and _is_call(framed[-1]["delta"]):
            framed[-1]["finish_reason"] = reason
        else:
            framed.append(frame | {"delta": {}, "finish_reason": reason})

    def _add_logprobs(self, choice: Json, framed: list[Json]) -> None:
        """What the parser holds back for now must not lose its log probabilities: they wait for the next chunk."""
        if isinstance(found := choice.get("logprobs"), dict):
            self._logprobs += found.get("content") or []
        if framed and self._logprobs:
            framed[0]["logprobs"] = {"content": self._logprobs}
            self._logprobs = []

    def _delta(self, delta: Delta) -> list[Json]:
        match delta:
            case ContentDelta(text, malformed):
                made: Json = {"content": text}
                if malformed is not None and self._plan.callable:
                    made["malformed_tool_calls"] = [malformed_entry(self.malformed, malformed)]
                    self.malformed += 1
                    self._observed.malformed(malformed)
                return [made]
            case CallDelta(index=index) if self._plan.single and index > 0:
                return []
            case CallDelta(index, None, _, arguments):
                return [self._call({"index": index}, {"arguments": arguments})]
            case CallDelta(index, call_id, name, arguments):
                self._calls += 1
                self._observed.call(name or "")
                # Apart from its arguments: OpenAI's stream helper misses a call that opens in the last chunk.
                head = self._call({"index": index, "id": call_id, "type": "function"}, {"name": name, "arguments": ""})
                return [head, self._call({"index": index}, {"arguments": arguments})] if arguments else [head]

    def _call(self, head: Json, function: Json) -> Json:
        return {"function_call": function} if self._plan.legacy else {"tool_calls": [head | {"function": function}]}


def _parsers(plan: Plan) -> tuple[StreamParser, Withholding | None]:
    parser = plan.dialect.parser(tools_to_call(plan), eager=plan.eager)
    withholding = Withholding(parser) if plan.retry else None
    return withholding or parser, withholding


def _unchanged(deltas: list[Delta], text: str | None) -> bool:
    if len(deltas) != 1 or not text:
        return False
    (delta,) = deltas
    return isinstance(delta, ContentDelta) and delta.malformed is None and delta.text == text


def _is_call(delta: Json) -> bool:
    return "tool_calls" in delta or "function_call" in delta


def _dump(chunk: Json, choice: Json) -> bytes:
    return dumps(chunk | {"choices": [choice]})
