"""The OpenAI Agents SDK on both of OpenAI's APIs, whole and streamed."""

import asyncio
from typing import Any

import pytest
from playing import QUESTION, RESULT, needs, play_typed
from pydantic import BaseModel

from fakes import Engine

needs("agents")
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI


class Weather(BaseModel):
    """A typed answer."""

    fahrenheit: int


def run(base_url: str, model: str, api: type, streamed: bool, output_type: type) -> Any:
    """What the agent answers, once it has called its tool."""
    set_tracing_disabled(True)
    places = []

    @function_tool
    def get_current_weather(location: str) -> str:
        """Tells the weather."""
        places.append(location)
        return RESULT

    async def answer() -> Any:
        async with AsyncOpenAI(base_url=base_url) as client:
            agent = Agent(name="a", model=api(model, client), tools=[get_current_weather], output_type=output_type)
            if not streamed:
                return (await Runner.run(agent, QUESTION)).final_output
            result = Runner.run_streamed(agent, QUESTION)
            assert [event async for event in result.stream_events()]
            return result.final_output

    answered = asyncio.run(answer())
    assert places == ["Boston"]
    return answered


@pytest.mark.parametrize("api", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_calls_its_tool_and_answers(base_url: str, model: str, api: type, streamed: bool) -> None:
    assert "32F" in run(base_url, model, api, streamed, str)


@pytest.mark.parametrize("api", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_has_its_type_and_the_tool_is_called_before(
    base_url: str, model: str, api: type, streamed: bool, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "answer", play_typed)
    assert run(base_url, model, api, streamed, Weather) == Weather(fahrenheit=32)
