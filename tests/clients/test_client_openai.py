"""OpenAI's SDK: sync, async, the stream helper and the tool loop that parses arguments."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai.lib.streaming.chat import FunctionToolCallArgumentsDoneEvent
from playing import QUESTION, RESULT, also_learned
from pydantic import BaseModel


class GetCurrentWeather(BaseModel):
    """Tells the weather."""

    location: str


TOOL = openai.pydantic_function_tool(GetCurrentWeather, name="get_current_weather")


def result(message: Any) -> list[Any]:
    """The second turn."""
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments) == {"location": "Boston"}
    said = message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True)
    return [*first(), said, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]


def first() -> list[Any]:
    """The first turn."""
    return [{"role": "user", "content": QUESTION}]


@also_learned
def test_sync(base_url: str, model: str) -> None:
    with openai.OpenAI(base_url=base_url) as client:
        called = client.chat.completions.create(model=model, messages=first(), tools=[TOOL]).choices[0]
        assert called.finish_reason == "tool_calls"
        answer = client.chat.completions.create(model=model, messages=result(called.message), tools=[TOOL])
    assert "32F" in (answer.choices[0].message.content or "")


@also_learned
def test_async_and_streamed(base_url: str, model: str) -> None:
    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=base_url) as client:
            called = (await client.chat.completions.create(model=model, messages=first(), tools=[TOOL])).choices[0]
            stream = await client.chat.completions.create(
                model=model, messages=result(called.message), tools=[TOOL], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert "32F" in asyncio.run(run())


@also_learned
@pytest.mark.parametrize("eager", [False, True])
def test_the_stream_helper(base_url: str, model: str, eager: bool) -> None:
    asked: dict[str, Any] = {"model": model, "tools": [TOOL], "extra_body": {"eager_tool_calls": eager}}
    with openai.OpenAI(base_url=base_url) as client:
        with client.chat.completions.stream(messages=first(), **asked) as stream:
            events = list(stream)
            called = stream.get_final_completion().choices[0]
        (done,) = [event for event in events if isinstance(event, FunctionToolCallArgumentsDoneEvent)]
        assert done.parsed_arguments == GetCurrentWeather(location="Boston")
        assert called.finish_reason == "tool_calls"
        with client.chat.completions.stream(messages=result(called.message), **asked) as stream:
            answer = stream.get_final_completion().choices[0]
    assert "32F" in (answer.message.content or "")


@also_learned
def test_parsed_arguments(base_url: str, model: str) -> None:
    with openai.OpenAI(base_url=base_url) as client:
        called = client.chat.completions.parse(model=model, messages=first(), tools=[TOOL]).choices[0].message
    (call,) = called.tool_calls or ()
    assert call.function.parsed_arguments == GetCurrentWeather(location="Boston")
