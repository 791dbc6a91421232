"""OpenAI's SDK on `/v1/responses`: whole, streamed and asynchronous."""

import asyncio
import json
from typing import Any

import openai
import playing
import pytest
from playing import QUESTION, RESULT, also_learned

TOOL: Any = {"type": "function", "strict": False} | playing.TOOL["function"]


def second(called: Any) -> list[Any]:
    """The second turn: what was said, and the result."""
    (call,) = [item for item in called.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("get_current_weather", {"location": "Boston"})
    said = [{"role": "user", "content": QUESTION}, *called.output]
    return [*said, {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]


@also_learned
def test_sync(base_url: str, model: str) -> None:
    with openai.OpenAI(base_url=base_url) as client:
        called = client.responses.create(model=model, input=QUESTION, tools=[TOOL])
        answer = client.responses.create(model=model, input=second(called), tools=[TOOL])
    assert answer.status == "completed"
    assert "32F" in answer.output_text


@also_learned
@pytest.mark.parametrize("eager", [False, True])
def test_async_and_streamed(base_url: str, model: str, eager: bool) -> None:
    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=base_url) as client:
            extra = {"eager_tool_calls": eager}
            async with client.responses.stream(model=model, input=QUESTION, tools=[TOOL], extra_body=extra) as stream:
                called = await stream.get_final_response()
            stream = await client.responses.create(model=model, input=second(called), tools=[TOOL], stream=True)
            return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

    assert "32F" in asyncio.run(run())
