"""Rows and tools that the evaluator's tests share."""

from typing import Any

from callwright.evaluator.row import Call, Row

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}},
)


def row(id: str, city: str, *, set: str = "seen", **more: Any) -> Row:
    """A request for the weather of `city`."""
    messages = ({"role": "user", "content": f"weather in {city}"},)
    return Row(set, id, messages, TOOLS, (Call("weather", {"city": city, **more}),))


def small_talk(id: str = "0", *, set: str = "small-talk") -> Row:
    """A request that no tool fits."""
    return Row(set, id, ({"role": "user", "content": "how are you"},), TOOLS)


def general(id: str = "0", reference: str = "fine") -> Row:
    """A conversation without tools."""
    return Row("general", id, ({"role": "user", "content": "how are you"},), (), (), reference)


def follow_up(id: str = "0", reference: str = "It is 9 degrees in Oslo.") -> Row:
    """A request to put a result into words."""
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    messages = (
        {"role": "user", "content": "weather in Oslo"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "9 degrees"},
    )
    return Row("answers", id, messages, TOOLS, (), reference)


def city_of(body: dict[str, Any]) -> str:
    """The city that a request is about."""
    return str(body["messages"][-1]["content"]).rpartition(" ")[2]
