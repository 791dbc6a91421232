"""Arguments against JSON Schemas as tools really declare them: other names of types, malformed keywords, references."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from callwright.datasets import schemas
from callwright.datasets.schemas import violations


def _of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


CITY = _of(city={"type": "string"}) | {"required": ["city", "days"]}


@pytest.mark.parametrize(
    ("arguments", "schema", "found"),
    [
        ({"a": 5}, _of(a={"type": "string"}), ["arguments.a: got 5; expected string"]),
        ({"a": 5}, _of(a={"type": "Str"}), ["arguments.a: got 5; expected string"]),
        ({"a": True}, _of(a={"type": ["int", "float"]}), ["arguments.a: got true; expected integer or number"]),
        ({"a": 5.0}, _of(a={"type": "int"}), []),
        ({"a": [1, {"b": 2}]}, _of(a={"type": "tuple", "items": {"type": ["dict", "integer"]}}), []),
        ({"a": [1, "2"]}, _of(a={"items": {"type": "long"}}), ['arguments.a[1]: got "2"; expected integer']),
        ({"a": "c"}, _of(a={"enum": ["a", "b"]}), ['arguments.a: got "c"; expected one of ["a", "b"]']),
        ({"a": 3}, _of(a={"type": "string", "enum": ["a"]}), ["arguments.a: got 3; expected string"]),
        ({"a": -1}, _of(a={"minimum": 0}), ["arguments.a: got -1; expected minimum 0"]),
        ({"a": {"b": 1}}, _of(a={"type": "object"}), []),
        ({"a": {"b": 1}}, _of(a=_of(c={"type": "string"})), []),
        ({"a": 1}, {"type": "dict", "properties": {}}, ["arguments: got the unknown parameter a; expected none"]),
        ({"b": 1}, _of(a={}) | {"additionalProperties": {}}, []),
        ({"b": 1}, {"type": "object"}, []),
        (
            {},
            CITY,
            [f"arguments: got no {name}; expected it, as it is required" for name in ("city", "days")],
        ),
        (
            {"city": "x", "days": 1, "q": 2},
            CITY,
            [f"arguments: got the unknown parameter {name}; expected city" for name in ("days", "q")],
        ),
    ],
)
def test_each_violation_is_told_with_its_path(arguments: Any, schema: Any, found: list[str]) -> None:
    assert list(violations(arguments, schema)) == found


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 3}, {"type": "Foo"}, {"type": ["Foo", "null"]}, {"type": "any"}, {"required": 3}, {"properties": 3},
        {"required": [3, 3]}, {"$ref": "https://example.invalid/x.json"}, {"$ref": "#"}, {"$ref": "#/lost"},
        {"pattern": 3}, _of(a="string"), _of(a={"required": True}), _of(a={"pattern": "("}),
        _of(a={"minimum": 0, "exclusiveMinimum": True}), _of(a={"items": [{"type": "string"}]}), [], None, "x", True,
    ],
)  # fmt: skip
def test_what_is_no_schema_counts_against_no_call(schema: Any) -> None:
    assert list(violations({"a": "b"}, schema)) == []


@pytest.mark.parametrize(
    "schema",
    [
        _of(a={"$id": "http://[", "$ref": "x"}), _of(a={"$schema": "http://[", "type": "string"}),
        {"$ref": "#/properties/a/type"} | _of(a={"type": ["string"]}), _of(a={"multipleOf": 2.5}),
        {"items": {}, "if": {"$dynamicAnchor": "#/properties/a", "$dynamicRef": "#"}},
        {"$ref": "#/$defs/b", "$defs": {"b": {"anyOf": [{"$ref": "#"}]}}},
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_followed_to_its_end_allows_anything(schema: Any) -> None:
    assert list(violations({"a": float("inf")}, schema)) == []


def test_references_are_followed_as_deep_as_arguments_go() -> None:
    tree = _of(a={"$ref": "#"}, b={"type": "integer"})
    arguments: dict[str, Any] = {"b": "x"}
    for _ in range(20):
        arguments = {"a": arguments}
    assert list(violations(arguments, tree)) == [f'arguments{".a" * 20}.b: got "x"; expected integer']


def test_the_rest_of_a_schema_with_a_fault_still_counts() -> None:
    schema = _of(a={"type": "string", "pattern": "("}, b={"type": "Foo"})
    assert list(violations({"a": 1, "b": 1}, schema)) == ["arguments.a: got 1; expected string"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["int", 3]}, {"properties": {"a": [1]}}, {"required": "yes"}, {"items": [{"type": "int"}]},
        {"properties": {"a": {"enum": 3, "minimum": "x"}}}, {"$defs": {"a": 5}}, {"anyOf": [3, {"type": 5}]},
        {"prefixItems": {}}, {"dependentRequired": {"a": 3}}, {"pattern": "("}, {"required": [1, 1]}, {"$ref": 5},
    ],
)  # fmt: skip
def test_the_merged_meta_schema_finds_what_the_whole_one_finds(schema: dict[str, Any]) -> None:
    whole = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
    found, expected = (
        {
            (tuple(fault.absolute_path), fault.validator, str(fault.validator_value))
            for fault in meta.iter_errors(schema)
        }
        for meta in (schemas._meta(), whole)
    )
    assert found == expected != set()


LONG = "a" * 100_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "pattern",
    ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*)*x$", "(a*)*(a*)*b", "^(a?){30}a{30}$", "a+b$", "(.*)=(.*)=(.*)",
     "^(([a-z]{1,60}){1,60}){1,9}$"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["pattern", "propertyNames", "patternProperties", "unevaluatedProperties", "hidden"])
def test_no_pattern_takes_longer_than_the_text_is_long(pattern: str, place: str) -> None:
    text = LONG + "!"
    by_name = {"patternProperties": {pattern: False}}
    schema: dict[str, Any] = {
        "pattern": _of(a={"pattern": pattern}),
        "propertyNames": {"propertyNames": {"pattern": pattern}},
        "patternProperties": by_name | {"additionalProperties": False},
        "unevaluatedProperties": by_name | {"unevaluatedProperties": False},
        "hidden": _of(a={"$ref": "#/x-y"}) | {"x-y": {"pattern": pattern}},
    }[place]
    arguments = {"a": text} if place in ("pattern", "hidden") else {text: 1}
    found = list(violations(arguments, schema))
    assert len(found) == (place != "unevaluatedProperties") or "{1,60}" in pattern


@pytest.mark.parametrize(
    ("schema", "arguments", "count"),
    [
        (_of(a={"pattern": "b"}), {"a": "abc"}, 0),
        (_of(a={"pattern": "^b"}), {"a": "abc"}, 1),
        (_of(a={"pattern": "^b$"}), {"a": "b\n"}, 1),
        (_of(a={"pattern": r"^\p{L}+$"}), {"a": "é城"}, 0),
        (_of(a={"pattern": r"^\p{L}+$"}), {"a": "1"}, 1),
        (_of(a={"pattern": "^.$"}), {"a": "\ud800"}, 0),
        (_of(a={"pattern": "^(?=b)"}), {"a": "abc"}, 0),
        (_of(a={"$ref": "#/x-y"}) | {"x-y": {"pattern": "("}}, {"a": "b"}, 0),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": "b", "m": 1}, 1),
        ({"patternProperties": {"^n_": {}}, "additionalProperties": False}, {"n_a": 1, "m": 1}, 1),
        ({"patternProperties": {"^n_": {}}, "additionalProperties": {"type": "string"}}, {"n_a": 1, "m": 1}, 1),
    ],
)
def test_patterns_are_searched_for_as_json_schema_says(schema: Any, arguments: Any, count: int) -> None:
    assert len(list(violations(arguments, schema))) == count
