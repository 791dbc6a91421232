"""OpenAI's protocol to the letter: every chunk against the SDK's own types, cut answers, ids, and template roles."""

import json
from typing import Any

import httpx
import openai
import pytest
from asking import ANSWER, CALL, TWO, USER, WEATHER, Bench, bench, joined
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from callwright import dialects
from fakes import Raw, Text

TEXTS = {
    "a call": CALL,
    "two calls": TWO,
    "an answer": ANSWER,
    "prose": "Hello.",
    "nothing": "",
    "an unknown tool": 'Action: get_rain\nAction Input: {"city": "Paris"}',
    "an invented result": CALL + "\nObservation: x",
}


def raw_events(b: Bench, **changes: Any) -> list[Any]:
    body = {"model": "m", "messages": USER, "tools": [WEATHER], "stream": True} | changes
    text = httpx.post(f"{b.url}/v1/chat/completions", json=body).text
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("count", [1, 2])
def test_every_chunk_is_what_strict_clients_expect(text: str, count: int) -> None:
    with bench(text) as b:
        chunks = raw_events(b, n=count, stream_options={"include_usage": True})
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)
    assert {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        ("chatcmpl-1", "chat.completion.chunk", 1, "m")
    }
    assert chunks[-1]["choices"] == []
    for index in range(count):
        mine = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert all("role" not in choice["delta"] for choice in mine[1:])
        assert [choice["finish_reason"] is not None for choice in mine] == [False] * (len(mine) - 1) + [True]
        pieces = [call for choice in mine for call in choice["delta"].get("tool_calls", ())]
        seen: set[int] = set()
        for piece in pieces:
            first = piece["index"] not in seen
            seen.add(piece["index"])
            assert ("id" in piece, "type" in piece, "name" in piece["function"]) == (first,) * 3
        assert sorted(seen) == list(range(len(seen)))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_whole_answer_is_what_strict_clients_expect(text: str) -> None:
    with bench(text) as b:
        body = {"model": "m", "messages": USER, "tools": [WEATHER], "n": 2}
        answer = httpx.post(f"{b.url}/v1/chat/completions", json=body).json()
    ChatCompletion.model_validate_json(json.dumps(answer), strict=True)
    for choice in answer["choices"]:
        message = choice["message"]
        assert (choice["finish_reason"] == "tool_calls") == bool(message.get("tool_calls"))
        assert message.get("tool_calls") != []
        assert message["content"] != "" or text == ""


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_wherever_the_length_cuts_no_call_is_half(name: str) -> None:
    begin, end = dialects.load(name).call_frame("get_weather")
    text = f'{begin}{{"city": "Paris"}}{end}'
    with bench(lambda request: Text([text[: request["max_tokens"]]], finish="length"), dialects={"m": name}) as b:
        for length in range(1, len(text)):
            whole, message = b.ask(max_tokens=length).choices[0], joined(b.stream(max_tokens=length))
            assert (whole.finish_reason, message["finish"]) == ("length", "length")
            calls = [call.function.arguments for call in whole.message.tool_calls or ()]
            assert [call["arguments"] for call in message["calls"].values()] == calls
            assert all(json.loads(arguments) == {"city": "Paris"} for arguments in calls)
            assert not calls or length >= len(begin) + len('{"city": "Paris"}')


@pytest.mark.parametrize("asked", [{"tool_choice": "required"}, {"extra_body": {"eager_tool_calls": True}}])
def test_a_call_that_began_before_the_length_cut_it_does_not_pass_for_one(asked: dict[str, Any]) -> None:
    """Eager arguments can't be unsent: the finish reason says that they end early. A whole answer has no such call."""
    with bench(lambda request: Text([CALL[:-4]], finish="length")) as b:
        message, whole = joined(b.stream(**asked)), b.ask(**asked).choices[0]
    assert (message["finish"], whole.finish_reason) == ("length", "length")
    assert message["calls"][0]["arguments"] == '{"city": "Par'
    assert whole.message.tool_calls is None


def test_ids_are_unique_over_choices_and_requests() -> None:
    with bench(TWO) as b:
        ids = [c.id for _ in range(5) for choice in b.ask(n=3).choices for c in choice.message.tool_calls]
        for _ in range(5):
            chunks = b.stream(n=3)
            ids += [call["id"] for index in range(3) for call in joined(chunks, index)["calls"].values()]
    assert len(ids) == len(set(ids)) == 60


