"""Clients that hold OpenAI's SDK below 3, each in a process of their own environment, whole and streamed."""

import pytest
from playing import QUESTION, RESULT, script


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("client", ["llama_index", "strands", "crewai"])
def test_an_agent_calls_its_tool_and_answers(base_url: str, model: str, how: str, client: str) -> None:
    told = script("openai2", f"{client}_agent", base_url, model, how, QUESTION, RESULT)
    assert told["places"] == ["Boston"]
    assert "32F" in told["text"]
