"""What the engine is held to, tried with the engine's own grammar compiler over every dialect."""

import json
from typing import Any

import pytest

from callwright import dialects
from callwright.sidecar.plan import structural_tag

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "parameters": {
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "clock"}},
]


@pytest.fixture(scope="module")
def xgrammar() -> Any:
    return pytest.importorskip("xgrammar", reason="needs the engine's grammar compiler")


def accepts(xgrammar: Any, tag: dict[str, Any] | None, text: str) -> bool:
    from xgrammar.testing import _is_grammar_accept_string

    return bool(_is_grammar_accept_string(xgrammar.Grammar.from_structural_tag(json.dumps(tag)), text))


def call(dialect: dialects.Dialect, name: str, arguments: str) -> str:
    begin, end = dialect.call_frame(name)
    return begin + arguments + end


@pytest.mark.parametrize("name", dialects.NAMES)
def test_a_demanded_call_is_a_valid_one(xgrammar: Any, name: str) -> None:
    dialect = dialects.load(name)
    tag = structural_tag(dialect, TOOLS, "required", single_call=False)
    valid = [
        call(dialect, "get_weather", '{"city": "Paris"}'),
        call(dialect, "get_weather", '{"city": "Paris", "days": 3}'),
        call(dialect, "get_weather", '{"city":"P"}') + call(dialect, "clock", "{}"),
        *(call(dialect, "clock", "{}") + stop.removeprefix("\n") for stop in dialect.stop),
    ]
    invalid = [
        "Hello.",
        call(dialect, "get_weather", '{"days": 3}'),
        call(dialect, "get_weather", '{"city": 3}'),
        call(dialect, "get_rain", "{}"),
        call(dialect, "get_weather", '{"city": "Paris"'),
    ]
    assert [text for text in valid if not accepts(xgrammar, tag, text)] == []
    assert [text for text in invalid if accepts(xgrammar, tag, text)] == []
    for text in valid:
        turn = dialect.parse(text, TOOLS)
        assert turn.calls
        assert all(isinstance(made, dialects.ToolCall) for made in turn.calls), text


@pytest.mark.parametrize("name", dialects.NAMES)
def test_one_call_where_only_one_may_be(xgrammar: Any, name: str) -> None:
    dialect = dialects.load(name)
    two = call(dialect, "clock", "{}") * 2
    assert accepts(xgrammar, structural_tag(dialect, TOOLS, "required", single_call=False), two)
    assert not accepts(xgrammar, structural_tag(dialect, TOOLS, "required", single_call=True), two)
    named = structural_tag(dialect, TOOLS[1:], {"type": "function", "function": {"name": "clock"}}, single_call=False)
    assert accepts(xgrammar, named, call(dialect, "clock", "{}"))
    assert not accepts(xgrammar, named, two)


@pytest.mark.parametrize("name", dialects.NAMES)
def test_strict_tools_are_held_to_their_schema_and_nothing_else_is(xgrammar: Any, name: str) -> None:
    dialect = dialects.load(name)
    tag = structural_tag(dialect, TOOLS, "auto", single_call=False)
    assert accepts(xgrammar, tag, "Hello.")
    assert accepts(xgrammar, tag, "Well.\n" + call(dialect, "get_weather", '{"city": "Paris"}') + "and so on")
    assert accepts(xgrammar, tag, call(dialect, "clock", '{"whatever": 1}'))
    assert not accepts(xgrammar, tag, call(dialect, "get_weather", '{"days": 3}'))
    assert structural_tag(dialect, TOOLS[1:], "auto", single_call=False) is None
    assert structural_tag(dialect, TOOLS, "none", single_call=False) is None
