"""Anthropic's SDK on `/v1/messages`: whole, streamed, asynchronous, and its loop that runs tools."""

import asyncio
from typing import Any

import pytest
from playing import QUESTION, RESULT, TOOL, also_learned, needs

needs("anthropic")

import anthropic
from anthropic import beta_tool

FUNCTION = TOOL["function"]
OWN: Any = {key: FUNCTION[key] for key in ("name", "description")} | {"input_schema": FUNCTION["parameters"]}


def second(called: Any) -> list[Any]:
    """The second turn."""
    (use,) = [block for block in called.content if block.type == "tool_use"]
    assert (use.name, use.input) == ("get_current_weather", {"location": "Boston"})
    assert called.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": use.id, "content": RESULT}
    return [*first(), {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]


def first() -> list[Any]:
    """The first turn."""
    return [{"role": "user", "content": QUESTION}]


@also_learned
def test_sync(origin: str, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "max_tokens": 200, "tools": [OWN]}
    with anthropic.Anthropic(base_url=origin, api_key="none") as client:
        answer = client.messages.create(messages=second(client.messages.create(messages=first(), **asked)), **asked)
    assert answer.stop_reason == "end_turn"
    assert "32F" in answer.content[0].text


@also_learned
@pytest.mark.parametrize("eager", [False, True])
def test_async_and_streamed(origin: str, model: str, eager: bool) -> None:
    asked: dict[str, Any] = {"model": model, "max_tokens": 200, "tools": [OWN]}

    async def run() -> str:
        async with anthropic.AsyncAnthropic(base_url=origin, api_key="none") as client:
            extra = {"eager_tool_calls": eager}
            async with client.messages.stream(messages=first(), extra_body=extra, **asked) as stream:
                called = await stream.get_final_message()
            async with client.messages.stream(messages=second(called), **asked) as stream:
                return "".join([text async for text in stream.text_stream])

    assert "32F" in asyncio.run(run())


@also_learned
def test_the_tool_runner(origin: str, model: str) -> None:
    places = []

    @beta_tool
    def get_current_weather(location: str) -> str:
        """Tells the weather.

        Args:
            location: Where.
        """
        places.append(location)
        return RESULT

    with anthropic.Anthropic(base_url=origin, api_key="none") as client:
        runner = client.beta.messages.tool_runner(
            model=model, max_tokens=200, messages=first(), tools=[get_current_weather]
        )
        *_, last = runner
    assert places == ["Boston"]
    assert "32F" in last.content[0].text
