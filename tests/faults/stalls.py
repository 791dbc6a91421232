"""What may hold the sidecar's event loop up: hostile requests and answers; and a sidecar that tells for how long.

Two measures, neither of which other processes' work changes. `cpu`: seconds of CPU that a thread spends without giving
others their turn: the loop's in one step, or one that computes beside it in one line of Python, during which it holds
the interpreter. `lines`: lines of Python that the loop goes through in one step, the same on every machine.
`python stalls.py MEASURE FLAGS` is that sidecar.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a program it has no pytest

from callwright.sidecar import __main__ as sidecar
from fakes import Engine, Raw, Served, completion
from sidecar_process import started

Measure = Literal["cpu", "lines"]
MIB = 1024 * 1024
PATH = "/stall"
_LOOK_SECONDS = 0.001
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
MARKS = {
    "react_en": ("Action: f\n", 'Action: f{"a":1}\n'),
    "hermes": ("<tool_call>", "<tool_call>{'a':1,", '<tool_call>{"name":"f","arguments":{}}</tool_call>\n'),
}


class Meter:
    """The sidecar's application, and the longest step since that was last asked for."""

    worst = 0.0

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != PATH:
            await self._app(scope, receive, send)
            return
        worst, Meter.worst = Meter.worst, 0.0
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(worst).encode()})


def time_steps(now: Callable[[], float]) -> None:
    """Note how much later it is after each step of the loop."""
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        before = now()
        run(handle)
        Meter.worst = max(Meter.worst, now() - before)

    asyncio.Handle._run = timed  # type: ignore[method-assign]


def time_lines() -> None:
    """Note what CPU each line of other threads takes, to a millisecond."""
    last = threading.local()

    def trace(*_: object) -> Any:
        now = time.monotonic()
        if now - getattr(last, "looked", 0.0) > _LOOK_SECONDS:  # to look at the CPU's clock takes longer
            spent = time.thread_time()
            Meter.worst = max(Meter.worst, spent - getattr(last, "spent", spent))
            last.looked, last.spent = now, spent
        return trace

    threading.settrace(trace)


class Lines:
    """The lines of this thread so far."""

    def __init__(self) -> None:
        self._count = 0
        sys.settrace(self._trace)

    def __call__(self) -> float:
        return self._count

    def _trace(self, *_: object) -> Any:
        self._count += 1
        return self._trace


def body(text: str = "x", **fields: Any) -> bytes:
    """A request with a tool, whose conversation has the text in every place."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": text}}
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": text},
    ]
    return json.dumps({"model": "m", "messages": messages, "tools": [TOOL]} | fields).encode()


def many(value: str, size: int) -> str:
    """JSON's list of so many bytes of a value."""
    return f"[{','.join([value] * (size // (len(value) + 1)))}]"


