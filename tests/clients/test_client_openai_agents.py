"""The OpenAI Agents SDK on both of OpenAI's APIs, whole and streamed."""

import asyncio
from typing import Any

import pytest
from playing import QUESTION, WeatherTool, needs, play_typed
from pydantic import BaseModel

from fakes import Engine

needs("agents")
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI


class Weather(BaseModel):
    """A typed answer."""

    fahrenheit: int


def run(base_url: str, model: str, api: type, streamed: bool, output_type: type, weather: WeatherTool) -> Any:
    """What the agent answers, once it has called its tool."""
    set_tracing_disabled(True)
    tools = [function_tool(weather)]

    async def answer() -> Any:
        async with AsyncOpenAI(base_url=base_url) as client:
            agent = Agent(name="a", model=api(model, client), tools=tools, output_type=output_type)
            if not streamed:
                return (await Runner.run(agent, QUESTION)).final_output
            result = Runner.run_streamed(agent, QUESTION)
            assert [event async for event in result.stream_events()]
            return result.final_output

    return asyncio.run(answer())


@pytest.mark.parametrize("api", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_calls_its_tool_and_answers(
    base_url: str, model: str, api: type, streamed: bool, weather: WeatherTool, places: list[str]
) -> None:
    assert "32F" in run(base_url, model, api, streamed, str, weather)
    assert places == ["Boston"]


@pytest.mark.parametrize("api", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_has_its_type_and_the_tool_is_called_before(
    base_url: str,
    model: str,
    api: type,
    streamed: bool,
    weather: WeatherTool,
    places: list[str],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "answer", play_typed)
    assert run(base_url, model, api, streamed, Weather, weather) == Weather(fahrenheit=32)
    assert places == ["Boston"]
