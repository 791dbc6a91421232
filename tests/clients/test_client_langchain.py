"""LangChain's agent on ChatOpenAI."""

import pytest
from playing import QUESTION, WeatherTool, needs

needs("langchain_openai")

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@pytest.mark.parametrize("streaming", [False, True])
def test_an_agent_calls_its_tool_and_answers(
    base_url: str, model: str, streaming: bool, weather: WeatherTool, places: list[str]
) -> None:
    agent = create_agent(ChatOpenAI(model=model, base_url=base_url, streaming=streaming), [tool(weather)])
    messages = agent.invoke({"messages": [{"role": "user", "content": QUESTION}]})["messages"]
    assert places == ["Boston"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert "32F" in messages[-1].content
