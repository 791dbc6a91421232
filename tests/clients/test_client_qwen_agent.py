"""Qwen-Agent's Assistant, with calls through the API and with its own prompt."""

import json
from typing import ClassVar

from playing import QUESTION, RESULT, needs

needs("qwen_agent")

from qwen_agent.agents import Assistant
from qwen_agent.tools.base import BaseTool


class Weather(BaseTool):
    """A tool as Qwen-Agent has them."""

    name = "get_current_weather"
    description = "Tells the weather."
    parameters: ClassVar = {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "Where"}},
        "required": ["location"],
    }

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def call(self, params: str | dict, **rest: object) -> str:
        """The weather."""
        self.places.append((json.loads(params) if isinstance(params, str) else params)["location"])
        return RESULT


def test_an_assistant_calls_its_tool_and_answers(base_url: str, model: str) -> None:
    weather = Weather()
    llm = {"model": model, "model_server": base_url, "api_key": "none", "generate_cfg": {"use_raw_api": True}}
    *_, messages = Assistant(llm=llm, function_list=[weather]).run([{"role": "user", "content": QUESTION}])
    assert weather.places == ["Boston"]
    assert "32F" in messages[-1]["content"]
