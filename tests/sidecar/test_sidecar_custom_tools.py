"""Custom tools of chat completions: a function with one text inside, and calls in the client's words again."""

import json
from typing import Any

import httpx
import openai
import pytest
from asking import CALL, USER, WEATHER, Bench, bench
from openai.types.chat import ChatCompletion

from fakes import Text

PATCH: Any = {"type": "custom", "custom": {"name": "patch", "description": "Edits files."}}
PATCHING = 'Action: patch\nAction Input: {"input": "+ a \\"b\\"\\n"}'
TWO_PATCHES = f"{PATCHING}\n{PATCHING.replace('+ a', '- c')}"
DIFF = '+ a "b"\n'


def inputs(b: Bench, stream: bool, **asked: Any) -> list[tuple[str, str]]:
    """Name and input or arguments of each call, as a client adds them up."""
    fields: dict[str, Any] = {"model": "m", "messages": USER, "tools": [PATCH, WEATHER]} | asked
    if not stream:
        raw = httpx.post(f"{b.url}/v1/chat/completions", json=fields).json()
        ChatCompletion.model_validate(raw, strict=True)
        calls = [call[call["type"]] for call in raw["choices"][0]["message"]["tool_calls"]]
        return [(call["name"], call.get("input", call.get("arguments"))) for call in calls]
    found: dict[int, list[str]] = {}
    finish = None
    with httpx.stream("POST", f"{b.url}/v1/chat/completions", json=fields | {"stream": True}) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            for choice in chunk["choices"]:
                assert finish is None, "a chunk after the finish reason"
                finish = choice["finish_reason"]
                for call in choice["delta"].get("tool_calls", ()):
                    told = call.get("custom") or call["function"]
                    assert "id" not in call or call["type"] == ("custom" if "custom" in call else "function")
                    known = found.setdefault(call["index"], ["", ""])
                    known[0] += told.get("name") or ""
                    known[1] += told.get("input") or told.get("arguments") or ""
    assert finish == "tool_calls"
    return [(name, text) for name, text in found.values()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_custom_tool_is_called_with_its_input(stream: bool, size: int) -> None:
    with bench(lambda request: Text([f"{TWO_PATCHES}\n{CALL}"], size=size)) as b:
        found = inputs(b, stream)
        demanded = inputs(b, stream, tool_choice="required")
    expected = [("patch", DIFF), ("patch", DIFF.replace("+ a", "- c")), ("get_weather", '{"city": "Paris"}')]
    assert found == demanded == expected
    shown = b.engine.requests[0]["messages"][0]["content"]
    assert "Edits files." in shown
    assert '"input"' in shown or "'input'" in shown


def test_an_earlier_call_of_a_custom_tool_goes_back() -> None:
    with bench(PATCHING) as b:
        message = b.ask(tools=[PATCH]).choices[0].message
        (call,) = message.tool_calls
        assert (call.type, call.custom.name, call.custom.input) == ("custom", "patch", DIFF)
        result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
        b.ask(tools=[PATCH], messages=[*USER, message.model_dump(exclude_none=True), result])
    assert b.engine.requests[1]["messages"][-1]["content"] == f"{PATCHING}\nObservation: done\n"


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "custom", "custom": {"name": "patch"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [PATCH]}},
    ],
)
def test_a_custom_tool_may_be_demanded(choice: Any) -> None:
    with bench(PATCHING) as b:
        assert inputs(b, False, tool_choice=choice) == [("patch", DIFF)]
    tag = b.engine.requests[0]["structured_outputs"]["structural_tag"]
    assert "patch" in tag
    assert "get_weather" not in tag


@pytest.mark.parametrize("nested", [False, True])
def test_a_grammar_of_a_custom_tool_is_held_or_told(nested: bool) -> None:
    for syntax, where in (("regex", None), ("lark", "tools[0].custom.format")):
        grammar = {"syntax": syntax, "definition": "[a-c]+"}
        form = {"type": "grammar"} | ({"grammar": grammar} if nested else grammar)
        tool = {"type": "custom", "custom": {"name": "patch", "format": form}}
        with bench('Action: patch\nAction Input: {"input": "a"}') as b:
            asked = {"model": "m", "messages": USER, "tools": [tool], "tool_choice": "required"}
            answer = httpx.post(f"{b.url}/v1/chat/completions", json=asked)
        held = json.dumps(b.engine.requests[0]["structured_outputs"])
        assert ("[a-c]+" in held) == (syntax == "regex")
        assert answer.headers.get("x-callwright-left-out") == where


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"type": "custom"}], "tools[0].custom.name"),
        ([{"type": "custom", "custom": {"name": 7}}], "tools[0].custom.name"),
        ([{"type": "custom", "custom": {"name": "a", "format": {"type": "x"}}}], "tools[0].custom.format"),
        ([{"type": "custom", "custom": {"name": "get_weather"}}, WEATHER], "tools[1].function.name"),
        ([{"type": "custom", "custom": {"name": "a\nb"}}], "tools[0].custom.name"),
        ([{"type": "web_search"}], "tools[0].type"),
    ],
)
def test_what_is_wrong_with_a_custom_tool_is_named(tools: Any, param: str) -> None:
    with bench(CALL) as b, pytest.raises(openai.BadRequestError) as refused:
        b.ask(tools=tools)
    assert refused.value.param == param


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_the_length_cut_has_the_input_so_far(stream: bool) -> None:
    """Where it is demanded, a stream's arguments have been sent."""
    with bench(lambda request: Text([PATCHING[:-6]], finish="length", size=5)) as b:
        fields: Any = {"tools": [PATCH], "tool_choice": "required"}
        if not stream:
            assert b.ask(**fields).choices[0].message.tool_calls is None
            return
        chunks = [chunk for chunk in b.stream(**fields) if chunk.choices]
    assert chunks[-1].choices[0].finish_reason == "length"
    told = [call.model_extra["custom"]["input"] for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    assert "".join(told).startswith('{"input": "+ a')
