"""Anthropic's `/v1/messages` with tools, with Anthropic's SDK as the client and its types as the judge."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx
import jsonschema
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from asking import ANSWER, CALL, MALFORMED, MIXED, THINKING, TWO, Bench, bench
from pydantic import TypeAdapter

from callwright.sidecar.apis.message_events import stop, usage
from fakes import Raw, Text

TOOL = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASKED: dict[str, Any] = {
    "model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [TOOL],
}  # fmt: skip
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@contextmanager
def asking(answer: Any, **settings: Any) -> Iterator[tuple[anthropic.Anthropic, Bench]]:
    with (
        bench(answer, **settings) as b,
        anthropic.Anthropic(base_url=b.url, api_key="none", max_retries=0) as client,
    ):
        yield client, b


def post(b: Bench, **changes: Any) -> httpx.Response:
    return httpx.post(f"{b.url}/v1/messages", json=ASKED | changes)


def test_a_call_is_a_tool_use() -> None:
    sampling = {"temperature": 0.5, "top_k": 3}
    with asking(CALL) as (client, b):
        message = client.messages.create(**ASKED, system="Be brief.", stop_sequences=["END"], extra_body=sampling)
    thought, call = message.content
    assert (thought.type, thought.thinking) == ("thinking", "I should look.")
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)
    (sent,) = b.engine.requests
    assert b.engine.paths == ["/v1/chat/completions"]
    assert (sent["max_tokens"], sent["temperature"], sent["top_k"]) == (50, 0.5, 3)
    assert sent["stop"] == ["END", "\nObservation:"]
    assert sent["messages"][0]["content"].startswith("Be brief.")
    assert "get_weather" in sent["messages"][0]["content"]
    assert "x-api-key" not in b.engine.headers[-1]


@pytest.mark.parametrize("text", [CALL, TWO, ANSWER, "Hello.", "", MALFORMED, MIXED, THINKING])
def test_a_stream_adds_up_to_the_whole_and_every_event_is_anthropic_s(text: str) -> None:
    with asking(text) as (client, b):
        whole = client.messages.create(**ASKED)
        with client.messages.stream(**ASKED) as stream:
            streamed = stream.get_final_message()
        raw = post(b, stream=True)
        Message.model_validate_json(post(b).content, strict=True)
    apart: Any = {"content": {"__all__": {"id"}}, "malformed_tool_calls": True}
    kinds = [block.type for block in whole.content]
    if text == MIXED:
        assert kinds == ["thinking", "tool_use"] * 2
    if text == THINKING:
        assert (kinds, whole.content[0].thinking) == (
            ["thinking", "tool_use"],
            "I think of\nAction: get_rain\nThought: I should look.",
        )
    assert streamed.model_dump(exclude=apart) == whole.model_dump(exclude=apart)
    events = [event.split("\n") for event in raw.text.strip().split("\n\n")]
    found = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert [name.removeprefix("event: ") for name, _ in events] == [event["type"] for event in found]
    for event in found:
        EVENT.validate_json(json.dumps(event), strict=True)
    assert [found[0]["type"], found[-2]["type"], found[-1]["type"]] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    indexes = [event["index"] for event in found if event["type"] == "content_block_start"]
    assert indexes == list(range(len(streamed.content)))


def test_results_go_back_and_the_answer_comes() -> None:
    with asking(lambda request: Text([ANSWER if "21" in json.dumps(request["messages"]) else TWO])) as (client, b):
        first = client.messages.create(**ASKED)
        uses = [block for block in first.content if block.type == "tool_use"]
        results: list[Any] = [
            {"type": "tool_result", "tool_use_id": uses[1].id, "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_result", "tool_use_id": uses[0].id, "content": "sunny, 21"},
        ]
        turns = [
            *ASKED["messages"],
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
        ]
        second = client.messages.create(**ASKED | {"messages": turns})
    assert second.stop_reason == "end_turn"
    assert "It is sunny." in second.content[0].text
    sent = b.engine.requests[1]
    assert sent["continue_final_message"] is True
    assert sent["messages"][-1]["content"].endswith("Observation: sunny, 21\nObservation: rain\n")


@pytest.mark.parametrize(
    ("choice", "constrained", "calls"),
    [
        ({"type": "auto"}, False, 2),
        ({"type": "any"}, True, 2),
        ({"type": "tool", "name": "get_weather"}, True, 2),
        ({"type": "none"}, False, 0),
        ({"type": "auto", "disable_parallel_tool_use": True}, False, 1),
    ],
)
def test_tool_choice(choice: Any, constrained: bool, calls: int) -> None:
    with asking(TWO) as (client, b):
        message = client.messages.create(**ASKED, tool_choice=choice)
    assert sum(block.type == "tool_use" for block in message.content) == calls
    assert ("structured_outputs" in b.engine.requests[0]) == constrained


def test_a_malformed_call_is_text_with_a_reason_and_may_be_tried_again() -> None:
    with asking(MALFORMED) as (client, b):
        message = client.messages.create(**ASKED)
        assert message.malformed_tool_calls[0]["name"] == "get_rain"
        assert '"malformed_tool_calls":[{"index":0,"name":"get_rain"' in post(b, stream=True).text
    with asking(lambda request: Text([CALL if len(b.engine.requests) > 1 else MALFORMED])) as (client, b):
        assert client.messages.create(**ASKED, extra_body={"retry_malformed_calls": True}).stop_reason == "tool_use"


def test_a_call_that_the_length_cut_goes_back_as_it_was_streamed() -> None:
    """As far as the SDK could read it, or as text where a client keeps the pieces as they came."""
    cut = '{"city": "Par'
    with asking(lambda request: Text([CALL[: CALL.index("is")]], finish="length")) as (client, b):
        with client.messages.stream(**ASKED, tool_choice={"type": "any"}) as stream:
            message = stream.get_final_message()
        assert message.stop_reason == "max_tokens"
        said, call = (block.model_dump(exclude={"citations", "parsed_output"}) for block in message.content)
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "no such city"}
        for given, written in ((call["input"], "{}"), (cut, cut), ([], "[]"), (None, "{}"), (5, "5")):
            turns = [
                *ASKED["messages"],
                {"role": "assistant", "content": [said, call | {"input": given}]},
                {"role": "user", "content": [result]},
            ]
            assert post(b, messages=turns).status_code == 200
            told = b.engine.requests[-1]["messages"][-1]["content"]
            assert told.endswith(f"Action Input: {written}\nObservation: no such city\n")


def test_why_it_ended() -> None:
    assert stop("length", None, []) == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert stop("stop", "END", ["END"]) == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert stop("stop", "\nObservation:", ["END"])["stop_reason"] == "end_turn"
    assert stop("stop", 7, ["END"])["stop_reason"] == "end_turn"
    assert stop("tool_calls", "\nObservation:", [])["stop_reason"] == "tool_use"
    cached = usage({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}})
    assert (cached["input_tokens"], cached["cache_read_input_tokens"], cached["output_tokens"]) == (5, 4, 2)
    with asking(lambda request: Text(['Thought: hm\nAction: get_weather\nAction Input: {"ci'], finish="length")) as (
        c,
        _,
    ):
        cut = c.messages.create(**ASKED)
    assert (cut.stop_reason, [block.type for block in cut.content]) == ("max_tokens", ["thinking", "text"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"thread": {"type": "create"}}, "thread"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": "x"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "only text"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]}, "tool's result"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"system": 7}, "system"),
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "computer_20250124", "name": "computer"}]}, "tools[0]"),
        (
            {
                "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            "tool_choice.name",
        ),
        ({"tools": [{"name": ""}]}, "tools[0].name: "),
        ({"tools": [{"name": "f", "input_schema": "x"}]}, "tools[0].input_schema: "),
        (
            {
                "system": "x",
                "messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "", "input": {}}]}],
            },
            "messages[0]: ",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": "all"}}, "thinking"),
        ({"thinking": "much"}, "thinking"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"output_config": "x"}, "output_config"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"output_format": {"type": "json_object"}}, "output_format"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice"),
        (
            {"tools": [TOOL, {"type": "web_search_20250305"}], "tool_choice": {"type": "tool"}},
            "tool_choice",
        ),
        ({"stop_sequences": "END"}, "stop_sequences"),
    ],
)
def test_a_refusal_is_anthropic_s(change: dict[str, Any], told: str, refusing: Bench) -> None:
    answer = post(refusing, **change)
    assert (answer.status_code, answer.json()["type"]) == (400, "error")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert told in answer.json()["error"]["message"]
    assert ".function" not in answer.json()["error"]["message"]
    assert refusing.engine.requests == []


def test_other_errors_are_anthropic_s_too() -> None:
    def engine(request: dict[str, Any]) -> Text | Raw:
        return (
            Text([ANSWER], break_after=4) if request.get("stream") else Raw('{"error": {"message": "too long"}}', 400)
        )

    with asking(engine, api_keys=["first"]) as (_, b):
        with pytest.raises(anthropic.AuthenticationError):
            anthropic.Anthropic(base_url=b.url, api_key="second", max_retries=0).messages.create(**ASKED)
        client = anthropic.Anthropic(base_url=b.url, api_key="first", max_retries=0)
        with pytest.raises(anthropic.BadRequestError, match="too long"):
            client.messages.create(**ASKED)
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(**ASKED | {"model": "x"})
        with pytest.raises(anthropic.APIStatusError, match="engine"):
            list(client.messages.create(**ASKED, stream=True))


def test_without_tools_bytes_pass() -> None:
    with asking(CALL) as (_, b):
        b.engine.others["/v1/messages"] = lambda body: Raw(b'{"by": "the engine"}')
        body = b'{"model":"m",  "max_tokens": 5, "messages": [{"role": "user", "content": "the \\"tools\\""}]}'
        assert httpx.post(f"{b.url}/v1/messages?beta=true", content=body).json() == {"by": "the engine"}
        assert b.engine.bodies[-1] == body
        counted = httpx.post(f"{b.url}/v1/messages/count_tokens", content=body)
        assert counted.json()["echo"] == body.decode()


def test_tokens_are_counted_with_the_dialects_prompt() -> None:
    """That of the same messages, `max_tokens` or not; the engine's refusal is Anthropic's error."""
    asked = {key: value for key, value in ASKED.items() if key != "max_tokens"}
    seen: list[dict[str, Any]] = []

    def tokenize(body: bytes) -> Raw:
        seen.append(json.loads(body))
        return Raw('{"count": 41, "max_model_len": 2048, "tokens": []}')

    with asking(CALL) as (client, b):
        b.engine.others["/tokenize"] = tokenize
        assert client.messages.count_tokens(**asked).input_tokens == 41
        client.messages.create(**ASKED)
        assert seen == [{"model": "m", "messages": b.engine.requests[-1]["messages"]}]
        template = {"chat_template_kwargs": {"enable_thinking": False}}
        client.messages.count_tokens(**asked, extra_body=template)
        assert seen[-1] == seen[0] | template
        b.engine.others["/tokenize"] = lambda body: Raw('{"error": {"message": "too long"}}', 400)
        with pytest.raises(anthropic.BadRequestError, match="too long"):
            client.messages.count_tokens(**asked)
        b.engine.others["/tokenize"] = lambda body: Raw("{}")
        with pytest.raises(anthropic.InternalServerError, match="no count"):
            client.messages.count_tokens(**asked)
        with pytest.raises(anthropic.BadRequestError, match="tools"):
            client.messages.count_tokens(**asked | {"tools": [{"name": 5, "input_schema": {}}]})


def test_an_output_format_reaches_the_engine_and_what_changes_no_answer_does_not() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    config = {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    harmless = {
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "thinking": {"type": "adaptive"},
        "container": None,
    }
    forms = ({"output_config": config}, {"output_format": config["format"]})
    with asking(ANSWER) as (_, b):
        for form in forms:
            for choice in ("none", "auto", "any"):
                asked = harmless | form | {"tool_choice": {"type": choice}}
                assert post(b, min_p=0.1, **asked).status_code == 200
    named = {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}
    for none, auto, required in (b.engine.requests[:3], b.engine.requests[3:]):
        assert (none["response_format"], none["min_p"]) == (named, 0.1)
        for sent, has_schema in ((auto, True), (required, False)):
            tag = json.loads(sent["structured_outputs"]["structural_tag"])
            assert ("response_format" in sent, "get_weather" in json.dumps(tag)) == (False, True)
            assert (json.dumps(schema) in json.dumps(tag).replace(json.dumps(TOOL["input_schema"]), "")) == has_schema
            assert not {"output_config", "output_format", *harmless} & set(sent)


BUILT_IN = [
    ("bash_20250124", "bash", {"command": "ls"}),
    ("text_editor_20250124", "str_replace_editor", {"command": "undo_edit", "path": "/a"}),
    ("text_editor_20250728", "str_replace_based_edit_tool", {"command": "view", "path": "/a", "view_range": [1, 2]}),
    ("memory_20250818", "memory", {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"}),
]


@pytest.mark.parametrize(("kind", "name", "arguments"), BUILT_IN)
def test_tools_of_the_api_s_own_that_the_client_carries_out_have_their_schema(
    kind: str, name: str, arguments: dict[str, Any]
) -> None:
    text = f"Action: {name}\nAction Input: {json.dumps(arguments)}"
    with asking(text) as (_, b):
        answer = post(b, tools=[{"type": kind, "name": name}], tool_choice={"type": "any"})
    (call,) = answer.json()["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", name, arguments)
    tag = json.loads(b.engine.requests[0]["structured_outputs"]["structural_tag"])
    schema = tag["format"]["elements"][0]["content"]["content"]["json_schema"]
    jsonschema.validate(arguments, schema)
    assert ("undo_edit" in json.dumps(schema)) == (kind == "text_editor_20250124")


CODING: dict[str, Any] = {
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "u"}, "thinking": {"type": "enabled"}, "output_config": {"effort": "high"},
    "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}],
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_what_changes_no_answer_is_left_out_by_name(stream: bool) -> None:
    with asking(ANSWER) as (_, b):
        answer = post(b, **CODING, a_field_of_next_year=1, stream=stream)
        assert answer.status_code == 200
        told = answer.headers["x-callwright-left-out"]
    assert told == "tools[1], context_management, metadata, a_field_of_next_year"


def test_a_strict_sidecar_refuses_fields_that_it_does_not_know() -> None:
    with asking(ANSWER, strict_fields=True) as (_, b):
        assert post(b, **CODING).status_code == 200
        wrong = post(b, **CODING, a_field_of_next_year=1)
        assert (wrong.status_code, "a_field_of_next_year" in wrong.json()["error"]["message"]) == (400, True)
        items = {"model": "m", "input": "x", "tools": [{"type": "function", "name": "f"}], "store": True}
        assert httpx.post(f"{b.url}/v1/responses", json=items).status_code == 200
        chat = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{"name": "f"}], "store": True}
        assert httpx.post(f"{b.url}/v1/chat/completions", json=chat).status_code == 200
        for path, good in (("responses", items), ("chat/completions", chat)):
            wrong = httpx.post(f"{b.url}/v1/{path}", json=good | {"a_field_of_next_year": 1})
            assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "a_field_of_next_year")
