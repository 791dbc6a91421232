"""LlamaIndex's FunctionAgent against argv's base URL, model and way; prints a line of JSON."""

import asyncio
import json
import sys

from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.llms.openai_like import OpenAILike

base_url, model, how, question, result = sys.argv[1:]
places = []


def get_current_weather(location: str) -> str:
    """Tells the weather."""
    places.append(location)
    return result


async def run() -> str:
    """The answer."""
    llm = OpenAILike(model=model, api_base=base_url, api_key="none", is_chat_model=True, is_function_calling_model=True)
    agent = FunctionAgent(tools=[get_current_weather], llm=llm, streaming=how == "stream")
    handler = agent.run(question)
    if how == "stream":
        return "".join([event.delta async for event in handler.stream_events() if isinstance(event, AgentStream)])
    return str(await handler)


print(json.dumps({"text": asyncio.run(run()), "places": places}))
