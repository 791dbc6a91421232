"""LiteLLM as a library."""

import json

import pytest
from playing import QUESTION, RESULT, TOOL, needs

needs("litellm")

import litellm


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_its_result_and_the_answer(base_url: str, model: str, stream: bool) -> None:
    def ask(messages: list[object]) -> object:
        answer = litellm.completion(
            f"openai/{model}", messages, tools=[TOOL], base_url=base_url, api_key="none", stream=stream
        )
        answer = litellm.stream_chunk_builder(list(answer), messages=messages) if stream else answer
        return answer.choices[0]

    messages: list[object] = [{"role": "user", "content": QUESTION}]
    first = ask(messages)
    assert first.finish_reason == "tool_calls"
    (call,) = first.message.tool_calls
    assert json.loads(call.function.arguments) == {"location": "Boston"}
    messages += [first.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    second = ask(messages)
    assert second.finish_reason == "stop"
    assert "32F" in second.message.content