def test_strict_tools_are_enforced_and_may_stay_uncalled() -> None:
    strict = {"type": "function", "function": WEATHER["function"] | {"strict": True}}
    with bench(ANSWER) as b:
        assert b.ask(tools=[strict]).choices[0].finish_reason == "stop"
        b.ask(tools=[WEATHER])
    tag = json.loads(b.engine.requests[0]["structured_outputs"]["structural_tag"])
    assert tag["format"]["type"] == "triggered_tags"
    assert "structured_outputs" not in b.engine.requests[1]


def test_a_schema_that_the_engine_refuses_is_held_to_an_object() -> None:
    def engine(request: dict[str, Any]) -> Text | Raw:
        return Text([CALL]) if len(b.engine.requests) == 2 else Raw('{"error": {"message": "no"}}', 400)

    with bench(engine) as b:
        assert b.ask(tool_choice="required").choices[0].finish_reason == "tool_calls"
    asked = [request["structured_outputs"]["structural_tag"] for request in b.engine.requests]
    assert ['"city"' in tag for tag in asked] == [True, False]


@pytest.mark.parametrize("status", [401, 422, 429])
def test_another_refusal_is_not_asked_about_again(status: int) -> None:
    with bench(lambda request: Raw('{"error": {"message": "no"}}', status)) as b:
        with pytest.raises(openai.APIStatusError) as refused:
            b.ask(tool_choice="required")
        assert refused.value.status_code == status
        assert len(b.engine.requests) == 1


def test_seed_and_sampling_reach_the_engine() -> None:
    with bench(CALL) as b:
        b.ask(seed=7, temperature=0.5, max_completion_tokens=9, extra_body={"top_k": 3})
    (asked,) = b.engine.requests
    assert (asked["seed"], asked["temperature"], asked["max_completion_tokens"], asked["top_k"]) == (7, 0.5, 9, 3)


def test_a_refusal_is_an_openai_error_with_its_param() -> None:
    with bench(CALL) as b:
        for stream in (False, True):
            body = {"model": "m", "messages": USER, "tools": [WEATHER], "tool_choice": "always", "stream": stream}
            answer = httpx.post(f"{b.url}/v1/chat/completions", json=body)
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert (error["type"], error["param"]) == ("invalid_request_error", "tool_choice")
        unknown = httpx.post(f"{b.url}/v1/chat/completions", json=body | {"model": "x", "tool_choice": "auto"})
    assert unknown.status_code == 404
    assert unknown.json()["error"] | {"message": ""} == {
        "message": "", "type": "invalid_request_error", "param": "model", "code": "model_not_found",
    }  # fmt: skip
    assert b.engine.requests == []


# --- results as messages, and templates without a role for them ----------------------------------------------------

CALLED = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
SECOND = [
    *USER,
    {"role": "assistant", "content": None, "tool_calls": [CALLED]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]


def tokenizer(template: str) -> Any:
    """The engine's `/tokenize` for a template that knows, refuses or leaves out the role tool."""

    def tokenize(body: bytes) -> Raw:
        request = json.loads(body)
        roles = [message["role"] for message in request["messages"]]
        if template == "refuses" and "tool" in roles:
            return Raw('{"error": {"message": "conversation roles must alternate"}}', 400)
        shown = [m for m in request["messages"] if m["role"] != "tool" or template == "knows"]
        return Raw(json.dumps({"count": sum(len(m["content"].split()) for m in shown)}))

    return tokenize


@pytest.mark.parametrize(("template", "role"), [("knows", "tool"), ("refuses", "user"), ("leaves out", "user")])
def test_results_are_the_user_s_where_the_template_has_no_tool_role(template: str, role: str) -> None:
    with bench("Thought: done.", dialects={"m": "toolbench"}) as b:
        b.engine.others["/tokenize"] = tokenizer(template)
        for _ in range(2):
            b.ask(messages=SECOND)
    assert [[m["role"] for m in request["messages"]][-2:] for request in b.engine.requests] == [["assistant", role]] * 2
    assert b.engine.paths.count("/tokenize") == 2, "the engine is asked once, with each role"


def test_an_engine_that_does_not_say_gets_the_tool_role() -> None:
    with bench("Thought: done.", dialects={"m": "toolbench"}) as b:
        b.ask(messages=SECOND)
    assert b.engine.requests[0]["messages"][-1] == {"role": "tool", "content": "rain"}
