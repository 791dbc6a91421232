"""AutoGen's AssistantAgent, which answers from a tool's result in a second request."""

import asyncio

import pytest
from playing import QUESTION, WeatherTool, needs

needs("autogen_agentchat")
from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_calls_its_tool_and_answers(
    base_url: str, model: str, streamed: bool, weather: WeatherTool, places: list[str]
) -> None:
    async def run() -> str:
        can = {"vision": False, "function_calling": True, "json_output": True, "structured_output": True}
        client = OpenAIChatCompletionClient(
            model=model, base_url=base_url, model_info={"family": "unknown", **can}, include_name_in_message=False
        )
        agent = AssistantAgent("a", client, tools=[weather], reflect_on_tool_use=True, model_client_stream=streamed)
        result = await agent.run(task=QUESTION)
        await client.close()
        return str(result.messages[-1].to_text())

    assert "32F" in asyncio.run(run())
    assert places == ["Boston"]
