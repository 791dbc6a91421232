"""pydantic-ai's agent."""

import asyncio
from collections.abc import Callable
from typing import Any

from playing import LEARNED, QUESTION, THOUGHT, WeatherTool, also_learned, needs

needs("pydantic_ai")

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def made(base_url: str, model: str, weather: WeatherTool) -> Agent:
    chat = OpenAIChatModel(model, provider=OpenAIProvider(base_url=base_url, api_key="none"))
    return Agent(chat, tools=[weather])


@also_learned
def test_a_run(base_url: str, model: str, weather: WeatherTool, places: list[str]) -> None:
    result = asyncio.run(made(base_url, model, weather).run(QUESTION))
    assert places == ["Boston"]
    assert "32F" in result.output
    assert model == LEARNED or result.usage.output_tokens == 10


@also_learned
def test_a_streamed_run(
    base_url: str, model: str, weather: WeatherTool, places: list[str], asked: Callable[[], list[dict[str, Any]]]
) -> None:
    """It takes the first text that it gets for the answer: a thought before a call must be none, and goes back."""

    async def run() -> str:
        async with made(base_url, model, weather).run_stream(QUESTION) as result:
            return "".join([text async for text in result.stream_text(delta=True)])

    text = asyncio.run(run())
    assert places == ["Boston"]
    assert text == "It is cold in Boston: 32F."
    for request in asked()[-1:]:  # of the scripted engine
        turn = next(message for message in request["messages"] if message["role"] == "assistant")
        assert THOUGHT in turn["content"] + turn.get("reasoning_content", "")
