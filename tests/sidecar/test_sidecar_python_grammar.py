"""The arguments of Python's calls as a grammar, tried with the engine's own compiler and read back."""

import json
from typing import Any

import pytest

from callwright import dialects
from callwright.sidecar.python_grammar import python_arguments

TYPED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "metric": {"type": "boolean"},
        "until": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "kind": {"enum": ["sun", "it's", 3, None]},
        "where": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "days"],
    "$defs": {"place": {"type": "object", "properties": {"zip": {"type": "string"}}, "additionalProperties": False}},
}
OPTIONAL: dict[str, Any] = {"type": "object", "properties": {name: {"type": "integer"} for name in "abc"}}


def accepted(schema: dict[str, Any], given: str) -> bool:
    """Whether the arguments are taken; those that are, are read as a call."""
    xgrammar = pytest.importorskip("xgrammar", reason="needs the engine's grammar compiler")
    from xgrammar.testing import _is_grammar_accept_string

    form = {"type": "tag", "begin": "f(", "content": python_arguments(schema), "end": ")"}
    grammar = xgrammar.Grammar.from_structural_tag(json.dumps({"type": "structural_tag", "format": form}))
    if not _is_grammar_accept_string(grammar, f"f({given})"):
        return False
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    (call,) = dialects.load("pythonic", native=True).parse(f"[f({given})]", tools).calls
    return isinstance(call, dialects.ToolCall)


def test_arguments_are_named_in_order_and_typed() -> None:
    for given in (
        "city='Oslo', days=3", 'city="it\'s", days=-3', "city='Oslo', days=3, metric=True",
        "city='', days=0, until=None", "city='x', days=1, kind=3",
        "city='Oslo', days=3, metric=false, kind='sun'", 'city=\'Oslo\', days=3, kind="it\'s"',
        "city='Oslo', days=3, where={\"zip\": \"02139\"}", "city='x', days=1, until=7, where={}",
    ):  # fmt: skip
        assert accepted(TYPED, given), given
    for given in (
        "", "city='Oslo'", "days=3, city='Oslo'", "city=3, days=3", "city='Oslo', days='3'", "city='it's', days=3",
        "city='Oslo', days=3, kind='rain'", "city='Oslo', days=3, other=1", "city='Oslo' days=3", "'Oslo', 3",
        "city='Oslo', days=3, where={\"street\": 1}", "city='Oslo', days=3,", "city='Oslo', days=3, city='Rome'",
    ):  # fmt: skip
        assert not accepted(TYPED, given), given


def test_any_of_what_may_be_left_out_is() -> None:
    for given in ("", "a=1", "b=1", "a=1, c=2", "a=1, b=2, c=3"):
        assert accepted(OPTIONAL, given), given
    for given in ("b=1, a=2", ", a=1", "a=1,"):
        assert not accepted(OPTIONAL, given), given


def test_what_cannot_be_named_is_unpacked() -> None:
    spaced = {"type": "object", "properties": {"a b": {"type": "integer"}}, "required": ["a b"]}
    many = {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(64)}}
    free: dict[str, Any] = {"type": "object"}
    assert accepted(spaced, '**{"a b": 1}')
    assert accepted(many, '**{"p3": 1}')
    assert accepted(free, '**{"x": [1, {"y": null}]}')
    assert accepted(free, "")
    for schema, given in ((spaced, ""), (spaced, "**{}"), (many, "p3=1"), (many, '**{"p3": "x"}'), (free, "x=1")):
        assert not accepted(schema, given), given


@pytest.mark.parametrize("options", [5, "x", True, {"type": "integer"}, None])
@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_options_that_are_no_list_are_none(keyword: str, options: object) -> None:
    value = {"type": "boolean", keyword: options}
    form = python_arguments({"type": "object", "properties": {"a": value}, "required": ["a"]})
    assert "True" in json.dumps(form)
