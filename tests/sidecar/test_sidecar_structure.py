"""What the engine is held to, tried with the engine's own grammar compiler over every dialect."""

import json
from dataclasses import replace
from typing import Any

import pytest

from callwright import dialects
from callwright.dialects.types import accumulate
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.models import named_dialect
from callwright.sidecar.plan import make_plan
from callwright.sidecar.structural_tags import structural_tag
from callwright.store import Template

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


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
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


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_one_call_where_only_one_may_be(xgrammar: Any, name: str) -> None:
    dialect = dialects.load(name)
    two = call(dialect, "clock", "{}") * 2
    assert accepts(xgrammar, structural_tag(dialect, TOOLS, "required", single_call=False), two)
    assert not accepts(xgrammar, structural_tag(dialect, TOOLS, "required", single_call=True), two)
    named = structural_tag(dialect, TOOLS[1:], {"type": "function", "function": {"name": "clock"}}, single_call=False)
    assert accepts(xgrammar, named, call(dialect, "clock", "{}"))
    assert not accepts(xgrammar, named, two)


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_strict_tools_are_held_to_their_schema_and_nothing_else_is(xgrammar: Any, name: str) -> None:
    dialect = dialects.load(name)
    tag = structural_tag(dialect, TOOLS, "auto", single_call=False)
    assert accepts(xgrammar, tag, "Hello.")
    assert accepts(xgrammar, tag, "Well.\n" + call(dialect, "get_weather", '{"city": "Paris"}') + "and so on")
    assert accepts(xgrammar, tag, call(dialect, "clock", '{"whatever": 1}'))
    assert not accepts(xgrammar, tag, call(dialect, "get_weather", '{"days": 3}'))
    assert structural_tag(dialect, TOOLS[1:], "auto", single_call=False) is None
    assert structural_tag(dialect, TOOLS, "none", single_call=False) is None


ANSWER_SCHEMA = {
    "type": "object", "properties": {"sunny": {"$ref": "#/$defs/yes"}}, "required": ["sunny"],
    "additionalProperties": False, "$defs": {"yes": {"type": "boolean"}},
}  # fmt: skip
FORMATS: list[dict[str, Any]] = [
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "n", "schema": ANSWER_SCHEMA}},
    {"type": "structural_tag", "format": {"type": "const_string", "value": '{"sunny": true}'}},
]
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Is it sunny?"}], "tools": TOOLS}


def sent(name: str, **fields: Any) -> dict[str, Any]:
    """The request to the engine."""
    return make_plan(ASKED | fields, named_dialect(name), SidecarConfig()).body


def held(body: dict[str, Any]) -> dict[str, Any]:
    """What it holds the engine to, and nothing besides."""
    assert not body.get("response_format")
    assert list(body["structured_outputs"]) == ["structural_tag"]
    return dict(json.loads(body["structured_outputs"]["structural_tag"]))


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: str(format["type"]))
def test_with_a_form_of_the_answer_the_model_calls_or_answers_in_it(
    xgrammar: Any, name: str, format: dict[str, Any]
) -> None:
    dialect = dialects.load(name)
    tag = held(sent(name, response_format=format))
    before, after = dialect.answer_frame() if format["type"].startswith("json") else ("", "")
    answer = f'{before}{{"sunny": true}}{after}'
    weather = call(dialect, "get_weather", '{"city": "Paris"}')
    assert accepts(xgrammar, tag, answer)
    assert dialect.parse(answer, TOOLS).content == '{"sunny": true}'
    assert dialect.parse(answer, TOOLS).calls == ()
    assert accepts(xgrammar, tag, weather)
    assert accepts(xgrammar, tag, weather + call(dialect, "clock", "{}"))
    assert not accepts(xgrammar, tag, "It is sunny.")
    assert not accepts(xgrammar, tag, call(dialect, "get_weather", '{"days": 3}'))
    assert accepts(xgrammar, tag, f'{before}{{"rain": 1}}{after}') == (format["type"] == "json_object")
    single = held(sent(name, response_format=format, parallel_tool_calls=False))
    assert accepts(xgrammar, single, weather)
    assert not accepts(xgrammar, single, weather + call(dialect, "clock", "{}"))


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize("said", [" I look.", "", " I now know the final answer."])
def test_a_thought_that_the_dialect_marks_may_stand_before_a_call_and_a_typed_answer(
    xgrammar: Any, name: str, said: str
) -> None:
    plan = make_plan(ASKED | {"response_format": FORMATS[1]}, named_dialect(name), SidecarConfig())
    tag = held(plan.body)
    begin, end = plan.dialect.thought_frame()
    line = f"{begin}{said}{end}" if begin else ""
    before, after = plan.dialect.answer_frame()
    answer, weather = f'{before}{{"sunny": true}}{after}', call(plan.dialect, "get_weather", '{"city": "Paris"}')
    assert accepts(xgrammar, tag, line + answer)
    assert accepts(xgrammar, tag, line + weather)
    assert not accepts(xgrammar, tag, f"{line}It is sunny.")
    if begin:
        assert not accepts(xgrammar, tag, f"{begin}{said}{answer}")
        assert not accepts(xgrammar, tag, f"{line}{line}{answer}")
        assert not accepts(xgrammar, tag, f"{begin}{'x' * 1001}{end}{answer}")
    for text, content, calls in ((answer, '{"sunny": true}', []), (weather, None, ["get_weather"])):
        for size in (1, 3, 7, 1000):
            parser = plan.parser()
            pieces = [(line + text)[n : n + size] for n in range(0, len(line + text), size)]
            turn = accumulate([delta for piece in pieces for delta in parser.feed(piece)] + parser.close())
            assert (turn.content, [each.name for each in turn.calls]) == (content, calls)
            assert turn.thought == (said.strip() or None if begin else None)


