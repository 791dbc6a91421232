"""Declarations of tools in other words than OpenAI's: read in one place, for training, serving and evaluation."""

import json
import re
from typing import Any

import pytest

from callwright import dialects
from callwright.dialects.declarations import list_tools, openai_tool
from callwright.dialects.tools import read_tools

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "int"}},
    "required": ["city"],
}
NAMED = {"name": "get_weather", "description": "The weather"}
FUNCTION = {**NAMED, "parameters": SCHEMA}
LISTED = [{"name": "city", "type": "string", "required": True}, {"name": "days", "type": "int"}]
OBJECT = {"type": "object"}

SAME: dict[str, Any] = {
    "openai": [{"type": "function", "function": FUNCTION}],
    "bare": [FUNCTION],
    "responses": [{"type": "function", **FUNCTION}],
    "anthropic": [{**NAMED, "input_schema": SCHEMA}],
    "anthropic's own type": [{"type": "custom", **NAMED, "input_schema": SCHEMA}],
    "mcp": {"tools": [{**NAMED, "inputSchema": SCHEMA}]},
    "gemini": [{"functionDeclarations": [FUNCTION]}],
    "gemini's json schema": [{**NAMED, "parametersJsonSchema": SCHEMA}],
    "bedrock": [{"toolSpec": {**NAMED, "inputSchema": {"json": SCHEMA}}}],
    "an empty one beside it": [{**NAMED, "parameters": {}, "input_schema": SCHEMA}],
    "list of parameters": [{**NAMED, "parameters": LISTED}],
    "list of properties": [{**NAMED, "parameters": OBJECT | {"properties": LISTED}}],
    "required within": [
        {
            **NAMED,
            "parameters": OBJECT
            | {
                "properties": {"city": {"type": "string", "required": True}, "days": {"type": "int", "required": False}}
            },
        }
    ],
    "toolbench's api": [
        {**NAMED, "required_parameters": [LISTED[0]], "optional_parameters": [LISTED[1]]},
    ],
    "text of parameters": [{"type": "function", "function": {**NAMED, "parameters": json.dumps(SCHEMA)}}],
    "text of text": [{**NAMED, "parameters": json.dumps(json.dumps(SCHEMA))}],
    "text of properties": [
        {**NAMED, "parameters": {**SCHEMA, "properties": json.dumps(SCHEMA["properties"]), "required": '["city"]'}}
    ],
    "text of a function": [{"type": "function", "function": json.dumps(FUNCTION)}],
    "text of a tool": [json.dumps(FUNCTION)],
    "text of a list": json.dumps([FUNCTION]),
    "text of a list, twice": json.dumps(json.dumps([FUNCTION])),
    "text of one": json.dumps(FUNCTION),
    "by name": {"get_weather": {"description": "The weather", "parameters": SCHEMA}},
    "by name, as text": json.dumps({"get_weather": json.dumps({"description": "The weather", "parameters": SCHEMA})}),
    "nulls between": [None, FUNCTION],
}


@pytest.mark.parametrize("written", SAME.values(), ids=SAME)
def test_the_same_tool_in_every_api_s_words(written: Any) -> None:
    tools = [openai_tool(tool) for tool in list_tools(written)]
    assert tools == [{"type": "function", "function": FUNCTION}]
    assert list(tools[0]["function"]) == ["name", "description", "parameters"]
    assert [openai_tool(tool) for tool in tools] == tools


@pytest.mark.parametrize(
    ("parameters", "read"),
    [
        (SCHEMA["properties"], OBJECT | {"properties": SCHEMA["properties"]}),
        ({"required": {"type": "boolean"}}, OBJECT | {"properties": {"required": {"type": "boolean"}}}),
        (OBJECT | {"properties": {"city": "string", "days": "How many"}}, None),
        (OBJECT | {"properties": {"city": '{"type": "string"}', "days": {"description": "How many"}}}, None),
    ],
)
def test_parameters_without_a_schema_around_them(parameters: Any, read: Any) -> None:
    expected = read or OBJECT | {"properties": {"city": {"type": "string"}, "days": {"description": "How many"}}}
    assert openai_tool({**NAMED, "parameters": parameters})["function"]["parameters"] == expected


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize(
    "key", ["parameters", "input_schema", "inputSchema", "parametersJsonSchema"], ids=lambda key: str(key)
)
def test_every_dialect_writes_the_parameters_alike(name: str, key: str) -> None:
    dialect = dialects.load(name)
    asked = [{"role": "user", "content": "Hi"}]
    usual = dialect.render(asked, [FUNCTION])
    for schema in (SCHEMA, json.dumps(SCHEMA)):
        assert dialect.render(asked, [{**NAMED, key: schema}]) == usual
        assert dialect.render(asked, [{"type": "function", "function": {**NAMED, key: schema}}]) == usual


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#/$defs/Q", "$defs": {"Q": SCHEMA}},
        {"anyOf": [SCHEMA, {**SCHEMA, "required": ["days", "city"]}]},
        {**SCHEMA, "anyOf": [{"required": ["days"]}, {"required": ["city"]}]},
    ],
)
def test_parameters_behind_a_reference_or_in_alternatives_are_shown(parameters: Any) -> None:
    [tool] = read_tools([{**NAMED, "parameters": parameters}])
    assert (list(tool.properties), tool.required) == (["city", "days"], ("city",))
    shown = dialects.load("ms_agent").render([{"role": "user", "content": "Hi"}], [tool.spec]).messages[0]["content"]
    assert '"name": "city", "description": "string.", "required": "True"' in shown


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        ({**NAMED, "parameters": "{"}, "get_weather: parameters: not JSON"),
        ({**NAMED, "parameters": '{"type": "object", "type": "array"}'}, "the key 'type' stands twice"),
        ({**NAMED, "parameters": 5}, "get_weather: parameters: got '5'; expected a JSON schema"),
        ({**NAMED, "parameters": [{"type": "string"}]}, "expected a JSON schema"),
        ({"type": "function", "function": "get_weather"}, "not JSON"),
        ({"description": "x"}, "expected a function with a name"),
        (5, "got '5'; expected a function with a name"),
    ],
)
def test_what_declares_no_tool_is_named(tool: Any, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        openai_tool(tool)


@pytest.mark.parametrize("written", [5, [5, True], {"f": ["x"], "g": {}}, "[", '{"f": "{}", "f": "{}"}'])
def test_what_lists_no_tools_is_named(written: Any) -> None:
    with pytest.raises(ValueError, match=r"got |not JSON"):
        [openai_tool(tool) for tool in list_tools(written)]
