"""How much of a client's schemas goes into a grammar: ordinary ones whole, weighty ones without what makes them so."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import CALL, USER, WEATHER, Bench, bench, joined

from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.exchange import left_out_header
from callwright.sidecar.grammar_bounds import GrammarBounds
from callwright.sidecar.models import named_dialect
from callwright.sidecar.patterns import pattern_weight
from callwright.sidecar.plan import make_plan
from fakes import Raw, Text

CORPUS = Path(__file__).parents[3] / "shared/data/seal_tools_openai.jsonl"
ISSUE = "^(([a-z]{1,60}){1,60}){1,9}$"


def fitted(schema: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    config = SidecarConfig()
    bounds = GrammarBounds(config.max_grammar_cost, config.max_schema_depth)
    return bounds.fit(schema, "f"), bounds.left_out


def one(parameter: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": parameter}, "required": ["x"], **more}


def doubling(depth: int) -> dict[str, Any]:
    """Definitions that each refer twice to the next."""
    made: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}", "title": title} for title in "ab"]} for n in range(depth)
    }
    return one({"$ref": "#/$defs/d0"}, **{"$defs": made | {f"d{depth}": {"type": "string"}}})


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{2}\d{6}$",
        r"^\d{4}-\d{2}-\d{2}$",
        r"^([0-9]{1,3}\.){3}[0-9]{1,3}$",
        r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$",
        r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$",
        r"^(https?://)?([\da-z\.-]+)\.([a-z\.]{2,6})([/\w \.-]*)*/?$",
        r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$",
        r"^(?:[01]\d|2[0-3]):[0-5]\d$",
        r"^\+?[0-9]{1,3}[ -]?\(?[0-9]{1,4}\)?[ -]?[0-9]{1,4}[ -]?[0-9]{1,9}$",
        "^[a-zA-Z0-9_-]{1,64}$",
        "^.{1,100}$",
        "^(a+)+$",
    ],
)
def test_an_ordinary_pattern_stays(pattern: str) -> None:
    schema = one({"type": "string", "pattern": pattern})
    assert fitted(schema) == (schema, [])


@pytest.mark.parametrize(
    "pattern",
    [
        ISSUE,
        "^([a-z]{1,30}){1,30}$",
        "^(([a-z]{1,5}){1,5}){1,5}$",
        "^[a-z]{1,1000}$",
        "^.{1,10000}$",
        "^" + ".?" * 60 + "$",
        "^" + "[a-z]{1,50}" * 8 + "$",
        "^" + ".{1,9}" * 12 + "$",
        "^([a-z]+){1,60}$",
        "(" * 2000 + ")" * 2000,
        "a{99999999999999999999}",
        "a" * 5000,
        r"^(a)\1$",
        "(?=a)b",
        r"^\p{L}+$",
        "(",
        5,
        None,
    ],
)
def test_a_pattern_that_is_weighty_or_no_grammar_is_left_out_by_name(pattern: Any) -> None:
    made, left_out = fitted(one({"type": "string", "pattern": pattern}))
    assert made == one({"type": "string"})
    assert left_out == [("f.properties.x", "pattern")]


@pytest.mark.parametrize(
    "bounds", [{"minimum": -(2**63), "maximum": 2**63 - 1}, {"exclusiveMinimum": -1.0, "exclusiveMaximum": 2**63 - 1}]
)
def test_a_range_of_64_bits_stays(bounds: dict[str, Any]) -> None:
    schema = one({"type": "integer", **bounds})
    assert fitted(schema) == (schema, [])


@pytest.mark.parametrize(
    ("parameter", "keyword"),
    [
        ({"type": "integer", "maximum": 2**63}, "maximum"),
        ({"type": "integer", "minimum": -9.3e18}, "minimum"),
        ({"enum": [f"value {n}" for n in range(100_000)]}, "enum"),
        ({"enum": ["x" * 1_000_000]}, "enum"),
        ({"const": {"a": ["x" * 1000] * 1000}}, "const"),
        ({"type": "array", "maxItems": 10**30}, "maxItems"),
        ({"type": "number", "minimum": -1e300}, "minimum"),
        ({"type": "string", "maxLength": "many"}, "maxLength"),
        ({"$ref": "#/x-hidden"}, "$ref"),
        ({"$ref": "#/properties/x/default"}, "$ref"),
        ({"$ref": "https://example.com/schema"}, "$ref"),
    ],
)
def test_what_is_too_large_or_cannot_be_weighed_is_left_out_by_name(parameter: dict[str, Any], keyword: str) -> None:
    hidden = {"x-hidden": {"type": "string", "pattern": ISSUE}}
    made, left_out = fitted(one(parameter, **hidden))
    assert made["properties"]["x"] == {key: value for key, value in parameter.items() if key != keyword}
    assert left_out == [("f.properties.x", keyword)]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1000)}},
        {"type": "object", "properties": {f"{n:0200d}": {"type": "string"} for n in range(300)}},
        one({"anyOf": [{"const": n} for n in range(10_000)]}),
        {"type": "object", "minProperties": 50, "properties": {f"p{n}": {} for n in range(200)}},
        {"type": "object", "properties": {f"p{n}": {} for n in range(500)}, "required": [str(n) for n in range(500)]},
        doubling(20),
        one({"anyOf": [True] * 100_000}),
        one({"type": "array", "prefixItems": [{}] * 100_000}),
        one({"type": ["string"] * 100_000}),
    ],
)
def test_of_a_schema_whose_structure_is_too_large_only_the_type_is_kept(schema: dict[str, Any]) -> None:
    made, left_out = fitted(schema)
    assert made == {"type": "object"}
    assert left_out == [("f", "schema")]


@pytest.mark.parametrize("others", ["additionalProperties", "unevaluatedProperties"])
def test_what_is_left_out_never_makes_a_schema_narrower(others: str) -> None:
    """Without the patterns of its names, an object that allows no others would allow none of those."""
    made, left_out = fitted({"type": "object", "patternProperties": {ISSUE: {}}, others: False})
    assert (made, left_out) == ({"type": "object"}, [("f", "patternProperties")])
    assert fitted({"type": "object", "$ref": "#/x", others: False})[0] == {"type": "object"}


def test_a_long_chain_of_references_ends() -> None:
    chain: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(100_000)}
    made, left_out = fitted(one({"$ref": "#/$defs/d0"}, **{"$defs": chain}))
    assert (made, left_out) == ({"type": "object"}, [("f", "schema")])


def test_what_is_nested_too_deeply_keeps_its_type() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    made, left_out = fitted(schema)
    assert len(left_out) == 1
    assert json.dumps(made).count("array") == SidecarConfig().max_schema_depth + 1


def test_recursive_and_shared_definitions_stay() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "value": {"$ref": "#/$defs/value"}}}
    schema = one({"$ref": "#/$defs/node"}, **{"$defs": {"node": node, "value": {"type": "integer", "minimum": 0}}})
    assert fitted(schema) == (schema, [])
    assert fitted(doubling(4))[1] == []


def test_equal_forms_of_texts_are_paid_for_once_and_others_fill_the_budget() -> None:
    long = {"type": "string", "maxLength": 5000}
    assert fitted({"properties": {f"p{n}": long for n in range(50)}})[1] == []
    _, left_out = fitted({"properties": {f"p{n}": {"type": "string", "maxLength": 500 + n} for n in range(50)}})
    assert left_out == [(f"f.properties.p{n}", "maxLength") for n in range(1, 50)]
    _, lengths = fitted({"properties": {f"p{n}": long | {"minLength": n + 1} for n in range(3)}})
    assert {keyword for _, keyword in lengths} == {"minLength", "maxLength"}


@pytest.mark.skipif(not CORPUS.exists(), reason="needs the real corpora")
def test_nothing_of_real_tools_is_left_out() -> None:
    tools = {
        tool["function"]["name"]: tool["function"]["parameters"]
        for line in CORPUS.read_text(encoding="utf-8").splitlines()
        for tool in json.loads(line)["tools"]
    }
    assert len(tools) > 2000
    assert [name for name, parameters in tools.items() if fitted(parameters)[1]] == []
    bounds = GrammarBounds(SidecarConfig().max_grammar_cost, 48)
    for parameters in list(tools.values())[:256]:
        bounds.fit(parameters, "f")
    assert bounds.left_out == []


def test_of_a_cost_there_is_no_end_but_infinity() -> None:
    assert pattern_weight("((((a{0,99}){0,99}){0,99}){0,99}){0,99}").cost > 1e9
    assert pattern_weight("a" * 100).cost < 20


FUNCTION = {"name": "f", "parameters": one({"type": "string", "pattern": ISSUE}) | {"description": "kept out"}}
STRICT = {"type": "function", "function": FUNCTION | {"strict": True}}
TOOL = {"type": "function", "function": FUNCTION}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": FUNCTION["parameters"]}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [STRICT]},
        {"tools": [{"type": "function", "function": {"name": "g"}}], "response_format": SCHEMA},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_grammar_lacks_is_said_and_counted(fields: dict[str, Any], stream: bool) -> None:
    with bench(CALL) as b:
        request = {"model": "m", "messages": USER, "stream": stream} | fields
        answer = httpx.post(f"{b.url}/v1/chat/completions", json=request, timeout=30)
        metrics = httpx.get(f"{b.url}/metrics").text
        sent = b.engine.requests[0]["structured_outputs"]["structural_tag"]
    where = "response_format" if "response_format" in fields else "f"
    assert answer.headers["x-callwright-left-out"] == f"{where}.properties.x.pattern"
    assert 'callwright_left_out_of_grammars_total{keyword="pattern"} 1.0' in metrics
    assert "60" not in sent
    assert "description" not in sent


def test_names_in_the_header_are_escaped_and_few() -> None:
    names = ["a\r\nset-cookie: x", "城市", *(f"p{n}" for n in range(20))]
    tool = {"name": "f", "parameters": {"properties": {n: {"type": "string", "pattern": ISSUE} for n in names}}}
    request = {"model": "m", "messages": USER, "tool_choice": "required", "tools": [{"function": tool}]}
    with bench(CALL) as b:
        told = httpx.post(f"{b.url}/v1/chat/completions", json=request).headers["x-callwright-left-out"]
    assert told.startswith("f.properties.a%0D%0Aset-cookie%3A%20x.pattern, f.properties.%E5%9F%8E")
    assert told.endswith(", and 14 more")


def test_an_ordinary_request_says_nothing() -> None:
    with bench(CALL) as b:
        tool = {"name": "f", "parameters": one({"type": "string", "maxLength": 100})}
        request = {"model": "m", "messages": USER, "tool_choice": "required", "tools": [{"function": tool}]}
        assert "x-callwright-left-out" not in httpx.post(f"{b.url}/v1/chat/completions", json=request).headers


TAG = {"type": "structural_tag", "format": {"type": "regex", "pattern": ISSUE}}
HEAVY: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {"response_format": SCHEMA}, "response_format"),
    ("/v1/chat/completions", {"response_format": TAG}, "response_format"),
    ("/v1/completions", {"response_format": SCHEMA}, "response_format"),
    ("/v1/chat/completions", {"structured_outputs": {"json": FUNCTION["parameters"]}}, "structured_outputs.json"),
    ("/v1/chat/completions", {"structured_outputs": {"json": json.dumps(FUNCTION["parameters"])}},
     "structured_outputs.json"),
    ("/v1/completions", {"structured_outputs": {"regex": ISSUE}}, "structured_outputs.regex"),
    ("/v1/chat/completions", {"structured_outputs": {"choice": ["x" * 1000] * 1000}}, "structured_outputs.choice"),
    ("/v1/chat/completions", {"structured_outputs": {"grammar": 'root ::= "a"'}}, "structured_outputs.grammar"),
    ("/v1/chat/completions", {"structured_outputs": {"structural_tag": json.dumps(TAG)}},
     "structured_outputs.structural_tag"),
    ("/v1/chat/completions", {"structured_outputs": {"structural_tag": json.dumps(
        {"type": "structural_tag", "format": {"type": "repeat", "min": 1, "max": 9, "content": {}}})}},
     "structured_outputs.structural_tag"),
    ("/v1/chat/completions", {"guided_json": FUNCTION["parameters"]}, "guided_json"),
    ("/v1/chat/completions", {"guided_regex": ISSUE}, "guided_regex"),
    ("/v1/responses", {"input": "Hi", "text": {"format": SCHEMA | {"schema": FUNCTION["parameters"]}}}, "text.format"),
    ("/v1/messages", {"max_tokens": 9, "output_config": {"format": SCHEMA | {"schema": FUNCTION["parameters"]}}},
     "output_config.format"),
    ("/v1/chat/completions", {"tools": [TOOL], "structured_outputs": {"regex": ISSUE}}, "structured_outputs.regex"),
    ("/v1/chat/completions", {"tools": [TOOL], "response_format": TAG}, "response_format"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields", "field"), HEAVY)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "escaped"])
def test_a_weighty_form_of_the_client_s_own_is_refused_by_name_however_it_is_written(
    refusing: Bench, path: str, fields: dict[str, Any], field: str, encoding: str
) -> None:
    text = json.dumps({"model": "m", "messages": USER, "prompt": "Hi"} | fields)
    if encoding == "escaped":
        for word in ("structured_outputs", "response_format", "output_config", "format", "guided_", "tools"):
            text = text.replace(f'"{word}', f'"\\u00{ord(word[0]):x}{word[1:]}')
        encoding = "utf-8"
    answer = httpx.post(f"{refusing.url}{path}", content=text.encode(encoding), timeout=30)
    assert (answer.status_code, refusing.engine.requests) == (400, [])
    assert f"{field}: too weighty for a grammar" in answer.text


FORWARD = r"^(?=.*\d)(?!x)[a-z\d]{1,60}$"


def test_a_form_of_the_client_s_own_may_look_around_and_is_told_plainly_what_is_weighty_in_it(refusing: Bench) -> None:
    """An engine leaves out what looks ahead and refuses what looks back: neither takes it long."""
    with bench(CALL) as b:
        for pattern in (FORWARD, "(?<=a)b", r"(a)\1", "^(?<year>[0-9]{4})$", "^(?:a|b)$"):
            for form in (
                {"response_format": SCHEMA | {"json_schema": {"name": "n", "schema": one({"pattern": pattern})}}},
                {"structured_outputs": {"regex": pattern}},
            ):
                request = {"model": "m", "messages": USER} | form
                assert httpx.post(f"{b.url}/v1/chat/completions", json=request).status_code == 200, form
    for pattern in ("^[a-z]{1,256}$", f"(?<=a){ISSUE}", f"(?=a){ISSUE}"):
        form = {"response_format": SCHEMA | {"json_schema": {"name": "n", "schema": one({"pattern": pattern})}}}
        answer = httpx.post(f"{refusing.url}/v1/chat/completions", json={"model": "m", "messages": USER} | form)
        told = "('schema.properties.x.pattern'); repeat a part at most 128 times, and no repeats within it"
        assert (answer.status_code, told in answer.text) == (400, True), answer.text


def test_light_forms_pass_and_grammars_where_the_operator_lets_them() -> None:
    light = one({"type": "string", "pattern": "^[a-z]{1,9}$"})
    forms: list[dict[str, Any]] = [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": light}}},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"choice": ["yes", "no"]}},
        {"structured_outputs": {"regex": "(yes|no)"}},
        {"structured_outputs": {"grammar": 'root ::= "a"'}},
        {"tools": [TOOL], "tool_choice": "auto"},
    ]
    with bench(CALL, client_grammars=True) as b:
        for form in forms:
            request = {"model": "m", "messages": USER} | form
            assert httpx.post(f"{b.url}/v1/chat/completions", json=request).status_code == 200, form
    assert [request.get("response_format") for request in b.engine.requests[:2]] == [
        form["response_format"] for form in forms[:2]
    ]


def test_a_demanded_call_needs_no_form_beside_it() -> None:
    request = {"model": "m", "messages": USER, "tools": [TOOL], "tool_choice": "required", "response_format": TAG}
    assert "regex" not in json.dumps(make_plan(request, named_dialect("hermes"), SidecarConfig()).body)


HOURS = {"type": "object", "properties": {"hours": {"type": "integer"}}, "required": ["hours"]}
TYPED = {"type": "json_schema", "json_schema": {"name": "n", "schema": HOURS}}
RESULTS = [
    *USER,
    {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "4 hours"},
]


def held_whole(request: dict[str, Any]) -> Text | Raw:
    """An engine that knows no structural tags, and holds every turn to the form of the answer."""
    if "structural_tag" in (request.get("structured_outputs") or ()):
        return Raw('{"error": {"message": "structural tags are not supported", "code": 400}}', 400)
    return Text(['{"hours": 0}' if request.get("response_format") else CALL])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("enforce", [False, True])
def test_an_engine_that_holds_every_turn_to_the_form_calls_first_and_is_held_to_it_once_results_are_in(
    enforce: bool, stream: bool
) -> None:
    with bench(held_whole, enforce=enforce) as b:
        told = []
        for messages in (USER, RESULTS):
            request = {"model": "m", "messages": messages, "tools": [WEATHER], "response_format": TYPED}
            with b.client.chat.completions.with_streaming_response.create(**request, stream=stream) as answer:
                told.append(answer.headers.get("x-callwright-left-out"))
                if stream:
                    made = joined(list(answer.parse()))
                    content, calls = made["content"], [call["name"] for call in made["calls"].values()]
                else:
                    message = answer.parse().choices[0].message
                    content, calls = message.content, [call.function.name for call in message.tool_calls or ()]
            if messages is USER:
                assert calls == ["get_weather"]
            else:
                assert (content, calls) == ('{"hours": 0}', [])
        assert told == ["response_format", None]
        assert len(b.engine.requests) == (6 if enforce else 2)


@pytest.mark.parametrize("stream", [False, True])
def test_a_typed_answer_is_all_content_and_the_thought_before_it_reasoning(stream: bool) -> None:
    with bench('Thought: It takes four.\nFinal Answer: {"hours": 4}') as b:
        request = {"model": "m", "messages": RESULTS, "tools": [WEATHER], "response_format": TYPED, "stream": stream}
        answer = httpx.post(f"{b.url}/v1/chat/completions", json=request).text
    lines = [line.removeprefix("data: ") for line in answer.splitlines() if line.startswith("data: {")]
    choices = [choice for event in map(json.loads, lines or [answer]) for choice in event["choices"]]
    said = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    assert "".join(each.get("content") or "" for each in said) == '{"hours": 4}'
    assert "".join(each.get("reasoning_content") or "" for each in said) == "It takes four."


def test_a_name_that_is_no_unicode_is_told_too() -> None:
    assert left_out_header(["f.properties.\ud800", "\udfffx", "é"]) == b"f.properties.%3F, %3Fx, %C3%A9"
