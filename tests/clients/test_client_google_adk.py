"""Google's ADK through LiteLLM, whole and streamed."""

import asyncio

import pytest
from playing import QUESTION, WeatherTool, needs

needs("google.adk")
from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types


@pytest.mark.parametrize("mode", [StreamingMode.NONE, StreamingMode.SSE])
def test_an_agent_calls_its_tool_and_answers(
    base_url: str, model: str, mode: StreamingMode, weather: WeatherTool, places: list[str]
) -> None:
    async def run() -> str:
        llm = LiteLlm(f"openai/{model}", api_base=base_url, api_key="none")
        runner = InMemoryRunner(LlmAgent(name="a", model=llm, tools=[weather]), app_name="a")
        session = await runner.session_service.create_session(app_name="a", user_id="u")
        asked = types.Content(role="user", parts=[types.Part(text=QUESTION)])
        how = RunConfig(streaming_mode=mode)
        told = runner.run_async(user_id="u", session_id=session.id, new_message=asked, run_config=how)
        return "".join([part.text or "" async for event in told for part in event.content.parts])

    assert "32F" in asyncio.run(run())
    assert places == ["Boston"]
