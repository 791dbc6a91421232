"""Requests in ms-swift's ways, as its documentation prints them: bare ToolBench tools, results without ids, calls
looked for in a stream's last chunk.
"""

import json
from typing import Any

import httpx
from asking import bench

QUERY = "What's the weather like in Boston today?"
OPENAI_TOOL = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}
TOOLBENCH_TOOL = {
    "name": "url_for_newapi",
    "description": 'This is the subfunction for tool "newapi", you can use this tool.',
    "parameters": {
        "type": "object",
        "properties": {"url": {"type": "string", "description": "", "example_value": "https://www.example.org/"}},
        "required": ["url"],
        "optional": ["url"],
    },
}
STOP = ["Observation:", "Observation:\n"]
FIRST = (
    f"Question: {QUERY}\n\nThought: I need to get the current weather in Boston.\n\nAction: get_current_weather\n\n"
    "Action Input: {'location': 'Boston, MA', 'unit': 'fahrenheit'}\n\n"
)
ANSWER = "\n\nFinal Answer: The weather in Boston today is 32°F (0°C), with clear skies."
NEWAPI = 'Thought: I can use it.\nAction: url_for_newapi\nAction Input: {"url": "https://api.example.org/?q=Boston"}\n'


def posted(text: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer, and what the engine was asked."""
    with bench(text, dialects={"*": "react_en"}) as b:
        answer = httpx.post(f"{b.url}/v1/chat/completions", json={"model": "llama3-8b-instruct"} | body)
    assert answer.status_code == 200, answer.text
    return answer.json(), b.engine.requests[0]


def test_first_turn() -> None:
    messages = [{"role": "user", "content": QUERY}]
    answer, asked = posted(FIRST, {"messages": messages, "tools": [OPENAI_TOOL], "stream": False, "stop": STOP})
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"location": "Boston, MA", "unit": "fahrenheit"}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert asked["stop"] == ["\nObservation:"]


def test_second_turn_without_tools_and_ids() -> None:
    result = '{"result": "The weather in Boston today is 32°F (0°C), with clear skies"}\\n\\n'
    messages = [
        {"role": "user", "content": QUERY},
        {"role": "assistant", "content": FIRST + "Observation:"},
        {"role": "tool", "content": result},
    ]
    answer, asked = posted(ANSWER, {"messages": messages, "stream": False, "stop": STOP})
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert "clear skies" in answer["choices"][0]["message"]["content"]
    assert asked["continue_final_message"] is True
    assert asked["messages"][-1]["content"].startswith(FIRST + "Observation: ")
    assert asked["messages"][-1]["content"].count("Observation:") == 1


def test_the_sdk_with_a_toolbench_tool_whole_and_streamed() -> None:
    request: dict[str, Any] = {"model": "llama3-8b-instruct", "tools": [TOOLBENCH_TOOL], "seed": 42}
    request["messages"] = [{"role": "user", "content": QUERY}]
    with bench(NEWAPI, dialects={"*": "react_en"}) as b:
        call = b.ask(**request).choices[0].message.tool_calls[0]
        chunks = b.stream(**request)
    names = [made.function.name for chunk in chunks for made in chunk.choices[0].delta.tool_calls or ()]
    last = chunks[-1].choices[0].delta.tool_calls[0]
    assert call.function.name == names[0] == "url_for_newapi"
    assert call.function.arguments == last.function.arguments == '{"url": "https://api.example.org/?q=Boston"}'
