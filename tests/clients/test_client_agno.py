"""Agno's agent, whole and streamed."""

import pytest
from playing import QUESTION, WeatherTool, needs, play_typed
from pydantic import BaseModel

from fakes import Engine

needs("agno")
from agno.agent import Agent
from agno.models.openai.like import OpenAILike


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_calls_its_tool_and_answers(
    base_url: str, model: str, streamed: bool, weather: WeatherTool, places: list[str]
) -> None:
    llm = OpenAILike(id=model, base_url=base_url, api_key="none")
    agent = Agent(model=llm, tools=[weather], telemetry=False)
    if streamed:
        text = "".join(str(event.content) for event in agent.run(QUESTION, stream=True) if event.content)
    else:
        text = str(agent.run(QUESTION).content)
    assert "32F" in text
    assert places == ["Boston"]


class Weather(BaseModel):
    """A typed answer."""

    fahrenheit: int


def test_an_answer_has_its_type_and_the_tool_is_called_before(
    base_url: str, model: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, weather: WeatherTool, places: list[str]
) -> None:
    monkeypatch.setattr(engine, "answer", play_typed)
    llm = OpenAILike(id=model, base_url=base_url, api_key="none")
    agent = Agent(model=llm, tools=[weather], output_schema=Weather, telemetry=False)
    assert agent.run(QUESTION).content == Weather(fahrenheit=32)
    assert places == ["Boston"]
