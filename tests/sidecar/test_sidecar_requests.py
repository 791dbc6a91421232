"""What the sidecar refuses, and how: the right status, the field at fault, and never a failure of its own."""

import json
import random
from typing import Any

import pytest
from bending import GOOD, MESSAGES, RESPONSES, TOOL, bend

from callwright import dialects
from callwright.errors import InvalidInput
from callwright.sidecar import chat_request
from callwright.sidecar.apis import Api, ChatCompletions, Messages, Responses
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused, error_response
from callwright.sidecar.models import named_dialect
from callwright.sidecar.plan import ChatPlan, make_plan

CONFIG = SidecarConfig(max_tools=4, max_schema_depth=6)


def plan(request: dict[str, Any], dialect: str = "react_en") -> ChatPlan:
    return make_plan(request, named_dialect(dialect), CONFIG)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"tools": "f"}, "tools"),
        ({"tools": [TOOL] * 5}, "tools"),
        ({"tools": [7]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a\nb"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "custom", "function": {"name": "a"}}]}, "tools[0].type"),
        ({"tools": [{"function": {"name": "a", "parameters": "x"}}]}, "tools[0].function.parameters"),
        (
            {"tools": [{"function": {"name": "a", "parameters": {"a": [[[[[[[1]]]]]]]}}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": 3}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tool_choice": "required", "tools": None}, "tool_choice"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, None),
        ({"stream_options": "usage"}, "stream_options"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", None]}, "stop"),
        ({"eager_tool_calls": 1}, "eager_tool_calls"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}, "tool_choice": "required"}, "response_format"),
    ],
)
def test_a_refusal_names_the_field(change: dict[str, Any], param: str | None) -> None:
    if param is None:
        plan(GOOD | change)
        return
    with pytest.raises(Refused) as refused:
        plan(GOOD | change)
    assert refused.value.param == param
    status, _, body = error_response(refused.value)
    assert status == 400
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'"x"', b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe"])
def test_no_json_object(body: bytes) -> None:
    with pytest.raises(Refused, match="body"):
        chat_request.parse(body)


def test_a_demand_without_tools() -> None:
    chat_request.check_without_tools({"tool_choice": "auto"})
    chat_request.check_without_tools({"tool_choice": "none"})
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        with pytest.raises(Refused) as refused:
            chat_request.check_without_tools({"tool_choice": choice})
        assert refused.value.param == "tool_choice"


def test_nothing_of_ours_reaches_the_engine() -> None:
    made = plan(
        GOOD | {"functions": None, "tools_prompt": "react_en", "eager_tool_calls": True, "seed": 3, "user": "u"}
    )
    assert set(made.body) == {"model", "messages", "stream", "stop", "n", "seed", "user"} | {
        "continue_final_message", "add_generation_prompt",
    }  # fmt: skip
    assert made.eager


@pytest.mark.parametrize("dialect", ["react_en", "react_zh", "toolbench", "ms_agent", "agentfabric", "hermes"])
def test_ten_thousand_bent_requests(dialect: str) -> None:
    """Each is planned or refused with a status below 500, quickly, whatever stands where."""
    chance = random.Random(f"bent {dialect}")
    refused = 0
    for _ in range(1_700):
        bent = json.loads(json.dumps(GOOD))
        for _ in range(chance.randint(1, 4)):
            bend(bent, chance)
        try:
            request = chat_request.parse(json.dumps(bent).encode())
            if chat_request.needs_dialect(request):
                json.dumps(plan(request, dialect).body)
        except InvalidInput:
            refused += 1
    assert 100 < refused < 1_700


PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "a"}, {"type": "reasoning", "text": "NO", "summary": []},
    {"type": "input_text", "text": "b"}, {"type": "thinking", "thinking": "NO", "signature": "s"},
    {"type": "output_text", "text": "c"}, {"type": "redacted_thinking", "data": "NO"},
    {"type": "refusal", "refusal": "d"}, {"type": "tool_reference", "tool_name": "NO"},
    {"type": "reasoning_content", "reasoning_content": {"text": "NO"}}, {"type": "thought", "text": "NO"},
]  # fmt: skip
NO_TEXT: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": "x"}}, {"type": "input_audio", "input_audio": {}},
    {"type": "file", "file": {}}, {"type": "document", "source": {"type": "text", "data": "x"}},
    {"type": "image", "source": {}}, {"type": "input_image"}, {"type": "hologram", "text": "x"}, {"type": "text"},
]  # fmt: skip


APIS: dict[str, tuple[type[Api], dict[str, Any]]] = {
    "chat": (ChatCompletions, GOOD), "messages": (Messages, MESSAGES), "responses": (Responses, RESPONSES),
}  # fmt: skip


