"""The engine's answer becomes the client's: dialect text in, content and tool calls out, whole or chunk by chunk.

Pure: knows the OpenAI protocol and dialect parsers, nothing of HTTP. What is no chat completion raises `LookupError`,
`TypeError`, `ValueError`, `AttributeError` or `RecursionError` (`MALFORMED_COMPLETION`).
"""

import re
from collections.abc import Sequence
from typing import Any

from callwright.dialects.messages import reasoning_of
from callwright.dialects.types import (
    REASONING,
    CallDelta,
    ContentDelta,
    Delta,
    MalformedCall,
    Part,
    StreamParser,
    Thought,
    ThoughtDelta,
    ToolCall,
    Turn,
    accumulate,
)
from callwright.errors import Unavailable
from callwright.sidecar.plan import ChatPlan
from callwright.sidecar.record import Record
from callwright.sidecar.retry import MalformedTurn, WithholdingParser, summed_usage
from callwright.sidecar.sse import DONE, dumps, loads

Json = dict[str, Any]
MALFORMED_COMPLETION = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
_CONTENT = b'"content":"'
_is_plain = re.compile(r'[^"\\\x00-\x1f]+').fullmatch
_LOGPROB_BYTES = 4096
"""What a token's log probabilities take, the likeliest others' among them."""
_SLICE = 64 * 1024
"""Characters of a text that a parser gets at once."""
_MOST_PIECES = 4096
"""Calls, thoughts and texts between them in a whole answer or one event of a stream: what is made of each is written,
and looked through by the collector, in one step, which holds all requests up."""
_READ = ("role", "content", "tool_calls")
_HEAD = ("id", "object", "created", "model")


def read_turns(completion: Json, plan: ChatPlan) -> list[Turn]:
    """Read the turn of each choice. Raises `Unavailable` where they have more pieces than may be translated at once."""
    turns, pieces = [], 0
    for choice in completion.get("choices") or ():
        message = choice.get("message")
        parser = plan.parser()
        deltas = _fed(parser, (message.get("content") if isinstance(message, dict) else None) or "")
        turns.append(accumulate([*deltas, *parser.close(cut=choice.get("finish_reason") == "length")]))
        pieces += len(deltas)
        _check_pieces(pieces)
    return turns


def _fed(parser: StreamParser | WithholdingParser, text: str) -> list[Delta]:
    """Feed a text that came at once, in slices, so that a thread is not long at one. Raises `Unavailable`."""
    deltas: list[Delta] = []
    for start in range(0, len(text), _SLICE):
        deltas += parser.feed(text[start : start + _SLICE])
        _check_pieces(len(deltas))
    return deltas


def _check_pieces(count: int) -> None:
    if count > _MOST_PIECES:
        raise Unavailable(f"the model wrote over {_MOST_PIECES} calls, thoughts and texts in one answer")


def translate_completion(completion: Json, turns: Sequence[Turn], plan: ChatPlan, record: Record) -> list[Part]:
    """Translate a whole answer, which is changed in place; returns the parts of its first choice, in order."""
    parts: list[Part] = []
    for choice, turn in zip(completion.get("choices") or (), turns, strict=True):
        message = choice.get("message")
        if not isinstance(message, dict):
            continue
        calls = [call for call in turn.calls if isinstance(call, ToolCall)]
        malformed = [call for call in turn.calls if isinstance(call, MalformedCall)]
        calls = calls[:1] if plan.single_call else calls
        parts = parts or _shown(turn, message, calls)
        message["content"] = turn.content if turn.content or calls else ""
        if turn.thought:
            message[REASONING] = turn.thought
        message.pop("tool_calls", None)
        if malformed and plan.may_call:
            message["malformed_tool_calls"] = [_malformed_entry(n, call) for n, call in enumerate(malformed)]
            for bad in malformed:
                record.count_malformed(bad)
        for call in calls:
            record.count_call(call.name)
        if not calls:
            continue
        if plan.legacy:
            message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        else:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        if choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "function_call" if plan.legacy else "tool_calls"
    record.count_usage(completion.get("usage"))
    return parts


def _shown(turn: Turn, message: Json, calls: list[ToolCall]) -> list[Part]:
    """Return the parts that a client is shown: reasoning too that the engine itself has read, and `calls` only."""
    thought = reasoning_of(message | {"content": None})
    kept = set(map(id, calls))
    shown = [part for part in turn.parts if not isinstance(part, ToolCall) or id(part) in kept]
    return [Thought(thought), *shown] if thought and turn.thought is None else shown


def has_malformed_call(completion: Json) -> bool:
    """Return whether a translated answer holds a malformed call."""
    return any("malformed_tool_calls" in (choice.get("message") or ()) for choice in completion.get("choices") or ())


