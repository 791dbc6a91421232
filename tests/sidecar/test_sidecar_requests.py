"""What the sidecar refuses, and how: the right status, the field at fault, and never a failure of its own."""

import json
import random
from typing import Any

import pytest
from bending import GOOD, TOOL, bend

from callwright.errors import InvalidInput
from callwright.sidecar import chat_request
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused, error_response
from callwright.sidecar.models import named_dialect
from callwright.sidecar.plan import ChatPlan, make_plan

CONFIG = SidecarConfig(max_messages=8, max_tools=4, max_schema_depth=6)


def plan(request: dict[str, Any], dialect: str = "react_en") -> ChatPlan:
    return make_plan(request, named_dialect(dialect), CONFIG)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": GOOD["messages"] * 3}, "messages"),
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
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 1000}, "n"),
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
        body = json.dumps(bent).encode()
        try:
            request = chat_request.parse(body)
            assert chat_request.may_need_dialect(body) or not chat_request.needs_dialect(request)
            if chat_request.needs_dialect(request):
                json.dumps(plan(request, dialect).body)
        except InvalidInput:
            refused += 1
    assert 100 < refused < 1_700
