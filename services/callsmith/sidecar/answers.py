"""The engine's answer becomes the client's: dialect text in, content and tool calls out, whole or chunk by chunk.

Pure: knows the OpenAI protocol and dialect parsers, nothing of HTTP. A chunk that needs no change stays as it came.
"""

import json
from typing import Any

from callsmith.dialects.types import CallDelta, ContentDelta, Delta, MalformedCall, StreamParser, ToolCall
from callsmith.sidecar.requests import Plan

Json = dict[str, Any]
_READ = ("role", "content", "tool_calls")


class Observed:
    """What an answer held, for the metrics: overridden by who counts."""

    def call(self, name: str) -> None:
        """A call of the tool `name` was sent."""

    def malformed(self, call: MalformedCall) -> None:
        """A call that could not be read was sent as content."""

    def usage(self, usage: object) -> None:
        """The engine's `usage` object, if it sent one."""


def translate(answer: Json, plan: Plan, observed: Observed) -> Json:
    """A whole answer, changed in place."""
    for choice in answer.get("choices") or ():
        message = choice.get("message")
        if not isinstance(message, dict):
            continue
        cut = choice.get("finish_reason") == "length"
        turn = plan.dialect.parse(message.get("content") or "", _tools(plan), cut=cut)
        calls = [call for call in turn.calls if isinstance(call, ToolCall)]
        malformed = [call for call in turn.calls if isinstance(call, MalformedCall)]
        calls = calls[:1] if plan.single else calls
        message["content"] = turn.content if turn.content or calls else ""
        message.pop("tool_calls", None)
        if malformed and plan.callable:
            message["malformed_tool_calls"] = [_malformed(n, call) for n, call in enumerate(malformed)]
            for bad in malformed:
                observed.malformed(bad)
        for call in calls:
            observed.call(call.name)
        if not calls:
            continue
        if plan.legacy:
            message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        else:
            message["tool_calls"] = [_call(call) for call in calls]
        if choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "function_call" if plan.legacy else "tool_calls"
    return answer


class StreamTranslation:
    """The events of one stream, in order."""

    def __init__(self, plan: Plan, observed: Observed) -> None:
        self._plan, self._observed = plan, observed
        self._choices: dict[int, _Choice] = {}
        self.done = False
        """The engine has ended the stream properly."""

    def event(self, data: bytes) -> list[bytes]:
        """The client's events for the engine's event with `data`; neither bears `data:` or the empty line."""
        if data == b"[DONE]":
            self.done = True
            return [data]
        try:
            chunk = json.loads(data)
            choices = chunk["choices"]
        except (ValueError, KeyError, TypeError):
            return [data]  # an error
        if not choices:
            self._observed.usage(chunk.get("usage"))
            return [data] if self._plan.show_usage else []
        events: list[bytes] = []
        for choice in choices:
            state = self._choices.get(choice["index"])
            if state is None:
                state = self._choices[choice["index"]] = _Choice(self._plan, self._observed)
            out = state.feed(choice)
            if out is None and len(choices) == 1:
                return [data]
            events += [_dump(chunk, changed) for changed in ([choice] if out is None else out)]
        return events


class _Choice:
    """One choice of a stream: its parser, and what was sent of it."""

    def __init__(self, plan: Plan, observed: Observed) -> None:
        self._plan, self._observed = plan, observed
        self._parser: StreamParser = plan.dialect.parser(_tools(plan), eager=plan.eager)
        self._begun = False
        self._calls = 0
        self._malformed = 0
        self._logprobs: list[Any] = []
        self._held: Json | None = None

    def feed(self, choice: Json) -> list[Json] | None:
        """The choice of each chunk to send, or None when `choice` is to be sent as it is."""
        delta = choice.get("delta") or {}
        text = delta.get("content")
        finish = choice.get("finish_reason")
        deltas = self._parser.feed(text) if text else []
        if self._plain and finish is None and _unchanged(deltas, text):
            return None
        if finish is not None:
            deltas += self._parser.close(cut=finish == "length")
        out: list[Json] = []
        if not self._begun:
            self._begun = True
            out.append({"role": "assistant", "content": None})
        if rest := {key: value for key, value in delta.items() if key not in _READ and value}:
            out.append(rest)
        out += [made for each in deltas for made in self._delta(each)]
        return self._framed(choice, out, finish)

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
                    made["malformed_tool_calls"] = [_malformed(self._malformed, malformed)]
                    self._malformed += 1
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


def _unchanged(deltas: list[Delta], text: str | None) -> bool:
    if len(deltas) != 1 or not text:
        return False
    (delta,) = deltas
    return isinstance(delta, ContentDelta) and delta.malformed is None and delta.text == text


def _is_call(delta: Json) -> bool:
    return "tool_calls" in delta or "function_call" in delta


def _tools(plan: Plan) -> list[Json] | None:
    return plan.tools if plan.callable else []


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _malformed(index: int, call: MalformedCall) -> Json:
    return {"index": index, "name": call.name, "reason": call.reason}


def _dump(chunk: Json, choice: Json) -> bytes:
    return json.dumps(chunk | {"choices": [choice]}, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )
