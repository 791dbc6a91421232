"""OpenAI's `/v1/responses` with functions, with OpenAI's SDK as the client and its types as the judge."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from asking import ANSWER, CALL, MALFORMED, MIXED, THINKING, TWO, Bench, bench
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from callwright.sidecar.apis.stored import StoredResponses
from callwright.sidecar.budget import Held
from callwright.sidecar.worker import Worker
from fakes import Raw, Text

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "name": "get_weather", "description": "Tells.", "parameters": SCHEMA, "strict": None}
ASKED: dict[str, Any] = {"model": "m", "input": "What is the weather in Paris?", "tools": [TOOL]}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def post(b: Bench, **changes: Any) -> httpx.Response:
    return httpx.post(f"{b.url}/v1/responses", json=ASKED | changes)


def shown(response: Any) -> Any:
    """The output without ids, and without what the SDK's stream helper has read from it."""
    parsed = {"parsed_arguments": True, "content": {"__all__": {"parsed"}}}
    dumped = [item.model_dump(exclude={"id": True, "call_id": True} | parsed) for item in response.output]
    return [{key: value for key, value in item.items() if value is not None} for item in dumped]


def test_a_call_is_a_function_call() -> None:
    with bench(CALL) as b:
        response = b.client.responses.create(
            **ASKED, instructions="Be brief.", max_output_tokens=50, temperature=0.5, store=True, metadata={"a": "b"}
        )
    said, call = response.output
    assert (said.type, said.content[0].text) == ("reasoning", "I should look.")
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"city": "Paris"})
    assert call.call_id.startswith("call_")
    assert (response.status, response.output_text) == ("completed", "")
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 5, 12)
    assert (response.store, response.instructions, response.metadata) == (False, "Be brief.", {"a": "b"})
    (sent,) = b.engine.requests
    assert b.engine.paths == ["/v1/chat/completions"]
    assert (sent["max_completion_tokens"], sent["temperature"]) == (50, 0.5)
    assert sent["messages"][0]["content"].startswith("Be brief.")
    assert not {"store", "metadata", "instructions", "input"} & set(sent)


@pytest.mark.parametrize("text", [CALL, TWO, ANSWER, "Hello.", "", MALFORMED, MIXED, THINKING])
def test_a_stream_adds_up_to_the_whole_and_every_event_is_openai_s(text: str) -> None:
    with bench(text) as b:
        whole = b.client.responses.create(**ASKED)
        with b.client.responses.stream(**ASKED) as stream:
            streamed = stream.get_final_response()
        raw = post(b, stream=True)
        Response.model_validate_json(post(b).content, strict=True)
    assert shown(streamed) == shown(whole)
    kinds = [item.type for item in whole.output]
    if text == MIXED:
        assert kinds == ["reasoning", "function_call"] * 2
    if text == THINKING:
        assert kinds == ["reasoning", "function_call"]
        assert whole.output[0].content[0].text == "I think of\nAction: get_rain\nThought: I should look."
    assert streamed.usage == whole.usage
    events = [event.split("\n") for event in raw.text.strip().split("\n\n")]
    found = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert [name.removeprefix("event: ") for name, _ in events] == [event["type"] for event in found]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    for event in found:
        EVENT.validate_json(json.dumps(event), strict=True)
    names = [event["type"] for event in found]
    assert (names[:2], names[-1]) == (["response.created", "response.in_progress"], "response.completed")
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == found[-1]["response"]["output"]
    assert all(item["status"] == "completed" for item in done)


def test_results_go_back_and_the_answer_comes() -> None:
    with bench(lambda request: Text([ANSWER if "21" in json.dumps(request["messages"]) else TWO])) as b:
        first = b.client.responses.create(**ASKED)
        calls = [item for item in first.output if item.type == "function_call"]
        items: list[Any] = [{"role": "user", "content": [{"type": "input_text", "text": ASKED["input"]}]}]
        items += [{"type": "reasoning", "id": "rs_1", "summary": []}, *first.output]
        items += [{"type": "function_call_output", "call_id": calls[1].call_id, "output": "rain"}]
        items += [{"type": "function_call_output", "call_id": calls[0].call_id, "output": "sunny, 21"}]
        second = b.client.responses.create(**ASKED | {"input": items})
    assert (second.status, second.output_text) == ("completed", "It is sunny.")
    sent = b.engine.requests[1]
    assert sent["continue_final_message"] is True
    assert sent["messages"][-1]["content"].startswith("Thought: I should look.\nAction: get_weather\n")
    assert sent["messages"][-1]["content"].endswith("Observation: sunny, 21\nObservation: rain\n")


@pytest.mark.parametrize(
    ("asked", "constrained", "calls"),
    [
        ({"tool_choice": "auto"}, False, 2),
        ({"tool_choice": "required"}, True, 2),
        ({"tool_choice": {"type": "function", "name": "get_weather"}}, True, 2),
        ({"tool_choice": "none"}, False, 0),
        ({"parallel_tool_calls": False}, False, 1),
        ({"tools": [TOOL | {"strict": True}]}, True, 2),
    ],
)
def test_tool_choice_and_strict(asked: Any, constrained: bool, calls: int) -> None:
    with bench(TWO) as b:
        response = b.client.responses.create(**ASKED | asked)
    assert sum(item.type == "function_call" for item in response.output) == calls
    assert ("structured_outputs" in b.engine.requests[0]) == constrained


def test_an_answer_that_the_length_cut_is_incomplete() -> None:
    with bench(lambda request: Text(['Thought: hm\nAction: get_weather\nAction Input: {"ci'], finish="length")) as b:
        whole = b.client.responses.create(**ASKED)
        *_, last = b.client.responses.create(**ASKED, stream=True)
    assert last.type == "response.incomplete"
    for response in (whole, last.response):
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert [item.type for item in response.output] == ["reasoning", "message"]
        assert response.output[-1].status == "incomplete"


def test_a_malformed_call_is_text_with_a_reason() -> None:
    with bench(MALFORMED) as b:
        whole = b.client.responses.create(**ASKED)
        *_, last = b.client.responses.create(**ASKED, stream=True)
    for response in (whole, last.response):
        assert response.malformed_tool_calls[0]["name"] == "get_rain"
        assert "get_rain" in response.output_text


def test_a_text_format_reaches_the_engine() -> None:
    """Beside the calls, alone where none may be made, and not at all where one is demanded."""
    schema = {"type": "object", "required": ["sunny"]}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    with bench(CALL) as b:
        for fields in ({}, {"tool_choice": "none"}, {"tool_choice": "required"}):
            for given in (form, {"type": "json_object"}, {"type": "text"}):
                b.client.responses.create(**ASKED | fields, text={"format": given})
    sent = [(r.get("response_format"), r.get("structured_outputs")) for r in b.engine.requests]
    auto, none, required = sent[:3], sent[3:6], sent[6:]
    assert [given for given, _ in auto] == [None, None, {"type": "text"}]
    tags = [json.loads(held["structural_tag"]) if held else None for _, held in auto]
    assert [json.dumps(schema) in json.dumps(tag) for tag in tags] == [True, False, False]
    assert ["get_weather" in json.dumps(tag) for tag in tags] == [True, True, False]
    named = {"name": "n", "schema": schema, "strict": True}
    assert none[0] == ({"type": "json_schema", "json_schema": named}, None)
    assert [given["type"] for given, _ in none] == ["json_schema", "json_object", "text"]
    assert required[0] == required[1] == required[2]
    assert required[0][0] is None
    assert "get_weather" in required[0][1]["structural_tag"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"instructions": 7}, "instructions"),
        ({"input": None}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"type": "computer_call", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": {}}]}, "input[0].output"),
        ({"input": [{"type": "function_call", "call_id": "x", "name": "", "arguments": "{}"}]}, "input"),
        ({"input": []}, "input"),
        ({"tools": [TOOL, {"type": "local_shell"}]}, "tools[1].type"),
        (
            {"tools": [TOOL, {"type": "namespace", "name": "n", "tools": [{"type": "namespace"}]}]},
            "tools[1].tools[0].type",
        ),
        (
            {
                "tools": [
                    {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f", "parameters": 7}]}
                ]
            },
            "tools[0].tools[0].parameters",
        ),
        ({"tools": [TOOL, {"type": "custom"}]}, "tools[1].name"),
        ({"tools": [TOOL, {"type": "custom", "name": "get_weather"}]}, "tools[1].name"),
        ({"tools": [{"type": "custom", "name": "get_weather"}, TOOL]}, "tools[1].name"),
        ({"tools": [TOOL, {"type": "custom", "name": "c", "format": "lark"}]}, "tools[1].format"),
        ({"tools": [TOOL, {"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}},
            "tool_choice",
        ),
        ({"tool_choice": {"type": "allowed_tools", "mode": "all", "tools": []}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": []}}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": "x"}]}, "tools[0].parameters"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"enable_response_messages": True}, "enable_response_messages"),
        ({"text": "x"}, "text"),
        ({"text": {"format": "json_object"}}, "text.format"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_refusal_names_its_param(change: dict[str, Any], param: str, refusing: Bench) -> None:
    answer = post(refusing, **change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert "function." not in answer.json()["error"]["message"]
    assert refusing.engine.requests == []


def test_a_refusal_of_the_chat_request_names_the_item(refusing: Bench) -> None:
    said = [{"role": "user", "content": "x"}, {"type": "reasoning"}, {"role": "assistant", "content": "y"}]
    calls = [{"type": "function_call", "call_id": str(n), "name": "f" * n, "arguments": "{}"} for n in (1, 0)]
    answer = post(refusing, instructions="Be brief.", input=[*said, *calls])
    assert answer.json()["error"]["message"].startswith("input[4]: got no function with a name")


def test_a_call_that_the_length_cut_goes_back_as_it_was_streamed() -> None:
    cut = '{"city": "Par'
    with bench(lambda request: Text([CALL[: CALL.index("is")]], finish="length")) as b:
        *_, last = b.client.responses.create(**ASKED, stream=True, tool_choice="required")
        said, call = last.response.output
        assert (said.type, call.arguments, call.status) == ("reasoning", cut, "incomplete")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "no such city"}
        items: list[Any] = [{"role": "user", "content": "x"}, said.model_dump(), call.model_dump(), result]
        b.client.responses.create(**ASKED | {"input": items})
    told = b.engine.requests[-1]["messages"][-1]["content"]
    assert told.endswith(f"Action Input: {cut}\nObservation: no such city\n")


def test_an_engine_that_breaks_off_fails_the_response() -> None:
    def engine(request: dict[str, Any]) -> Text | Raw:
        return (
            Text([ANSWER], break_after=6) if request.get("stream") else Raw('{"error": {"message": "too long"}}', 400)
        )

    with bench(engine) as b:
        *_, last = b.client.responses.create(**ASKED, stream=True)
        assert (last.type, last.response.status, last.response.error.code) == (
            "response.failed",
            "failed",
            "server_error",
        )
        EVENT.validate_json(last.model_dump_json(exclude_unset=True), strict=True)
        with pytest.raises(openai.BadRequestError, match="too long"):
            b.client.responses.create(**ASKED)


def test_without_functions_bytes_pass() -> None:
    with bench(CALL) as b:
        b.engine.others["/v1/responses"] = lambda body: Raw(b'{"by": "the engine"}')
        body = b'{"model":"m",  "input": "\\"tools\\"", "tools": [{"type": "web_search"}], "previous_response_id": "r"}'
        assert httpx.post(f"{b.url}/v1/responses", content=body).json() == {"by": "the engine"}
        assert b.engine.bodies[-1] == body


@pytest.mark.parametrize("text", [TWO, MIXED, MIXED.replace("I should look.", "I should look.\n\n")])
def test_a_streamed_turn_goes_back_as_the_whole_one_does(text: str) -> None:
    with bench(text) as b:
        whole = b.client.responses.create(**ASKED)
        *_, last = b.client.responses.create(**ASKED, stream=True)
        for response in (whole, last.response):
            calls = [item.call_id for item in response.output if item.type == "function_call"]
            results = [{"type": "function_call_output", "call_id": call, "output": "sunny"} for call in calls]
            items = [{"role": "user", "content": "x"}, *(item.model_dump() for item in response.output), *results]
            b.client.responses.create(**ASKED | {"input": items})
    *_, first, second = b.engine.requests
    assert first["messages"] == second["messages"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_response_tells_of_its_request_is_held_while_the_engine_works(stream: bool) -> None:
    """Its tools and metadata stand at the end of the answer once more, so they count until then."""
    go = threading.Event()
    tool = TOOL | {"description": "x" * 300_000}
    with bench(lambda request: Text([ANSWER], hold=go)) as b, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, b, tools=[tool], stream=stream)
        prompt = 0 if stream else 300_000  # which is held until the answer's head
        wait_until(lambda: 300_000 < held_bytes(b) - prompt < 400_000)
        go.set()
        assert tool["description"] in asked.result().text
        wait_until(lambda: held_bytes(b) == 0)


def held_bytes(b: Bench) -> float:
    return float(httpx.get(f"{b.url}/metrics").text.split("\ncallwright_held_bytes ")[1].split()[0])


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("it never held")


NAMESPACE = {
    "type": "namespace", "name": "crm", "description": "Customers.",
    "tools": [{"type": "function", "name": "find", "parameters": SCHEMA}, {"type": "custom", "name": "note"}],
}  # fmt: skip
PATCH = {
    "type": "custom", "name": "apply_patch", "description": "Patches files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"},
}  # fmt: skip
SEARCH = {"type": "web_search", "external_web_access": False}
FIND = 'Action: crm__find\nAction Input: {"city": "Paris"}'
APPLY = 'Action: apply_patch\nAction Input: {"input": "*** Begin Patch\\n+é"}'


@pytest.mark.parametrize(
    ("text", "called"),
    [
        (FIND, {"type": "function_call", "name": "find", "namespace": "crm", "arguments": '{"city": "Paris"}'}),
        (APPLY, {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch\n+é"}),
        ('Action: crm__note\nAction Input: {"input": "x"}',
         {"type": "custom_tool_call", "name": "note", "namespace": "crm", "input": "x"}),
        ('Action: apply_patch\nAction Input: {"patch": "x"}',
         {"type": "custom_tool_call", "name": "apply_patch", "input": '{"patch": "x"}'}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("eager", [False, True])
def test_tools_of_a_namespace_and_custom_tools_are_functions_to_the_model_and_named_back(
    text: str, called: dict[str, Any], eager: bool
) -> None:
    asked = {"tools": [TOOL, NAMESPACE, SEARCH, PATCH], "client_metadata": {"a": "b"}, "eager_tool_calls": eager}
    asked["text"] = {"verbosity": "low", "format": {"type": "text"}}
    with bench(text) as b:
        whole, streamed = post(b, **asked), post(b, **asked, stream=True)
        Response.model_validate_json(whole.content)
        (item,) = whole.json()["output"]
        events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: ")]
        for event in events:
            EVENT.validate_json(json.dumps(event))
        (told,) = events[-1]["response"]["output"]
        assert all({key: each.get(key) for key in called} == called for each in (item, told))
        said = [event["delta"] for event in events if event["type"].endswith(".delta")]
        assert "".join(said) == called.get("input", called.get("arguments"))
        assert whole.headers["x-callwright-left-out"] == "tools[2], tools[3].format, client_metadata, text.verbosity"
        result = "custom_tool_call_output" if "input" in called else "function_call_output"
        items = [{"role": "user", "content": "x"}, item]
        items += [{"type": result, "call_id": item["call_id"], "output": "done"}]
        assert post(b, **asked | {"input": items}).status_code == 200
    system = b.engine.requests[0]["messages"][0]["content"]
    assert "follows this lark grammar:\\nstart: begin_patch" in system
    assert "Customers." in system
    assert "web_search" not in system
    again = text.replace('{"patch": "x"}', '{"input": "{\\"patch\\": \\"x\\"}"}')
    assert again in b.engine.requests[-1]["messages"][-1]["content"]


def test_a_custom_tool_s_call_that_the_length_cut_ends_with_what_there_is() -> None:
    with bench(lambda request: Text([APPLY[:-8]], finish="length")) as b:
        streamed = post(b, tools=[PATCH], tool_choice="required", stream=True).text
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    assert events[-1]["type"] == "response.incomplete"


def test_a_flat_name_that_a_function_has_is_not_taken_by_a_namespace() -> None:
    tools = [NAMESPACE, TOOL | {"name": "crm__find"}]
    with bench(FIND) as b:
        (plain,) = post(b, tools=tools).json()["output"]
    assert (plain["name"], plain.get("namespace")) == ("crm__find", None)
    with bench(FIND.replace("crm__find", "crm__find_")) as b:
        (inner,) = post(b, tools=tools).json()["output"]
    assert (inner["name"], inner["namespace"]) == ("find", "crm")


@pytest.mark.parametrize("described", [7, True, ["x"], {"x": 1}, None, ""])
def test_a_description_that_is_no_text_is_not_joined_to_a_namespace_s(described: object) -> None:
    find = {"type": "function", "name": "find", "description": described}
    with bench(ANSWER) as b:
        assert post(b, tools=[NAMESPACE | {"tools": [find]}]).status_code == 200
        assert post(b, tools=[NAMESPACE | {"tools": [find], "description": described}]).status_code in (200, 400)
    assert "Customers." in json.dumps(b.engine.requests[0]["messages"])


def test_a_custom_tool_s_pattern_is_what_its_input_is_held_to() -> None:
    form = {"type": "grammar", "syntax": "regex", "definition": "^[a-z]+$"}
    with bench(CALL) as b:
        choice = {"type": "custom", "name": "c"}
        assert post(b, tools=[{"type": "custom", "name": "c", "format": form}], tool_choice=choice).status_code == 200
    assert "^[a-z]+$" in b.engine.requests[0]["structured_outputs"]["structural_tag"]


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_allowed_tools_may_be_called(mode: str) -> None:
    allowed = [{"type": "function", "name": "get_weather"}, {"type": "web_search"}]
    choice = {"type": "allowed_tools", "mode": mode, "tools": allowed}
    with bench(FIND) as b:
        answer = post(b, tools=[TOOL, NAMESPACE, SEARCH], tool_choice=choice)
        assert [item["type"] for item in answer.json()["output"]] == ["message"]
        chat = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [{"function": {"name": "g"}}]}}
        tools = [{"type": "function", "function": {"name": name}} for name in "fg"]
        asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": chat}
        assert httpx.post(f"{b.url}/v1/chat/completions", json=asked).status_code == 200
        none = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}
        assert post(b, tools=[TOOL, SEARCH], tool_choice=none).status_code == 200
    first, second, third = (request["messages"][0]["content"] for request in b.engine.requests)
    assert ("get_weather" in first, "crm__find" in first) == (True, False)
    assert ("'g'" in second, "'f'" in second) == (True, False)
    assert "get_weather" not in third
    assert all(("structured_outputs" in request) == (mode == "required") for request in b.engine.requests[:2])


def told_weather(request: dict[str, Any]) -> Text:
    return Text([ANSWER if "sunny, 21" in json.dumps(request["messages"]) else CALL])


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_response_is_gone_on_with_by_its_id(stream: bool) -> None:
    with bench(told_weather, stored_responses=8) as b:
        if stream:
            first = list(b.client.responses.create(**ASKED, instructions="Be brief.", stream=True))[-1].response
        else:
            first = b.client.responses.create(**ASKED, instructions="Be brief.")
        (call,) = [item for item in first.output if item.type == "function_call"]
        assert first.store is True
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21"}
        on = {"input": [result], "previous_response_id": first.id}
        second = b.client.responses.create(**ASKED | on)
        assert (second.output_text, second.previous_response_id) == ("It is sunny.", first.id)
        third = post(b, input="Thanks.", previous_response_id=second.id, tools=[]).json()
        assert third["status"] == "completed"
        branch = b.client.responses.create(**ASKED | on, store=False)
        assert branch.store is False
        gone = post(b, input="x", previous_response_id=branch.id)
        assert (gone.status_code, gone.json()["error"]["code"]) == (400, "previous_response_not_found")
        wrong = post(b, input=[{"type": "computer_call"}], previous_response_id=second.id)
        assert wrong.json()["error"]["param"] == "input[0].type"
    sent = [request["messages"] for request in b.engine.requests]
    assert ["Be brief." in json.dumps(messages) for messages in sent] == [True, False, False, False]
    assert all(ASKED["input"] in json.dumps(messages) for messages in sent)
    assert "It is sunny." in json.dumps(sent[2])
    assert sent[1] == sent[3]


LONG = [{"role": "user", "content": f"{n}: {'x' * 200}"} for n in range(200)]


@pytest.mark.parametrize(
    ("limits", "status", "told"),
    [
        ({"max_messages": 201}, 400, "input: got 202; at most 201 are allowed"),
        ({"max_values": 1000}, 400, "too many values"),
        ({"max_body_bytes": 52_000, "max_held_bytes": 208_000}, 413, "the body is larger than 52000 bytes"),
    ],
)
def test_what_a_request_goes_on_with_counts_towards_its_limits(limits: dict[str, int], status: int, told: str) -> None:
    with bench("Hello.", stored_responses=8, **limits) as b:
        first = post(b, input=LONG)
        assert first.status_code == 200
        tools = [TOOL | {"description": "x" * 6000}] if status == 413 else [TOOL]
        items = [{"role": "user", "content": "?"}] * 200
        asked = {"input": items if "max_values" in limits else "?", "tools": tools}
        answer = post(b, previous_response_id=first.json()["id"], **asked)
        assert (answer.status_code, told in answer.json()["error"]["message"]) == (status, True)
        assert len(b.engine.requests) == 1


def test_what_a_request_goes_on_with_is_held_and_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    beside, held, run, keep = [], [], Worker.run, Held.keep

    async def noted(self: Worker, size: int, *rest: Any, **named: Any) -> Any:
        beside.append(size)
        return await run(self, size, *rest, **named)

    def kept(self: Held, size: int) -> None:
        held.append(size)
        keep(self, size)

    with bench("Hello.", stored_responses=8) as b:
        first = post(b, input=LONG).json()["id"]
        monkeypatch.setattr(Worker, "run", noted)
        monkeypatch.setattr(Held, "keep", kept)
        assert post(b, input="?", previous_response_id=first).status_code == 200
        earlier = len(json.dumps(LONG, separators=(",", ":")))
        assert len([size for size in beside if size > earlier]) >= 3, "reading, planning, writing"
        assert max(held) > 4 * earlier


def test_nothing_is_stored_unless_it_is_asked_for() -> None:
    with bench(CALL) as b:
        first = b.client.responses.create(**ASKED, store=True)
        assert first.store is False
        assert post(b, previous_response_id=first.id).status_code == 400


def test_a_response_that_failed_is_not_stored() -> None:
    with bench(lambda request: Text([CALL], break_after=3), stored_responses=8) as b:
        events = post(b, stream=True).text
        made = json.loads(events.split("data: ")[1].split("\n")[0])["response"]["id"]
        assert post(b, previous_response_id=made).status_code == 400


def test_the_oldest_responses_go_and_those_whose_time_is_over() -> None:
    items = [{"role": "user", "content": "x" * 1000}]
    few, small, brief = StoredResponses(2, 10_000, 60), StoredResponses(9, 2500, 60), StoredResponses(9, 10_000, 0)
    for stored, kept in ((few, "bc"), (small, "bc"), (brief, "")):
        for name in "abc":
            stored.put(name, items)
        assert "".join(name for name in "abc" if stored.get(name) == items) == kept
    small.put("d", items * 3)
    assert small.get("d") is None
    assert small.get("c") == items
    assert StoredResponses().new_id() is None
    assert few.new_id() != few.new_id()
    assert few.get({}) is None


def test_responses_that_are_stored_at_once_take_no_more_than_their_bytes() -> None:
    items = [{"role": "user", "content": "x" * 1000}]
    stored = StoredResponses(64, 5000, 60)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: stored.put(f"r{n % 6}", items), range(4000)))
    for name in "abcd":
        stored.put(name, items)
    assert "".join(name for name in "abcd" if stored.get(name) == items) == "abcd"


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_that_is_given_back_unread_is_put_back(stream: bool) -> None:
    """As clients do that keep nothing on a server, and no text but the summary's."""
    asked = ASKED | {"include": ["reasoning.encrypted_content"], "store": False}
    with bench(CALL) as b:
        if stream:
            *_, last = b.client.responses.create(**asked, stream=True)
            thought, call = last.response.output
        else:
            thought, call = b.client.responses.create(**asked).output
        bare = {"type": "reasoning", "id": thought.id, "summary": [], "encrypted_content": thought.encrypted_content}
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        user = {"role": "user", "content": ASKED["input"]}
        for foreign in ({}, {"encrypted_content": "gAAAAABo"}):
            items: list[Any] = [user, bare | foreign, call.model_dump(), result]
            b.client.responses.create(**ASKED | {"input": items})
        assert b.client.responses.create(**ASKED).output[0].encrypted_content is None
    kept, dropped = (request["messages"][-1]["content"] for request in b.engine.requests[1:3])
    assert kept.startswith("Thought: I should look.\nAction: get_weather\n")
    assert dropped.startswith("Action: get_weather\n")


@pytest.mark.parametrize("stream", [False, True])
def test_items_that_are_stored_may_be_referred_to(stream: bool) -> None:
    with bench(told_weather, stored_responses=8) as b:
        if stream:
            first = list(b.client.responses.create(**ASKED, stream=True))[-1].response
        else:
            first = b.client.responses.create(**ASKED)
        asked = {"role": "user", "content": ASKED["input"]}
        said = [{"type": "item_reference", "id": item.id} for item in first.output]
        call_id = first.output[-1].call_id
        result = {"type": "function_call_output", "call_id": call_id, "output": "sunny, 21"}
        answer = post(b, input=[asked, *said, result]).json()
        assert answer["output"][-1]["content"][0]["text"] == "It is sunny."
        twice = post(b, input=[asked, *said, said[0]])
        assert (twice.status_code, twice.json()["error"]["param"]) == (400, f"input[{len(said) + 1}]")
        theirs = {"type": "message", "role": "user", "content": "x", "id": "msg_mine"}
        post(b, input=[theirs])
        for unknown in ("msg_mine", "nobody", 7, None, [first.output[0].id]):
            gone = post(b, input=[asked, {"type": "item_reference", "id": unknown}])
            assert (gone.status_code, gone.json()["error"]["param"]) == (400, "input[1]")
    assert b.engine.requests[1]["messages"][-1]["content"].startswith(CALL)


def test_items_that_are_referred_to_count_towards_the_limits_and_go_with_their_response() -> None:
    with bench("Hello " * 500, stored_responses=2, max_body_bytes=8000, max_held_bytes=64_000) as b:
        first, second = (post(b, input="x").json()["output"][0]["id"] for _ in range(2))
        both = [
            {"role": "user", "content": "y" * 4000},
            *({"type": "item_reference", "id": i} for i in (first, second)),
        ]
        large = post(b, input=both)
        assert (large.status_code, "8000" in large.json()["error"]["message"]) == (413, True)
        post(b, input="x")
        assert post(b, input=[{"type": "item_reference", "id": first}]).status_code == 400