def test_a_thought_that_never_ends_is_one_and_what_only_begins_like_one_is_none() -> None:
    plan = make_plan(ASKED | {"response_format": FORMATS[1]}, named_dialect("react_en"), SidecarConfig())
    for text, thought, content in (("Thought: I lo", "I lo", None), ("Thou", None, "Thou"), ("", None, None)):
        parser = plan.parser()
        turn = accumulate([*parser.feed(text), *parser.close(cut=True)])
        assert (turn.thought, turn.content) == (thought, content)


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ({"json": ANSWER_SCHEMA}, '{"sunny": true}'),
        ({"json": json.dumps(ANSWER_SCHEMA), "regex": None}, '{"sunny": true}'),
        ({"json_object": True}, '{"sunny": true}'),
        ({"regex": "ye[sp]"}, "yep"),
        ({"choice": ["yes", "no"]}, "no"),
        ({"structural_tag": json.dumps(FORMATS[2])}, '{"sunny": true}'),
    ],
    ids=["json", "json as text", "json_object", "regex", "choice", "structural_tag"],
)
def test_beside_tools_a_form_in_the_engine_s_own_field_is_one_of_the_answer_too(
    xgrammar: Any, name: str, outputs: dict[str, Any], answer: str
) -> None:
    dialect = dialects.load(name)
    tag = held(sent(name, structured_outputs=outputs))
    before, after = dialect.answer_frame() if "json" in "".join(outputs) else ("", "")
    assert accepts(xgrammar, tag, before + answer + after)
    assert dialect.parse(before + answer + after, TOOLS).content == answer
    assert accepts(xgrammar, tag, call(dialect, "clock", "{}"))
    assert not accepts(xgrammar, tag, "It is sunny.")


def test_older_engines_fields_are_read_as_today_s() -> None:
    for kind, value in (("json", ANSWER_SCHEMA), ("regex", "ye[sp]"), ("choice", ["yes", "no"])):
        today, older = sent("hermes", structured_outputs={kind: value}), sent("hermes", **{f"guided_{kind}": value})
        assert older == today
        plan = make_plan(ASKED | {f"guided_{kind}": value}, named_dialect("hermes"), SidecarConfig(enforce=False))
        assert (plan.waits, f"guided_{kind}" in plan.body) == (f"guided_{kind}", False)


RESULT: list[dict[str, Any]] = [
    *ASKED["messages"],
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "clock"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "noon"},
]
FIELDS: list[dict[str, Any]] = [{"response_format": form} for form in FORMATS]
FIELDS += [{"structured_outputs": {"json": ANSWER_SCHEMA}}, {"structured_outputs": {"choice": ["yes", "no"]}}]


def forms_of(body: dict[str, Any]) -> dict[str, Any]:
    return {key: body[key] for key in ("response_format", "structured_outputs") if body.get(key) is not None}


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_where_the_engine_cannot_tell_calls_from_answers_the_form_waits_for_results(
    name: str, fields: dict[str, Any]
) -> None:
    model, free = named_dialect(name), SidecarConfig(enforce=False)
    (waits,) = fields
    asked = {"first": ASKED, "results": ASKED | {"messages": RESULT}}
    asked["a question after results"] = ASKED | {"messages": [*RESULT, ASKED["messages"][0]]}
    for when, request in asked.items():
        told = fields if when == "results" else {}
        plan = make_plan(request | fields, model, free)
        assert (forms_of(plan.body), plan.waits) == (told, None if told else waits), when
        held_to = make_plan(request | fields, model, SidecarConfig())
        assert list(forms_of(held_to.body)) == ["structured_outputs"]
        assert (forms_of(held_to.fallbacks[-1]), held_to.waits) == (told, None if told else waits), when
    for choice in ({"tool_choice": "none"}, {"tools": None}):
        plan = make_plan(ASKED | fields | choice, model, free)
        assert (forms_of(plan.body), plan.waits) == (fields, None)
    text = make_plan(ASKED | {"response_format": {"type": "text"}}, model, free)
    assert (forms_of(text.body), text.waits) == ({"response_format": {"type": "text"}}, None)


