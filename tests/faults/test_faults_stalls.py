"""No request holds the others up: while each of a hostile corpus is answered, `/healthz` is asked all the time."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fakes import Engine, Raw, Served, completion
from sidecar_process import started

Figure = Callable[[str, object, object], None]
MIB = 1024 * 1024
LONGEST_STALL = 5.0
"""Seconds: far over what is promised, as the machine that runs the tests has other work."""
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
MARKS = {
    "react_en": ("Action: f\n", 'Action: f{"a":1}\n'),
    "hermes": ("<tool_call>", "<tool_call>{'a':1,"),
}


def body(text: str = "x", **fields: Any) -> bytes:
    """A request with a tool, whose conversation has the text in every place."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": text}}
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": text},
    ]
    return json.dumps({"model": "m", "messages": messages, "tools": [TOOL]} | fields).encode()


def requests() -> Iterator[tuple[str, str, bytes, tuple[int, ...]]]:
    """What is sent: its name, the dialect, the body, and the statuses that may be due."""
    values = {"{}": "objects", "[]": "arrays", "1": "numbers", '""': "texts"}
    for value, name in values.items():
        many = ",".join([value] * (7 * MIB // (len(value) + 1)))
        yield f"7 MiB of {name} as tools", "react_en", f'{{"tools":[{many}]}}'.encode(), (400,)
    properties = {f"p{n}": {"type": "string", "required": True} for n in range(20_000)}
    large = {"name": "f", "parameters": {"type": "object", "properties": properties}}
    for name in ("ms_agent", "hermes"):
        yield "a tool of 20,000 parameters", name, body(tools=[{"type": "function", "function": large}]), (200,)
    for name, marks in MARKS.items():
        for mark in marks:
            yield f"a conversation of 512 KiB of {mark!r}", name, body(mark * (MIB // 8 // len(mark))), (200, 400)


def answers() -> Iterator[tuple[str, str, Raw, bool]]:
    """What the engine answers: its name, the dialect, the answer, and whether it is a stream."""
    for name, marks in MARKS.items():
        for mark in marks:
            text = mark * (MIB // 2 // len(mark))
            yield f"an answer of 512 KiB of {mark!r}", name, Raw(json.dumps(completion(text))), False
            yield f"one event of 512 KiB of {mark!r}", name, stream([text]), True
            yield f"a burst of 5,000 events of {mark!r}", name, stream([mark] * 5000), True


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


def worst_stall(url: str, work: Callable[[], None]) -> float:
    """The longest that `/healthz` took to answer, in seconds, while `work` was done."""
    done = threading.Event()
    longest = 0.0

    def ask() -> None:
        nonlocal longest
        with httpx.Client(base_url=url, timeout=60) as client:
            client.get("/healthz")
            while not done.is_set():
                begun = time.perf_counter()
                client.get("/healthz")
                longest = max(longest, time.perf_counter() - begun)
                done.wait(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        work()
    finally:
        done.set()
        asking.join()
    return longest


@pytest.mark.timeout(300)
def test_no_request_and_no_answer_holds_the_others_up(figure: Figure) -> None:
    engine = BurstEngine(lambda request: Raw(json.dumps(completion("Hello."))))
    stalls: dict[str, float] = {}
    flags = [f"--dialect={name}={name}" for name in ("react_en", "ms_agent", "agentfabric", "hermes")]
    with Served(engine) as upstream, started(upstream.url, *flags) as (_, url), httpx.Client(timeout=120) as client:

        def ask(name: str, dialect: str, sent: bytes, status: tuple[int, ...]) -> None:
            asked = sent.replace(b'"model": "m"', b'"model": "%b"' % dialect.encode(), 1)

            def work() -> None:
                answer = client.post(f"{url}/v1/chat/completions", content=asked)
                assert answer.status_code in status, (name, dialect, answer.text[:200])

            stalls[f"{name} ({dialect})"] = worst_stall(url, work)

        for name, dialect, sent, status in requests():
            ask(name, dialect, sent, status)
        for name, dialect, answer, is_stream in answers():
            engine.answer = lambda request, answer=answer: answer
            ask(name, dialect, body(stream=is_stream), (200,))
    worst = max(stalls, key=lambda name: stalls[name])
    for name, seconds in sorted(stalls.items(), key=lambda each: -each[1])[:5]:
        figure(f"stall by {name}, ms", round(seconds * 1000), f"at most {round(LONGEST_STALL * 1000)}; aimed at: 50")
    assert stalls[worst] < LONGEST_STALL, worst
