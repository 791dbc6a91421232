"""Coercion to a schema and near-JSON, where the written cases do not reach: references, unions, depth, sizes."""

import json
from typing import Any

import pytest

from callwright import dialects
from callwright.dialects.arguments import Fault, read_bare, read_object
from callwright.dialects.literals import encodable, read_json, read_literal, write_json
from callwright.dialects.tools import Names, Tool, read_tools
from callwright.dialects.types import MalformedCall, ToolCall, accumulate


def tool(schema: dict[str, Any]) -> Tool:
    return read_tools([{"name": "f", "parameters": schema}])[0]


def arguments(text: str, schema: dict[str, Any]) -> Any:
    read = read_object(text, tool(schema))
    assert isinstance(read, str), read
    return json.loads(read)


def test_references_are_followed_also_in_a_circle() -> None:
    schema = {
        "properties": {
            "node": {"$ref": "#/$defs/node"},
            "lost": {"$ref": "#/$defs/none"},
            "loop": {"$ref": "#/$defs/l"},
        },
        "$defs": {
            "node": {"type": "object", "properties": {"n": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}},
            "l": {"$ref": "#/$defs/l"},
        },
    }

    read = arguments('{"node": {"n": "1", "next": {"n": "2"}}, "lost": "3", "loop": "4"}', schema)

    assert read == {"node": {"n": 1, "next": {"n": 2}}, "lost": "3", "loop": "4"}


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a": ', "}"), ("[{'a': ", "}]")])
def test_arguments_are_read_200_levels_deep(name: str, opening: str, closing: str) -> None:
    """Whole and streamed, also against a schema that goes on as deep; deeper they are a malformed call."""
    dialect = dialects.load(name)
    anything: dict[str, Any] = {"items": {"$ref": "#/$defs/x"}, "additionalProperties": {"$ref": "#/$defs/x"}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": anything}}
    declared = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    levels = 2 if len(opening) > 6 else 1
    for depth, kind in ((130, ToolCall), (199, ToolCall), (300, MalformedCall), (100_000, MalformedCall)):
        times = depth // levels
        before, after = dialect.call_frame("f")
        text = f'{before}{{"a": {opening * times}1{closing * times}}}{after}'
        for tools in (declared, None):
            (call,) = dialect.parse(text, tools).calls
            assert isinstance(call, kind)
            parser = dialect.parser(tools)
            deltas = [delta for n in range(0, len(text), 1_001) for delta in parser.feed(text[n : n + 1_001])]
            assert accumulate([*deltas, *parser.close()]) == dialect.parse(text, tools)
            if isinstance(call, ToolCall):
                assert call.arguments.count("[") + call.arguments.count("{") == times * levels + 1


def test_unions_of_unions_are_bounded() -> None:
    schema: dict[str, Any] = {"anyOf": [{"$ref": "#/properties/a"}] * 40}

    assert arguments('{"a": "x"}', {"properties": {"a": schema}}) == {"a": "x"}


@pytest.mark.parametrize(
    ("written", "schema", "expected"),
    [
        ('{"a": "5"}', {"anyOf": [{"type": "null"}, {"type": "integer"}]}, 5),
        ('{"a": "5"}', {"type": ["integer", "string"]}, "5"),
        ('{"a": "5"}', {"type": "integer", "nullable": True}, 5),
        ('{"a": "null"}', {"type": "integer", "nullable": True}, None),
        ('{"a": "5"}', {"allOf": [{"type": "integer"}]}, 5),
        ('{"a": "5"}', {"type": "INTEGER"}, 5),
        ('{"a": "5"}', {"type": "int"}, 5),
        ('{"a": {"x": "1"}}', {"type": "object", "additionalProperties": {"type": "number"}}, {"x": 1}),
        ('{"a": [{"x": "1"}]}', {"type": "array", "items": {"properties": {"x": {"type": "number"}}}}, [{"x": 1}]),
        ('{"a": "12345678901234567890"}', {"type": "integer"}, "12345678901234567890"),
        ('{"a": "0.1"}', {"type": "number"}, 0.1),
        ('{"a": 1.5}', {"type": "string"}, "1.5"),
        ('{"a": "x"}', {"type": "any"}, "x"),
        ('{"a": "1.5"}', {"enum": [1.5, 2]}, 1.5),
        ('{"a": "1"}', {"enum": ["1", 1]}, "1"),
        ('{"a": true}', {"type": "integer"}, True),
    ],
)
def test_coercion(written: str, schema: dict[str, Any], expected: object) -> None:
    assert arguments(written, {"properties": {"a": schema}}) == {"a": expected}
    assert type(arguments(written, {"properties": {"a": schema}})["a"]) is type(expected)


def test_bare_value_needs_a_single_parameter_it_fits() -> None:
    one = tool({"properties": {"when": {"type": "boolean"}}, "required": ["when"]})

    assert read_bare("true", one) == '{"when": true}'
    assert read_bare("when = true", one) == '{"when": true}'
    assert isinstance(read_bare("soon", one), Fault)
    assert isinstance(read_bare("", one), Fault)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 1, 'b': (2, 3.5, -4e2)}", {"a": 1, "b": [2, 3.5, -400.0]}),
        ("{a: +1, b_c: .5}", {"a": 1, "b_c": 0.5}),
        ("{1: 'x'}", {"1": "x"}),
        ('[\'it\'s\', "a "b" c", “d”]', ["it's", 'a "b" c', "d"]),
        (r"['\x41\u4e2d\U0001f600\n\t\'\q']", ["A中😀\n\t'\\q"]),
        ("[TRUE, none, False,]", [True, None, False]),
        ("{}", {}),
        ("'x'", "x"),
    ],
)
def test_near_json_is_read(text: str, value: object) -> None:
    assert read_literal(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "{", "{'a'}", "{'a': }", "[1 2]", "{'a': 1} x", "{'a': nan}", "[1e999]", "{a b: 1}", "(" * 300 + ")" * 300],
)
def test_what_has_no_one_meaning_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_literal(text)


def test_depth_and_size_do_not_raise_anything_else() -> None:
    for text in ("[" * 100_000, "[" * 500 + "]" * 500, "9" * 5000, "{'a':" * 5000):
        with pytest.raises(ValueError):  # noqa: PT011
            read_literal(text)
    assert read_json("[" * 100 + "]" * 100)


def test_what_is_written_can_be_encoded() -> None:
    assert write_json({"a": "\ud83d\ude00", "b": "\ud83d", "c": "é\n"}) == '{"a": "😀", "b": "\ufffd", "c": "é\\n"}'
    assert encodable("plain") == "plain"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(float("inf"))


def test_lines_that_only_close_are_no_argument_however_many() -> None:
    city = tool({"properties": {"city": {"type": "string"}}, "required": ["city"]})

    assert read_bare("Oslo\n```\n</tool_call>\n</tool_call>", city) == '{"city": "Oslo"}'
    assert isinstance(read_bare("Oslo" + "\n}" * 50_000, city), str)


def test_names_that_differ_in_case_only_are_not_guessed() -> None:
    names = Names(read_tools([{"name": "Get_it"}, {"name": "get_it"}, {"name": "get_it_all"}]))

    assert names.exact("get_it") is not None
    assert names.exact("GET_IT") is None
    found = names.mentioned("please use get_it_all now")
    assert found is not None
    assert found.name == "get_it_all"
    assert names.mentioned("get_it and get_it_all") is None
