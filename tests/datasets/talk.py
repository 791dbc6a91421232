"""Conversations for the tests: one written by hand, and a strategy for any."""

import json
from typing import Any

from hypothesis import strategies as st

from callwright.datasets import Conversation

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template."""
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City, such as Paris"},
                "days": {"type": "integer", "description": "Days ahead"},
            },
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "now",
        "description": "The time",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}


def call(number: int, name: str = "get_weather", **arguments: object) -> dict[str, Any]:
    """An OpenAI tool call."""
    written = json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": written}}


def asked(*calls: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    """An assistant turn with calls."""
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(number: int, content: str) -> dict[str, Any]:
    """A tool's result."""
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


def user(content: str) -> dict[str, Any]:
    """A user's turn."""
    return {"role": "user", "content": content}


def said(content: str) -> dict[str, Any]:
    """An assistant's answer."""
    return {"role": "assistant", "content": content}


def conversation(*messages: dict[str, Any], tools: tuple[dict[str, Any], ...] = (WEATHER, CLOCK)) -> Conversation:
    """A conversation with two tools."""
    return Conversation("c", messages, tools, "talk.jsonl", 1)


TRIP = conversation(
    user("Weather in Paris, then in 北京?"),
    asked(call(0, city="Paris"), content="First Paris."),
    result(0, '{"sky": "clear"}'),
    asked(call(1, city="北京", days=2)),
    result(1, "[{'sky': '雨'}]"),
    said("Paris is clear, 北京 has 雨."),
    user("Thanks"),
    said("You are welcome."),
)
WAITING = conversation(user("Weather in Rome?"), asked(call(0, city="Rome")))

_words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="<"), min_size=1, max_size=24
).filter(lambda text: bool(text.strip()) and text == text.strip())
_prose = st.one_of(
    _words, st.sampled_from(["Hello there.", "你好", "It is 5 o'clock", "naïve 🙂 café", "a\n\nb", "1: 2"])
)
_arguments = st.dictionaries(st.sampled_from(["city", "q"]), _prose, max_size=2)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Turns of a user and an assistant, with up to two rounds of calls before an answer."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(_prose)})
    number = 0
    for _ in range(draw(st.integers(1, 2))):
        messages.append(user(draw(_prose)))
        for _ in range(draw(st.integers(0, 2))):
            calls = []
            for _ in range(draw(st.integers(1, 2))):
                calls.append(call(number, draw(st.sampled_from(["get_weather", "now"])), **draw(_arguments)))
                number += 1
            messages.append(asked(*calls, content=draw(st.one_of(st.none(), _prose))))
            messages += [result(number - len(calls) + i, draw(_prose)) for i in range(len(calls))]
        messages.append(said(draw(_prose)))
    return conversation(*messages)