class StreamTranslation:
    """Translates the events of one stream, in order.

    Where the plan wants a second try, `malformed_turn` says at the end of the stream whether there is to be one; then
    either `resume` or `release` goes on.
    """

    def __init__(self, plan: ChatPlan, record: Record) -> None:
        self._plan, self._record = plan, record
        self._choices: dict[int, _ChoiceTranslation] = {}
        self._retried: _ChoiceTranslation | None = None
        self.done = False
        """The engine has ended the stream properly."""
        self.failed = False
        """The engine has sent an error, which was passed on, and after which nothing follows."""
        self.malformed_turn: MalformedTurn | None = None
        """The turn, where it is to be tried again."""
        self._head: Json = {}
        self._usage: bytes | None = None
        self._first_usage: object = None
        self._prose = _ProseFrame()
        self._speaker: _ChoiceTranslation | None = None
        """The choice of the events that are like `_prose`."""

    def event(self, data: bytes) -> list[bytes]:
        """Return the data of the client's events for that of one of the engine's."""
        if self._speaker is not None and (text := self._prose.text(data)) and self._speaker.passes(text):
            return [data]
        if data == DONE:
            self.done = True
            return [data] if self.malformed_turn is None and not self.failed else []
        if self.failed:
            return []
        try:
            chunk = loads(data)
            choices = chunk["choices"]
        except (ValueError, KeyError, TypeError):
            self.failed, self.malformed_turn, self._speaker = True, None, None  # no second try either
            return [data]
        if not choices:
            return self._usage_event(chunk, data)
        made: list[bytes] = []
        for choice in choices:
            state = self._choices.get(choice["index"]) or self._begin(choice["index"])
            changed = state.feed(choice)
            if changed is None and len(choices) == 1 and not self._head:
                made.append(data)  # as it came
                if self._speaker is None and self._prose.learn(data, choice["delta"]["content"]):
                    self._speaker = state
                continue
            made += [_dump(chunk | self._head, each) for each in ([choice] if changed is None else changed)]
            if state.malformed_turn is not None:
                self._retried, self.malformed_turn = state, state.malformed_turn
                self._head = {key: chunk[key] for key in _HEAD if key in chunk}
        return made

    @property
    def kept(self) -> int:
        """About how many bytes wait for what follows them, or for a second try."""
        return sum(choice.kept for choice in self._choices.values())

    def resume(self, plan: ChatPlan) -> list[bytes]:
        """Go on with the answer to `plan`, the second try; returns the events before its own, in the same message."""
        self._plan, self.malformed_turn, self.done = plan, None, False
        return [_dump(self._head, choice) for choice in self._retried.resume(plan)] if self._retried else []

    def release(self) -> list[bytes]:
        """Return the events that were kept back for a second try, which there won't be."""
        self.malformed_turn = None
        kept = self._retried.release() if self._retried else []
        usage = [self._usage] if self._usage and self._plan.show_usage else []
        return [*(_dump(self._head, choice) for choice in kept), *usage, DONE]

    @property
    def has_malformed_call(self) -> bool:
        """Whether text of a malformed call was sent."""
        return any(state.malformed_calls for state in self._choices.values())

    def _begin(self, index: int) -> "_ChoiceTranslation":
        self._choices[index] = _ChoiceTranslation(self._plan, self._record)
        return self._choices[index]

    def _usage_event(self, chunk: Json, data: bytes) -> list[bytes]:
        self._record.count_usage(chunk.get("usage"))
        if self.malformed_turn is not None:
            self._usage, self._first_usage = data, chunk.get("usage")
            return []
        if self._first_usage is not None:
            data = dumps(chunk | self._head | {"usage": summed_usage(chunk.get("usage"), self._first_usage)})
        return [data] if self._plan.show_usage else []


class _ProseFrame:
    """What stands before and after the text in an engine's events, which mostly differ in their text alone.

    An event that is told by its frame need not be read as JSON, which is most of the work that it makes.
    """

    def learn(self, data: bytes, text: str) -> bool:
        """Take the frame of an event whose only choice says `text`; returns whether it can be told."""
        before, found, after = data.partition(_CONTENT + text.encode("utf-8", "surrogatepass") + b'"')
        self._before, self._after = before + _CONTENT, b'"' + after
        return bool(found) and data.count(_CONTENT) == 1

    def text(self, data: bytes) -> str | None:
        """Return the text of an event in this frame; None for any other, and where it is not written plainly."""
        if not data.startswith(self._before) or not data.endswith(self._after):
            return None
        try:
            text = data[len(self._before) : -len(self._after)].decode()
        except UnicodeDecodeError:
            return None
        return text if _is_plain(text) else None


