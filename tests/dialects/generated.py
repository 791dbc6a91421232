"""Text as a confused model might write it, and ways to cut it into pieces, from a seeded random source.

Shared by the fuzz target and the benchmark; the contract suite has hypothesis for the same.
"""

import random
from typing import Any


def _tool(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    _tool(
        "fire_recognition",
        "Recognizes fire in an image",
        {"image": {"type": "string", "description": "Path of the image"}},
        ["image"],
    ),
    _tool(
        "get_weather",
        "获取天气",
        {"city": {"type": "string"}, "days": {"type": "integer"}, "metric": {"type": "boolean"}},
        ["city"],
    ),
    {"type": "function", "function": {"name": "fire_alert", "description": "", "parameters": {"type": "object"}}},
]

_FRAGMENTS = [
    *("Action", "Action:", "Action Input:", "Action Input", "Observation:", "Observ", "Thought:", "Final Answer:"),
    *("Answer:", "Question:", "action:", "ACTION INPUT：", "**Action:**", "### Thought:", "Action 1:", "Thought"),
    *("I now know the final answer", "I now know", "<think>", "</think>", "<thi", "<tool_call>", "</tool_call>"),
    *("<tool_", "</tool", "fire_recognition", "fire\\_recognition", "get_weather", "fire_alert", "no_such_tool"),
    *("the fire_recognition API", "Finish", '{"image": "/tmp/1.jpg"}', "{'city': 'it's fine'}", '{"city": "a\\"b"}'),
    *('{"name": "fire_alert", "arguments": {}}', '{"name": "get_weather", "arguments": {"city": "北京"}}', "{}", "[]"),
    *('{"return_type": "give_answer", "final_answer": "42"}', '{"return_type": "give_up_and_restart"}', "None", "无"),
    *('{"city": "\\ud83d\\ude00", "days": "5", "metric": True,}', '{"city": "x\nObservation: y"}', '{"a": [1, {"b": 2'),
    *("```json\n", "```", "`", '"', "'", "{", "}", "[", "]", ":", "：", ",", "\\", "\\n", "/tmp/1.jpg", "5", "1e999"),
    *('"""', "'''", "~~~", "Observ ", "get_weather(", ")", "<tool_response>", "Action: None", "[{"),
    *('{"name": "fire_alert", "arguments": {"a"}<', '{"city": "a"}', ",", ";"),
    *(
        "<|python_tag|>",
        "<|eot_id|>",
        "</s>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "[THINK]",
        "[/THINK]",
        "[fire_alert(",
    ),
    *(
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        "<function_calls>",
        "</function_calls>",
        "[fire_alert()]",
        "city='it's'",
    ),
    *(
        '{"name": "get_weather", "parameters": {',
        '[{"name": "fire_alert", "arguments": {}}]',
        "fire_alert{}",
        "; ",
        "**{",
    ),
    *("<tool_call>\n<function=get_weather>\n", "<function=fire_alert>", "</function>", "\n</function>\n</tool_call>"),
    *("<parameter=city>\n", "\n<parameter=days>\n", "\n</parameter>\n", "</parameter>", "<param", "True"),
    *("<|tool_call>call:get_weather{", "<|tool_call>", "<tool_call|>", "call:fire_alert{}", '<|"|>', "city:", "days:3"),
    *("<|channel>thought\n", "<channel|>", "<|tool_response>", "<start_function_call>call:get_weather{", "<escape>"),
    *("<end_function_call>", "<start_function_response>", "}<tool_call|>", ",city:"),
    *("\n", "\n", "\n", "\n\n", " ", " ", "  ", "\t", "\r\n", " " * 8, " " * 10, "*", "#", "_", "A", "O", "T", "F"),
    *("Paris", "你好", "é", "😀", "\ud800", "\x00", "prose about an Action: here", "x" * 300, " " * 300, "\n" * 300),
]


def make_text(source: random.Random) -> str:
    """A text of markers, names, arguments and prose in any order."""
    return "".join(source.choice(_FRAGMENTS) for _ in range(source.randint(1, 24)))


def mutate(source: random.Random, text: str) -> str:
    """The text with a few places doubled, dropped, moved or replaced."""
    for _ in range(source.randint(1, 4)):
        start = source.randint(0, len(text))
        end = min(len(text), start + source.randint(0, 12))
        piece = source.choice(("", source.choice(_FRAGMENTS), text[start:end] * 2))
        text = text[:start] + piece + text[end:]
    return text


def cut(source: random.Random, text: str) -> list[str]:
    """The text in pieces: single characters, a fixed length, or lengths at random."""
    match source.randint(0, 3):
        case 0:
            return list(text)
        case 1:
            step = source.randint(2, 9)
            return [text[i : i + step] for i in range(0, len(text), step)]
        case _:
            most = source.choice((3, 8, 40, 200))
            pieces, position = [], 0
            while position < len(text):
                length = source.randint(1, most)
                pieces.append(text[position : position + length])
                position += length
            return pieces
