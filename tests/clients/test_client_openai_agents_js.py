"""OpenAI's Agents SDK on Node, on both of OpenAI's APIs, whole and streamed."""

import pytest
from playing import also_learned, node


@also_learned
@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_agent_calls_its_tool_and_answers(base_url: str, model: str, how: str, api: str) -> None:
    told = node("openai_agents.mjs", base_url, model, how, api)
    assert told["places"] == ["Boston"]
    assert "32F" in told["text"]
