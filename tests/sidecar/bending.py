"""A good request with tools, and ways to bend it."""

import json
import random
from typing import Any

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
GOOD: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "stream": False,
    "stop": ["END"],
    "n": 1,
}  # fmt: skip
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 20,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "So."}, {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "done"}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": False},
    "stop_sequences": ["END"],
    "stream": False,
}  # fmt: skip
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "So."}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "done"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "text"}},
    "max_output_tokens": 20,
    "stream": False,
}  # fmt: skip
_ODD: list[Any] = [
    None, True, 0, -1, 1e308, "", "x", "none", "\x00", "\ud800", "Observation:", "Action: f\nAction Input: {", [], {},
    [None], [[]], {"a": {"b": [1]}}, {"role": "tool"}, {"role": "assistant", "tool_calls": [{}]}, "é" * 300,
    {"role": "function", "name": "f", "content": "r"}, [{"type": "text", "text": "t"}], {"name": "f"},
]  # fmt: skip


def bend(value: Any, chance: random.Random) -> None:
    """Change something somewhere in a JSON value."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            break
        key = chance.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.7:
            value = value[key]
            continue
        match chance.randrange(4):
            case 0:
                value[key] = json.loads(json.dumps(chance.choice(_ODD)))
            case 1 if isinstance(value, dict):
                del value[key]
            case 2 if isinstance(value, list):
                value.append(json.loads(json.dumps(chance.choice(_ODD))))
            case _ if isinstance(value, dict):
                value[chance.choice(["tool_calls", "function_call", "functions", "content", "role", "name"])] = (
                    json.loads(json.dumps(chance.choice(_ODD)))
                )
            case _:
                value[key] = json.loads(json.dumps(chance.choice(_ODD)))
        break
