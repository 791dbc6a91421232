"""The Vercel AI SDK, which is strict about chunks, on Node."""

import pytest
from playing import node


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
def test_an_agent_calls_its_tool_and_answers(base_url: str, model: str, how: str, api: str) -> None:
    told = node("agent.mjs", base_url, model, how, api)
    assert told["places"] == ["Boston"]
    assert "32F" in told["text"]
    assert told["reasons"] == ["tool-calls", "stop"]
    assert told["tokens"] == [5, 5]
