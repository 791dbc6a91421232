"""Microsoft's Agent Framework on both of OpenAI's APIs, whole and streamed."""

import asyncio

import pytest
from playing import QUESTION, WeatherTool, needs, play_typed
from pydantic import BaseModel

from fakes import Engine

needs("agent_framework")
from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient


@pytest.mark.parametrize("api", [OpenAIChatCompletionClient, OpenAIChatClient])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_calls_its_tool_and_answers(
    base_url: str, model: str, api: type, streamed: bool, weather: WeatherTool, places: list[str]
) -> None:
    async def run() -> str:
        agent = Agent(
            client=api(model=model, base_url=base_url, api_key="none"),
            tools=[weather],
            default_options={"store": False},  # the whole conversation in each request of the Responses API
        )
        if streamed:
            return "".join([update.text async for update in agent.run(QUESTION, stream=True)])
        return str((await agent.run(QUESTION)).text)

    assert "32F" in asyncio.run(run())
    assert places == ["Boston"]


class Weather(BaseModel):
    """A typed answer."""

    fahrenheit: int


@pytest.mark.parametrize("api", [OpenAIChatCompletionClient, OpenAIChatClient])
def test_an_answer_has_its_type_and_the_tool_is_called_before(
    base_url: str,
    model: str,
    api: type,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    weather: WeatherTool,
    places: list[str],
) -> None:
    monkeypatch.setattr(engine, "answer", play_typed)
    client = api(model=model, base_url=base_url, api_key="none")
    options = {"store": False, "response_format": Weather}
    agent = Agent(client=client, tools=[weather], default_options=options)
    assert asyncio.run(agent.run(QUESTION)).value == Weather(fahrenheit=32)
    assert places == ["Boston"]
