"""A sidecar in front of a fake engine, with the OpenAI SDK as its client, and what is asked of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openai

from callsmith.sidecar.app import create_app
from callsmith.sidecar.config import SidecarConfig
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
ANSWER = "Thought: I now know the final answer\nFinal Answer: It is sunny."
USER = [{"role": "user", "content": "What is the weather in Paris?"}]


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
    engine = Engine((lambda request: Text([text] * (request.get("n") or 1))) if isinstance(text, str) else text)
    with Served(engine) as upstream:
        config = SidecarConfig(upstream=upstream.url, **({"dialects": {"m": "react_en"}} | settings))
        with (
            Served(create_app(config)) as served,
            openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
        ):
            yield Bench(client, engine, served.url)
            upstream.server.should_exit = True  # with the sidecar: each takes its time to stop


def joined(chunks: list[Any], index: int = 0) -> dict[str, Any]:
    """What a client makes of the chunks of one choice."""
    message: dict[str, Any] = {"content": None, "calls": {}, "finish": None}
    for chunk in chunks:
        for choice in chunk.choices:
            if choice.index != index:
                continue
            assert message["finish"] is None, "a chunk after the finish reason"
            if choice.delta.content:
                message["content"] = (message["content"] or "") + choice.delta.content
            for call in choice.delta.tool_calls or ():
                known = message["calls"].setdefault(call.index, {"id": call.id, "name": "", "arguments": ""})
                known["name"] += call.function.name or ""
                known["arguments"] += call.function.arguments or ""
            message["finish"] = choice.finish_reason
    return message
