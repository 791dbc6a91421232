"""Strands' agent against argv's base URL, model and way; prints a line of JSON."""

import asyncio
import json
import sys

from strands import Agent, tool
from strands.models.openai import OpenAIModel

base_url, model, how, question, result = sys.argv[1:]
places = []


@tool
def get_current_weather(location: str) -> str:
    """Tells the weather."""
    places.append(location)
    return result


llm = OpenAIModel(client_args={"base_url": base_url, "api_key": "none"}, model_id=model, stream=how == "stream")
agent = Agent(model=llm, tools=[get_current_weather], callback_handler=None)


async def streamed() -> str:
    """The answer's pieces."""
    return "".join([str(event.get("data", "")) async for event in agent.stream_async(question)])


text = asyncio.run(streamed()) if how == "stream" else str(agent(question))
print(json.dumps({"text": text, "places": places}))
