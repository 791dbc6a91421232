"""A sidecar in front of a fake engine, with the OpenAI SDK as its client, and what is asked of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import openai

from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.connections import connection_class
from fakes import Engine, Raw, Served, Text

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
CALL = 'Thought: I should look.\nAction: get_weather\nAction Input: {"city": "Paris"}'
TWO = CALL + '\nAction: get_weather\nAction Input: {"city": "Rome"}'
MALFORMED = 'Action: get_rain\nAction Input: {"city": "Paris"}'
ANSWER = "Thought: I now know the final answer\nFinal Answer: It is sunny."
MIXED = "\n".join((CALL, CALL.replace("I should look", "Once more").replace("Paris", "Rome")))
"""Thought, call, thought, call."""
THINKING = f"<think>\nI think of\nAction: get_rain\n</think>\n\n{CALL}"
OTHER_PATHS = ("POST /v1/echo", "GET /v1/large")
"""Of the engine: paths whose bodies the sidecar does not look into."""
USER = [{"role": "user", "content": "What is the weather in Paris?"}]


class Typed(Raw):
    """A body with a content type of its own, which may break off."""

    content_type: str
    breaks: bool

    def __new__(
        cls, body: bytes | str, status: int = 200, content_type: str = "text/plain", *, breaks: bool = False
    ) -> Self:
        made = super().__new__(cls, body, status)
        made.content_type, made.breaks = content_type, breaks
        return made


def events(*data: str, breaks: bool = False) -> Typed:
    """A stream as it is, to its `[DONE]` or without."""
    return Typed("".join(f"data: {each}\n\n" for each in data), 200, "text/event-stream", breaks=breaks)


class TypedEngine(Engine):
    """An engine that may also answer with what is no JSON."""

    async def _whole(self, send: Any, raw: Raw) -> None:
        if not isinstance(raw, Typed):
            await super()._whole(send, raw)
            return
        headers = [(b"content-type", raw.content_type.encode())]
        await send({"type": "http.response.start", "status": raw.status, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(raw), "more_body": raw.breaks})
        if raw.breaks:
            raise ConnectionError("as the test asked")


@dataclass
class Bench:
    """A sidecar in front of a fake engine, with a client."""

    client: openai.OpenAI
    engine: Engine
    url: str

    def ask(self, **request: Any) -> Any:
        return self.client.chat.completions.create(**({"model": "m", "messages": USER, "tools": [WEATHER]} | request))

    def stream(self, **request: Any) -> list[Any]:
        return list(self.ask(stream=True, **request))


@contextmanager
def bench(answer: Callable[[dict[str, Any]], Text | Raw] | str, **settings: Any) -> Iterator[Bench]:
    text = answer
    engine = TypedEngine((lambda request: Text([text] * (request.get("n") or 1))) if isinstance(text, str) else text)
    with Served(engine) as upstream:
        defaults = {"dialects": {"m": "react_en"}, "engine_paths": OTHER_PATHS}
        config = SidecarConfig(upstream=upstream.url, **(defaults | settings))
        with (
            Served(create_app(config), http=connection_class(config)) as served,
            openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
        ):
            yield Bench(client, engine, served.url)
            upstream.server.should_exit = True  # with the sidecar: each takes its time to stop


def joined(chunks: list[Any], index: int = 0) -> dict[str, Any]:
    """What a client makes of the chunks of one choice."""
    message: dict[str, Any] = {"content": None, "reasoning": None, "calls": {}, "finish": None}
    for chunk in chunks:
        for choice in chunk.choices:
            if choice.index != index:
                continue
            assert message["finish"] is None, "a chunk after the finish reason"
            if choice.delta.content:
                message["content"] = (message["content"] or "") + choice.delta.content
            if thought := getattr(choice.delta, "reasoning_content", None):
                message["reasoning"] = (message["reasoning"] or "") + thought
            for call in choice.delta.tool_calls or ():
                known = message["calls"].setdefault(call.index, {"id": call.id, "name": "", "arguments": ""})
                known["name"] += call.function.name or ""
                known["arguments"] += call.function.arguments or ""
            message["finish"] = choice.finish_reason
    return message
