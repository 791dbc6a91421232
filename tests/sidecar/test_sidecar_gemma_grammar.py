"""The arguments of Gemma's calls as a grammar, tried with the engine's own compiler and read back."""

import json
from typing import Any

import pytest

from callwright import dialects
from callwright.dialects.gemma import Gemma
from callwright.sidecar.gemma_grammar import UNHELD, GemmaArguments
from callwright.sidecar.grammar_bounds import GrammarBounds

TYPED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 0},
        "Metric": {"type": "boolean"},
        "kind": {"enum": ["sun", "it's", 3, None]},
        "where": {"$ref": "#/$defs/place"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "ways": {"type": "array", "items": {"$ref": "#/$defs/place"}, "minItems": 1},
        "note": {},
        "until": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "zip": {"type": "string", "pattern": "[0-9]{5}"},
        "word": {"type": "string", "minLength": 1, "maxLength": 3},
    },
    "required": ["city", "days"],
    "$defs": {
        "place": {"type": "object", "properties": {"zip": {"type": "string"}, "in": {"$ref": "#/$defs/place"}}},
    },
}
RIGHT: dict[str, dict[str, Any]] = {
    "city:^Oslo^,days:3": {"city": "Oslo", "days": 3},
    "city:^a <b> {c}, d:e^,days:0": {"city": "a <b> {c}, d:e", "days": 0},
    "city:^^,days:1,kind:^it's^,Metric:true": {"city": "", "days": 1, "kind": "it's", "Metric": True},
    "city:^x^,days:1,kind:null,note:[1,{b:^c^},false]": {
        "city": "x", "days": 1, "kind": None, "note": [1, {"b": "c"}, False],
    },
    "city:^x^,days:1,tags:[^a^,^b^],until:null": {"city": "x", "days": 1, "tags": ["a", "b"], "until": None},
    "city:^x^,days:1,tags:[],ways:[{zip:^1^}],where:{in:{zip:^1^},zip:^2^},word:^abc^,zip:^01234^": {
        "city": "x", "days": 1, "tags": [], "ways": [{"zip": "1"}], "where": {"in": {"zip": "1"}, "zip": "2"},
        "word": "abc", "zip": "01234",
    },
}  # fmt: skip
WRONG = (
    *("", "city:^x^", "days:1,city:^x^", "city:3,days:3", "city:^x^,days:^3^", "city:^x^,days:-1", "city:x,days:1"),
    *("city:^x^,days:1,kind:^rain^", "city:^x^,days:1,other:1", "city:^x^,days:1,", "city:^x^,days:1,Metric:True"),
    *("city:^x^,days:1,tags:[^a^,^b^,^c^]", "city:^x^,days:1,ways:[]", "city:^x^,days:1,zip:^1^"),
    *("city:^x^,days:1,word:^^", "city:^x^,days:1,word:^abcd^", "city:^x^,days:1,where:{street:1}"),
)


def accepted(name: str, schema: dict[str, Any], given: str) -> str | None:
    """The arguments that are read of `given`, where the grammar takes it; `^` stands for what is around text."""
    xgrammar = pytest.importorskip("xgrammar", reason="needs the engine's grammar compiler")
    from xgrammar.testing import _is_grammar_accept_string

    dialect = dialects.load(name, native=True)
    assert isinstance(dialect, Gemma)
    begin, end = dialect.call_frame("f")
    content = GemmaArguments(dialect.tokens.quote, dialect.markers, schema).members(schema)
    form = {"type": "tag", "begin": begin, "content": content, "end": end}
    grammar = xgrammar.Grammar.from_structural_tag(json.dumps({"type": "structural_tag", "format": form}))
    text = begin + given.replace("^", dialect.tokens.quote) + end
    if not _is_grammar_accept_string(grammar, text):
        return None
    (call,) = dialect.parse(text, [{"type": "function", "function": {"name": "f", "parameters": schema}}]).calls
    assert isinstance(call, dialects.ToolCall)
    return call.arguments


@pytest.mark.parametrize("name", ["gemma", "functiongemma"])
def test_what_the_schema_says_is_taken_and_read_as_it_is(name: str) -> None:
    for given, arguments in RIGHT.items():
        read = accepted(name, TYPED, given)
        assert read is not None, given
        assert json.loads(read) == arguments
    for given in WRONG:
        assert accepted(name, TYPED, given) is None, given


def test_no_text_holds_a_token_of_the_format() -> None:
    for token in ("<turn|>", "<tool_call|>", "<|tool_response>", '<|"|>'):
        assert accepted("gemma", TYPED, f"city:^a{token}b^,days:1") is None
        assert accepted("gemma", TYPED, f"city:^x^,days:1,note:^a{token}b^") is None


@pytest.mark.parametrize("many", [3, 9])
def test_of_what_may_be_left_out_any_is(many: int) -> None:
    schema = {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(many)}}
    for given in ("", "p0:1", "p1:1", "p0:1,p2:3"):
        assert accepted("gemma", schema, given) is not None, given
    for given in (",p0:1", "p0:1,", "p0:^x^", "q:1"):
        assert accepted("gemma", schema, given) is None, given
    assert (accepted("gemma", schema, "p2:1,p0:1") is None) == (many == 3)


def test_an_object_of_any_form_is_one() -> None:
    free: dict[str, Any] = {"type": "object"}
    assert accepted("gemma", free, "") == "{}"
    assert accepted("gemma", free, "a:[1,-2.5,{b:null}],c:^d^") == '{"a": [1, -2.5, {"b": null}], "c": "d"}'
    for given in ("a", "a:b", "a:1,", "a:{"):
        assert accepted("gemma", free, given) is None, given


@pytest.mark.parametrize("options", [5, "x", True, {"type": "integer"}, None, []])
@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "enum", "type", "items", "required", "$ref"])
def test_a_keyword_of_another_kind_says_nothing(keyword: str, options: object) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"} | {keyword: options}}, "required": ["a"]}
    assert isinstance(GemmaArguments("^", ("^",), schema).members(schema), dict)


def test_what_the_grammar_does_not_hold_is_told() -> None:
    bounds = GrammarBounds(3000, 32)
    schema = {"type": "object", "properties": {"day": {"type": "string", "format": "date"}, "format": {}}}
    fitted = bounds.fit(schema, "f", UNHELD)
    assert bounds.left_out == [("f.properties.day", "format")]
    assert fitted["properties"] == {"day": {"type": "string"}, "format": {}}
