"""pydantic-ai's agent."""

import asyncio

from playing import QUESTION, RESULT, needs

needs("pydantic_ai")

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def made(base_url: str, model: str, places: list[str]) -> Agent:
    agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=base_url, api_key="none")))

    @agent.tool_plain
    def get_current_weather(location: str) -> str:
        """Tells the weather."""
        places.append(location)
        return RESULT

    return agent


def test_a_run(base_url: str, model: str) -> None:
    places: list[str] = []
    result = asyncio.run(made(base_url, model, places).run(QUESTION))
    assert places == ["Boston"]
    assert "32F" in result.output
    assert result.usage.output_tokens == 10


def test_a_streamed_run(base_url: str, model: str) -> None:
    places: list[str] = []

    async def run() -> str:
        async with made(base_url, model, places).run_stream(QUESTION) as result:
            return "".join([text async for text in result.stream_text(delta=True)])

    text = asyncio.run(run())
    # A model that says something before it calls has, to pydantic-ai, given its answer: the stream may end there.
    assert "32F" in text or "look" in text