class _ChoiceTranslation:
    """One choice of a stream: its parser, and what was sent of it."""

    def __init__(self, plan: ChatPlan, record: Record) -> None:
        self._record = record
        self._begin(plan)
        self._has_role = False
        self._calls = 0
        self.malformed_calls = 0
        """Malformed calls sent as content."""
        self.malformed_turn: MalformedTurn | None = None
        """The turn, where it is to be tried again."""
        self._held: Json | None = None
        self._unsaid = 0
        """Characters since the parser said something."""
        self._last: Json = {}

    @property
    def kept(self) -> int:
        """About how many bytes wait for what follows them, or for a second try."""
        return self._unsaid + _LOGPROB_BYTES * len(self._logprobs) + self._parser.kept

    def passes(self, text: str) -> bool:
        """Take `text`, which is all that a chunk says, when the chunk is to be sent as it is; else take nothing."""
        return self._has_role and self._held is None and not self._logprobs and self._parser.passes(text)

    def feed(self, choice: Json) -> list[Json] | None:
        """Return the choice of each chunk to send, or None when `choice` is to be sent as it is."""
        delta = choice.get("delta") or {}
        text = delta.get("content")
        finish = choice.get("finish_reason")
        if finish is None and text and self.passes(text):
            return None
        deltas = _fed(self._parser, text) if text else []
        self._unsaid = 0 if deltas or not text else self._unsaid + len(text)
        if finish is not None:
            deltas += self._close(finish)
            finish = None if self.malformed_turn is not None else finish
            self._last = choice | {"logprobs": None}
        out: list[Json] = []
        if not self._has_role:
            self._has_role = True
            out.append({"role": "assistant", "content": None})
        if rest := {key: value for key, value in delta.items() if key not in _READ and value}:
            out.append(rest)
        out += [made for each in deltas for made in self._deltas(each)]
        return self._framed(choice, out, finish)

    def resume(self, plan: ChatPlan) -> list[Json]:
        """Go on with the answer to `plan`; returns what parts it from what was said before."""
        said = [key for key, end in self._withholding.ends.items() if end.strip()] if self._withholding else []
        if self.malformed_turn is not None:
            self._record.count_malformed(self.malformed_turn.call)
        self.malformed_turn = None
        self._begin(plan)
        return self._framed(self._last, [{key: "\n"} for key in said], None)

    def release(self) -> list[Json]:
        """Return what was kept back, as the end of the message."""
        self.malformed_turn = None
        kept = self._withholding.release() if self._withholding else []
        return self._framed(self._last, [made for each in kept for made in self._deltas(each)], "stop")

    def _begin(self, plan: ChatPlan) -> None:
        self._plan = plan
        parser = plan.parser(eager=plan.eager)
        self._withholding = WithholdingParser(parser) if plan.retry else None
        self._parser: StreamParser | WithholdingParser = self._withholding or parser
        self._logprobs: list[Any] = []

    def _close(self, finish: str) -> list[Delta]:
        deltas = self._parser.close(cut=finish == "length")
        if self._withholding is None:
            return deltas
        if finish != "stop":
            return [*deltas, *self._withholding.release()]
        self.malformed_turn = self._withholding.malformed_turn
        return deltas

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

    def _deltas(self, delta: Delta) -> list[Json]:
        match delta:
            case ThoughtDelta(text):
                return [{REASONING: text}]
            case ContentDelta(text, malformed):
                made: Json = {"content": text}
                if malformed is not None and self._plan.may_call:
                    made["malformed_tool_calls"] = [_malformed_entry(self.malformed_calls, malformed)]
                    self.malformed_calls += 1
                    self._record.count_malformed(malformed)
                return [made]
            case CallDelta(index=index) if self._plan.single_call and index > 0:
                return []
            case CallDelta(index, None, _, arguments):
                return [self._call({"index": index}, {"arguments": arguments})]
            case CallDelta(index, call_id, name, arguments):
                self._calls += 1
                self._record.count_call(name or "")
                # Apart from its arguments: OpenAI's stream helper misses a call that opens in the last chunk.
                head = self._call({"index": index, "id": call_id, "type": "function"}, {"name": name, "arguments": ""})
                return [head, self._call({"index": index}, {"arguments": arguments})] if arguments else [head]

    def _call(self, head: Json, function: Json) -> Json:
        return {"function_call": function} if self._plan.legacy else {"tool_calls": [head | {"function": function}]}


def _malformed_entry(index: int, call: MalformedCall) -> Json:
    """Return what the extension field `malformed_tool_calls` says of a call."""
    return {"index": index, "name": call.name, "reason": call.reason}


def _is_call(delta: Json) -> bool:
    return "tool_calls" in delta or "function_call" in delta


def _dump(chunk: Json, choice: Json) -> bytes:
    return dumps(chunk | {"choices": [choice]})
