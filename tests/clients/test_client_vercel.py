"""The Vercel AI SDK, which is strict about chunks, on Node."""

import pytest
from playing import THOUGHT, node

from fakes import Engine
from sidecar_process import started


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
def test_an_agent_calls_its_tool_and_answers(base_url: str, model: str, how: str, api: str) -> None:
    told = node("agent.mjs", base_url, model, how, api)
    assert told["places"] == ["Boston"]
    assert "32F" in told["text"]
    assert told["reasons"] == ["tool-calls", "stop"]
    assert told["tokens"] == [5, 5]


@pytest.mark.parametrize("how", ["whole", "stream"])
def test_it_refers_to_what_a_server_keeps(engine: Engine, model: str, how: str) -> None:
    """As it comes it takes for granted that responses are stored, and sends references to their items."""
    with started(engine.url, "--dialect", f"*={model}", "--stored-responses", "9", "--until-stdin-closes") as (_, url):
        told = node("agent.mjs", f"{url}/v1", model, how, "responses", "kept")
    assert "32F" in told["text"]
    turn = next(message for message in engine.requests[-1]["messages"] if message["role"] == "assistant")
    assert THOUGHT in turn["content"] + turn.get("reasoning_content", "")