LEGACY = {"type": "structural_tag", "structures": [], "triggers": []}
NAMED = {"type": "function", "function": {"name": "clock"}}


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_demanded_call_is_the_same_whatever_form_an_answer_would_have(name: str, choice: Any) -> None:
    alone = held(sent(name, tool_choice=choice))
    for form in ({"type": "text"}, *FORMATS, LEGACY):
        assert held(sent(name, tool_choice=choice, response_format=form)) == alone
    assert held(sent(name, tool_choice=choice, structured_outputs={"choice": ["yes", "no"]})) == alone


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_text_is_no_form_of_an_answer(name: str) -> None:
    for fields in ({}, {"tool_choice": "required"}, {"tool_choice": NAMED}, {"tools": TOOLS[1:]}):
        alone, beside = sent(name, **fields), sent(name, **fields, response_format={"type": "text"})
        assert alone.get("structured_outputs") == beside.get("structured_outputs")
        assert ("structured_outputs" in alone) == (fields != {"tools": TOOLS[1:]})


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_a_form_stands_alone_where_nothing_can_be_called_and_where_only_the_engine_can_read_it(name: str) -> None:
    called = [
        *ASKED["messages"],
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "clock"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]
    for form in FORMATS:
        assert sent(name, response_format=form, tool_choice="none")["response_format"] == form
        body = sent(name, response_format=form, tools=None, messages=called)
        assert (body["response_format"], "structured_outputs" in body) == (form, False)
    for fields in (
        {"response_format": LEGACY},
        {"structured_outputs": {"grammar": 'root ::= "a"'}},
        {"structured_outputs": {"json": ANSWER_SCHEMA, "whitespace_pattern": " "}},
        {"response_format": FORMATS[0], "structured_outputs": {"choice": ["yes", "no"]}},
    ):
        body = make_plan(ASKED | fields, named_dialect(name), SidecarConfig(client_grammars=True)).body
        assert {key: body[key] for key in ("response_format", "structured_outputs") if key in body} == fields


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_a_think_block_that_the_prompt_has_opened_ends_before_what_is_demanded(xgrammar: Any, name: str) -> None:
    template = Template(sha256="", tool_role=True, shows_reasoning=True, opens_reasoning=True)
    model = replace(named_dialect(name), template=template)
    asked = {"model": "m", "messages": [{"role": "user", "content": "q"}], "tools": TOOLS, "tool_choice": "required"}
    plan = make_plan(asked, model, SidecarConfig())
    assert plan.opened
    for body in (plan.body, *plan.fallbacks):
        tag = json.loads(body["structured_outputs"]["structural_tag"])
        made = call(plan.dialect, "get_weather", '{"city": "Paris"}')
        text = f"I <think> of {made}\n</think>\n\n{made}"
        assert accepts(xgrammar, tag, text)
        assert not accepts(xgrammar, tag, made)
        assert not accepts(xgrammar, tag, f"So.\n</think>\n\nHello. {made}")
        turn = plan.dialect.parse(text, TOOLS, opened=True)
        assert (turn.content, [each.name for each in turn.calls]) == (None, ["get_weather"])
    form = {"response_format": {"type": "json_object"}, "tool_choice": "none"}
    assert not make_plan(asked | form, model, SidecarConfig()).opened  # the engine writes the form and nothing else
    assert make_plan(
        asked | {"response_format": {"type": "text"}, "tool_choice": "auto"}, model, SidecarConfig()
    ).opened


@pytest.mark.parametrize("name", dialects.NAMES)
def test_within_an_opened_think_block_no_try_holds_the_engine_to_the_form_at_once(name: str) -> None:
    template = Template(sha256="", tool_role=True, shows_reasoning=True, opens_reasoning=True, resumes_reasoning=True)
    model = replace(named_dialect(name), template=template)
    told = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [told]},
        {"role": "tool", "tool_call_id": "c", "content": "noon"},
    ]
    asked = {"model": "m", "messages": messages, "tools": TOOLS[1:], "response_format": {"type": "json_object"}}
    plan = make_plan(asked, model, SidecarConfig())
    if plan.opened:
        for body in (plan.body, *plan.fallbacks):
            assert "response_format" not in body
    before = make_plan(asked | {"messages": messages[:1]}, model, SidecarConfig())
    assert len(before.fallbacks) == len(plan.fallbacks) + plan.opened
    assert all("response_format" not in body for body in before.fallbacks)
