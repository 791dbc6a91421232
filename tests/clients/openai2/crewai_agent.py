"""A CrewAI agent against argv's base URL, model and way; prints a line of JSON."""

import json
import os
import sys

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "OTEL_SDK_DISABLED": "true"}

from crewai import LLM, Agent
from crewai.tools import tool

told, sys.stdout = sys.stdout, sys.stderr  # CrewAI prints as it goes
base_url, model, how, question, result = sys.argv[1:]
places = []


@tool("get_current_weather")
def get_current_weather(location: str) -> str:
    """Tells the weather."""
    places.append(location)
    return result


llm = LLM(model=f"openai/{model}", base_url=base_url, api_key="none", stream=how == "stream")
agent = Agent(role="a", goal="tell", backstory="none", llm=llm, tools=[get_current_weather])
print(json.dumps({"text": agent.kickoff(question).raw, "places": places}), file=told)