def requests() -> Iterator[tuple[str, str, bytes, tuple[int, ...]]]:
    """What is sent: its name, the dialect, the body, and the statuses that may be due."""
    values = {"{}": "objects", "[]": "arrays", "1": "numbers", '""': "texts", '{"a":[{}]}': "nested objects"}
    for value, name in values.items():
        sent = f'{{"model": "m","tools":{many(value, 7 * MIB)}}}'
        yield f"7 MiB of {name} as tools", "react_en", sent.encode(), (400,)
        most = 195_000 // (1 + sum(map(value.count, ",[{"))) * (len(value) + 1)
        for key in ("tools", "metadata"):
            sent = f'{{"model": "m","messages":[{{"role":"user","content":"x"}}],"{key}":{many(value, most)}}}'
            yield f"as many {name} as may be, as {key}", "react_en", sent.encode(), (200, 400)
    for text, name in (("x", "letters"), ("\\u00e9", "escapes"), ("é", "accents"), ("\\n", "line ends")):
        sent = json.dumps({"model": "m", "tools": [TOOL], "messages": [{"role": "user", "content": "@"}]})
        yield f"7 MiB of {name}", "hermes", sent.replace("@", text * (7 * MIB // len(text.encode()))).encode(), (200,)
    properties = {f"p{n}": {"type": "string", "required": True} for n in range(20_000)}
    large = {"name": "f", "parameters": {"type": "object", "properties": properties}}
    for name in ("ms_agent", "hermes"):
        sent = body(tools=[{"type": "function", "function": large}])
        yield "a tool of 20,000 parameters", name, sent, (200,)
        sent = body(tools=[{"type": "function", "function": large}], tool_choice="required")
        yield "a tool of 20,000 parameters that must be called", name, sent, (200,)
    for name, marks in MARKS.items():
        for mark in marks:
            yield f"a conversation of 1 MiB of {mark!r}", name, body(mark * (MIB // 4 // len(mark))), (200, 400)


def answers() -> Iterator[tuple[str, str, Raw, bool]]:
    """What the engine answers: its name, the dialect, the answer, and whether it is a stream."""
    for name, marks in MARKS.items():
        for mark in marks:
            for size, told in ((MIB, "1 MiB"), (4000 * len(mark), "4,000 times"), (32 * 1024, "32 KiB")):
                text = mark * (size // len(mark))
                yield f"an answer of {told} of {mark!r}", name, Raw(json.dumps(completion(text))), False
                yield f"one event of {told} of {mark!r}", name, stream([text]), True
            yield f"a burst of 5,000 events of {mark!r}", name, stream([mark] * 5000), True


def of_other_apis(is_stream: bool) -> Iterator[tuple[str, bytes]]:
    """A request of each other API with a tool, and its path."""
    schema = TOOL["function"]["parameters"]
    said: dict[str, Any] = {"model": "m", "stream": is_stream}
    asked = said | {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    yield "/v1/messages", json.dumps(asked | {"tools": [{"name": "f", "input_schema": schema}]}).encode()
    tool = {"type": "function", "name": "f", "parameters": schema}
    yield "/v1/responses", json.dumps(said | {"input": "x", "tools": [tool]}).encode()


def stream(texts: list[str]) -> Raw:
    """A stream of these, at once."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return EventStream("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")


class EventStream(Raw):
    """A body of events."""


class BurstEngine(Engine):
    """Answers with what it is given, events as such."""

    async def _whole(self, send: Any, raw: Raw) -> None:
        kind = b"text/event-stream" if isinstance(raw, EventStream) else b"application/json"
        await send({"type": "http.response.start", "status": raw.status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": bytes(raw)})


def measure(by: Measure, say: Callable[[str, float], None] = lambda name, found: None) -> dict[str, float]:
    """The longest step by each of the corpus."""
    engine = BurstEngine(lambda request: Raw(json.dumps(completion("Hello."))))
    stalls: dict[str, float] = {}
    flags = [f"--dialect={name}={name}" for name in ("react_en", "ms_agent", "agentfabric", "hermes")]
    with (
        Served(engine) as upstream,
        started(upstream.url, *flags, program=(__file__, by)) as (_, url),
        httpx.Client(base_url=url, timeout=600) as client,
    ):

        def ask(
            name: str, dialect: str, sent: bytes, statuses: tuple[int, ...], path: str = "/v1/chat/completions"
        ) -> None:
            client.get(PATH)
            answer = client.post(path, content=sent.replace(b'"model": "m"', b'"model": "%b"' % dialect.encode(), 1))
            assert answer.status_code in statuses, (name, dialect, answer.text[:200])
            stalls[f"{name} ({dialect})"] = found = float(client.get(PATH).text)
            say(f"{name} ({dialect})", found)

        for name, dialect, sent, statuses in requests():
            ask(name, dialect, sent, statuses)
        for name, dialect, answer, is_stream in answers():
            engine.answer = lambda request, answer=answer: answer
            ask(name, dialect, body(stream=is_stream), (200, 503))
            for path, sent in of_other_apis(is_stream):
                ask(f"{name}, {path}", dialect, sent, (200, 503), path)
    return stalls


if __name__ == "__main__":
    create_app = sidecar.create_app
    sidecar.create_app = lambda *given: Meter(create_app(*given))
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # asyncio's own loop has steps that can be measured
    if sys.argv.pop(1) == "cpu":
        time_steps(time.thread_time)
        time_lines()
    else:
        time_steps(Lines())
    sys.exit(sidecar.main())