def conversation(path: str, role: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """A request of one API, with the content in a message of the role, or in a call's result."""
    api, good = APIS[path]
    asked = json.loads(json.dumps(good)) | {"stream": False}
    if role != "tool":
        turn = {"role": role, "content": parts}
        key = "input" if api is Responses else "messages"
        return asked | {key: [turn] if api is Messages else [turn, *asked[key]]}
    match api():
        case ChatCompletions():
            asked["messages"][-1]["content"] = parts
        case Messages():
            asked["messages"][-1]["content"][0]["content"] = parts
        case _:
            asked["input"][-1]["output"] = parts
    return dict(asked)


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_content_is_its_text_and_nothing_else(path: str, role: str) -> None:
    api, _ = APIS[path]
    for dialect in dialects.TEXT_NAMES:
        chat = api().chat_request(conversation(path, role, PARTS))
        assert chat is not None
        messages = plan(chat, dialect).body["messages"]
        written = json.dumps([message["content"] for message in messages])
        is_told = role == "assistant" and path != "responses"  # as reasoning
        is_marked = bool(dialects.load(dialect).thought_frame()[0])
        assert ("abcd" in written, "NO" in written) == (True, is_told and is_marked)
        assert ("NO" in json.dumps(messages)) == is_told
    for part in NO_TEXT:
        asked = conversation(path, role, [PARTS[0], part])
        with pytest.raises(Refused, match=f"{part['type']}'; only text") as refused:
            plan(api().chat_request(asked) or {})
        assert str(refused.value.param).endswith("[1]")


UNKNOWN: dict[str, Any] = {
    "client_metadata": {"a": "b"}, "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    "metadata": {"user_id": "u"}, "store": True, "service_tier": "auto", "prompt_cache_key": "k", "betas": ["x"],
    "safety_identifier": "s", "truncation": "auto", "include": ["reasoning.encrypted_content"], "speed": "fast",
    "max_tool_calls": 3, "moderation": {"model": "m"}, "a_field_of_next_year": [1],
}  # fmt: skip


@pytest.mark.parametrize("path", ["messages", "responses"])
def test_fields_that_are_not_known_are_left_out(path: str) -> None:
    api, good = APIS[path]
    assert api().chat_request(good | UNKNOWN) == api().chat_request(good)


@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        ("messages", {"thinking": {"type": "adaptive"}}, {}),
        ("messages", {"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"thinking_token_budget": 2048}),
        ("messages", {"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ("responses", {"reasoning": {"effort": "high", "summary": "auto"}}, {"reasoning_effort": "high"}),
        ("responses", {"reasoning": {"summary": "auto"}}, {}),
        ("responses", {"reasoning": None, "session_id": "s"}, {"session_id": "s"}),
        ("messages", {"kv_transfer_params": {"a": 1}, "watermarking": True}, {"kv_transfer_params": {"a": 1}}),
    ],
)
def test_how_much_a_model_is_to_think_is_told_as_the_engine_takes_it(
    path: str, fields: dict[str, Any], told: dict[str, Any]
) -> None:
    api, good = APIS[path]
    made, before = api().chat_request(good | fields), api().chat_request(good)
    assert made is not None
    assert before is not None
    assert {key: value for key, value in made.items() if key not in before and key != "watermarking"} == told


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_budget_of_thoughts_is_dropped_where_the_engine_refuses_it(choice: str) -> None:
    made = plan(GOOD | {"thinking_token_budget": 2048, "tool_choice": choice})
    assert made.body["thinking_token_budget"] == 2048
    (loose,) = made.fallbacks
    assert "thinking_token_budget" not in loose
    assert ("structured_outputs" in loose) == (choice == "required")


@pytest.mark.parametrize("dialect", ["react_en", "ms_agent", "hermes"])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_tools_in_other_apis_words_are_served_as_they_are_trained(dialect: str, choice: str) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    named = {"name": "get_weather", "description": "The weather"}
    usual = {"type": "function", "function": {**named, "parameters": schema}}
    expected = plan(GOOD | {"tools": [usual], "tool_choice": choice}, dialect)
    for function in ({**named, "input_schema": schema}, {**named, "inputSchema": schema}):
        for tool in (function, {"type": "function", "function": function}):
            assert plan(GOOD | {"tools": [tool], "tool_choice": choice}, dialect) == expected


@pytest.mark.parametrize("content", [None, "", []])
def test_a_result_may_say_nothing(content: object) -> None:
    asked = json.loads(json.dumps(MESSAGES))
    asked["messages"][-1]["content"][0]["content"] = content
    made = Messages().chat_request(asked)
    assert made is not None
    assert made["messages"][-1] == {"role": "tool", "tool_call_id": "1", "content": ""}


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"metadata": {"a": "b"}, "store": True, "service_tier": "flex"}, ["metadata", "service_tier", "store"]),
        ({"prediction": {"type": "content", "content": "x"}, "verbosity": "low"}, ["prediction", "verbosity"]),
        ({"web_search_options": {}}, ["web_search_options"]),
        ({"messages": [{"role": "user", "name": "bob", "content": "x"}]}, ["messages.name"]),
        ({"modalities": ["text"], "user": "u", "seed": 1, "n": 2, "logprobs": True, "stop": ["a"]}, []),
        ({"metadata": None, "audio": None, "functions": [], "function_call": "auto"}, []),
    ],
)
def test_fields_without_an_effect_are_named(fields: dict[str, Any], left_out: list[str]) -> None:
    api = ChatCompletions()
    made = api.chat_request(GOOD | fields)
    assert made is not None
    assert (api.left_out, api.unknown) == (left_out, [])
    assert not {key for key in left_out if key in made}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": "audio"}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"function_call": "none"}, "function_call"),
        (
            {"tools": [], "messages": [{"role": "user", "content": "x"}], "function_call": {"name": "f"}},
            "function_call",
        ),
        ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1].type"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "nobody"}}}, "tool_choice"),
        ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "messages[0].audio"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        plan(ChatCompletions().chat_request(GOOD | fields) or {})
    assert refused.value.param == param


def test_a_refusal_of_an_earlier_turn_is_what_it_said() -> None:
    said = {"role": "assistant", "content": None, "refusal": "I won't."}
    messages = plan(GOOD | {"messages": [{"role": "user", "content": "x"}, said]}).body["messages"]
    assert messages[-1]["content"].endswith("I won't.")


def test_unknown_fields_of_a_chat_go_on_to_the_engine_and_are_told_apart() -> None:
    api = ChatCompletions()
    made = api.chat_request(GOOD | {"a_field_of_next_year": [1], "min_p": 0.1, "echo": False, "nothing": None})
    assert made is not None
    assert (made["a_field_of_next_year"], api.unknown, api.left_out) == ([1], ["a_field_of_next_year"], [])
