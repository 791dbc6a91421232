"""What may hold the sidecar's event loop up: hostile requests and answers; and a sidecar that measures for how long.

The measure is CPU time of the sidecar's process between two turns of its loop, whichever thread has spent it: so other
processes' work does not change it. `python stalls.py FLAGS` is that sidecar.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a program it has no pytest

from callwright.sidecar import __main__ as sidecar
from fakes import Engine, Raw, Served, completion
from sidecar_process import started

MIB = 1024 * 1024
PATH = "/stall"
_BEAT_SECONDS = 0.002
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
MARKS = {
    "react_en": ("Action: f\n", 'Action: f{"a":1}\n'),
    "hermes": ("<tool_call>", "<tool_call>{'a':1,", '<tool_call>{"name":"f","arguments":{}}</tool_call>\n'),
}


class Meter:
    """The sidecar's application, and how long its loop was held up at most since that was last asked for."""

    def __init__(self, app: Any) -> None:
        self._app, self._worst, self._last = app, 0.0, 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._last = time.process_time()
            asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)
        if scope.get("path") != PATH:
            await self._app(scope, receive, send)
            return
        worst, self._worst = self._worst, 0.0
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(worst).encode()})

    def _beat(self) -> None:
        now = time.process_time()
        self._worst, self._last = max(self._worst, now - self._last), now
        asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)


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


def measure(say: Callable[[str, float], None] = lambda name, seconds: None) -> dict[str, float]:
    """The longest that the loop was held up, in seconds of CPU, by each."""
    engine = BurstEngine(lambda request: Raw(json.dumps(completion("Hello."))))
    stalls: dict[str, float] = {}
    flags = [f"--dialect={name}={name}" for name in ("react_en", "ms_agent", "agentfabric", "hermes")]
    with (
        Served(engine) as upstream,
        started(upstream.url, *flags, program=(__file__,)) as (_, url),
        httpx.Client(base_url=url, timeout=120) as client,
    ):

        def ask(
            name: str, dialect: str, sent: bytes, statuses: tuple[int, ...], path: str = "/v1/chat/completions"
        ) -> None:
            client.get(PATH)
            answer = client.post(path, content=sent.replace(b'"model": "m"', b'"model": "%b"' % dialect.encode(), 1))
            assert answer.status_code in statuses, (name, dialect, answer.text[:200])
            stalls[f"{name} ({dialect})"] = seconds = float(client.get(PATH).text)
            say(f"{name} ({dialect})", seconds)

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
    sys.exit(sidecar.main())
