"""smolagents' agent of tools, which demands a call in every step and ends with a call of its own `final_answer`."""

from typing import Any, ClassVar

import pytest
from playing import ARGUMENTS, QUESTION, RESULT, calling, needs

from fakes import Engine

needs("smolagents")
from smolagents import OpenAIModel, Tool, ToolCallingAgent


class Weather(Tool):
    """A tool as smolagents has them."""

    name = "get_current_weather"
    description = "Tells the weather."
    inputs: ClassVar = {"location": {"type": "string", "description": "Where"}}
    output_type = "string"

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def forward(self, location: str) -> str:
        """The weather."""
        self.places.append(location)
        return RESULT


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_calls_its_tool_and_answers(
    base_url: str, model: str, streamed: bool, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(request: dict[str, Any]) -> Any:
        seen = any("clear skies" in (message["content"] or "") for message in request["messages"])
        made = ("final_answer", '{"answer": "32F"}') if seen else ("get_current_weather", ARGUMENTS)
        return calling(request, *made)

    monkeypatch.setattr(engine, "answer", play)
    weather = Weather()
    llm = OpenAIModel(model, api_base=base_url, api_key="none")
    agent = ToolCallingAgent([weather], llm, stream_outputs=streamed, verbosity_level=0)
    assert agent.run(QUESTION) == "32F"
    assert weather.places == ["Boston"]
