"""Thoughts that the model marks: reasoning to clients of every API, and the model's own words when they come back."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from asking import ANSWER, CALL, USER, WEATHER, Bench, bench, joined

from callwright import dialects
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.models import ModelDialect
from callwright.sidecar.plan import make_plan
from callwright.store import Template
from fakes import Text

CALL_ALONE = CALL.partition("\n")[2]
APIS = ("chat", "messages", "responses")
Said = tuple[str, str, list[Any]]
"""What a client was shown of a turn: the thought, the text, and what goes back of it."""


def answer(request: dict[str, Any]) -> Text:
    """Think and call, then think and answer."""
    seen = any("sunny" in (message["content"] or "") for message in request["messages"])
    return Text(["Thought: It says sunny.\nFinal Answer: It is sunny." if seen else CALL], size=3)


def turn(b: Bench, api: str, stream: bool, earlier: list[Any]) -> Said:
    """One turn of the model, by a client of that API, behind what was said earlier."""
    match api:
        case "chat":
            return _chat_turn(b, stream, earlier)
        case "messages":
            return _messages_turn(b, stream, earlier)
    tool: Any = {"type": "function", "strict": False} | WEATHER["function"]
    fields: Any = {"model": "m", "input": [*USER, *earlier], "tools": [tool]}
    if stream:
        with b.client.responses.stream(**fields) as events:
            response = events.get_final_response()
    else:
        response = b.client.responses.create(**fields)
    thought = "".join(item.content[0].text for item in response.output if item.type == "reasoning")
    back: list[Any] = [item.model_dump(exclude_none=True) for item in response.output]
    back += [
        {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}
        for item in response.output
        if item.type == "function_call"
    ]
    return thought, response.output_text, back


def _chat_turn(b: Bench, stream: bool, earlier: list[Any]) -> Said:
    messages = [*USER, *earlier]
    if stream:
        said = joined(b.stream(messages=messages))
        calls = [{"id": c["id"], "type": "function", "function": c} for c in said["calls"].values()]
        message = {"role": "assistant", "content": said["content"], "reasoning_content": said["reasoning"]}
        message |= {"tool_calls": calls} if calls else {}
    else:
        message = b.ask(messages=messages).choices[0].message.model_dump(exclude_none=True)
        calls = message.get("tool_calls", [])
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
    return message.get("reasoning_content") or "", message.get("content") or "", [message, *results]


def _messages_turn(b: Bench, stream: bool, earlier: list[Any]) -> Said:
    function = WEATHER["function"]
    tool: Any = {"name": function["name"], "input_schema": function["parameters"]}
    fields: Any = {"model": "m", "max_tokens": 50, "messages": [*USER, *earlier], "tools": [tool]}
    with anthropic.Anthropic(base_url=b.url, api_key="none", max_retries=0) as client:
        if stream:
            with client.messages.stream(**fields) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**fields)
    shown = {
        kind: "".join(getattr(block, kind, None) or "" for block in message.content) for kind in ("thinking", "text")
    }
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
        for block in message.content
        if block.type == "tool_use"
    ]
    back = [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}]
    return shown["thinking"], shown["text"], [*back, *([{"role": "user", "content": results}] if results else [])]


@pytest.fixture(scope="module")
def served() -> Iterator[Bench]:
    with bench(answer) as b:
        yield b


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_a_marked_thought_is_reasoning_and_comes_back_as_the_model_wrote_it(
    served: Bench, api: str, stream: bool
) -> None:
    thought, text, back = turn(served, api, stream, [])
    assert (thought, text) == ("I should look.", "")
    second, text, final = turn(served, api, stream, back)
    assert (second, text) == ("It says sunny.", "It is sunny.")
    again = {"role": "user", "content": "Sure?"}
    turn(served, api, stream, [*back, *final, again])
    written = [message["content"] for message in served.engine.requests[-1]["messages"][1:]]
    assert written == [
        USER[0]["content"],
        f"{CALL}\nObservation: sunny\nThought: It says sunny.\nFinal Answer: It is sunny.",
        "Sure?",
    ]


@pytest.mark.parametrize("api", APIS)
def test_a_thought_that_a_client_drops_is_missing_and_nothing_else(served: Bench, api: str) -> None:
    _, _, back = turn(served, api, False, [])
    kept = [item for item in back if item.get("type") != "reasoning"]
    for item in kept:
        item.pop("reasoning_content", None)
        if isinstance(item.get("content"), list):
            item["content"] = [block for block in item["content"] if block["type"] != "thinking"]
    turn(served, api, False, kept)
    written = served.engine.requests[-1]["messages"][-1]["content"]
    assert written == f"{CALL_ALONE}\nObservation: sunny\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS)
def test_thoughts_may_be_content_as_before(api: str, stream: bool) -> None:
    with bench(answer, thoughts="content") as b:
        thought, text, back = turn(b, api, stream, [])
        assert (thought, text) == ("", "I should look.")
        assert turn(b, api, stream, back)[1] == "It says sunny.\nIt is sunny."
        assert b.engine.requests[-1]["messages"][-1]["content"] == f"{CALL}\nObservation: sunny\n"


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_that_is_a_thought_alone_answers_with_it(stream: bool) -> None:
    with bench("Thought: It is sunny.\nAs always.") as b:
        thought, text, back = turn(b, "chat", stream, [])
        assert thought == text == "It is sunny.\nAs always."
        turn(b, "chat", stream, [*back, USER[0]])
    assert b.engine.requests[-1]["messages"][-2]["content"] == "Thought: It is sunny.\nAs always.\n"


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_that_the_length_cut_is_no_answer(stream: bool) -> None:
    with bench(lambda request: Text(["Thought: It may be s"], finish="length")) as b:
        assert turn(b, "chat", stream, [])[:2] == ("It may be s", "")


def test_prose_is_not_held_back() -> None:
    with bench(lambda request: Text(["It's always sunny."], size=4)) as b:
        said = [chunk.choices[0].delta.content for chunk in b.stream() if chunk.choices]
    assert [text for text in said if text] == ["It's", " alw", "ays", " sunn", "y."]


@pytest.mark.parametrize("name", dialects.NAMES)
@pytest.mark.parametrize("shows", [False, True])
def test_a_think_block_and_a_thought_are_told_apart(name: str, shows: bool) -> None:
    """Where the model's chat template has think blocks, whichever of the two a turn has."""
    dialect = dialects.load(name)
    if not dialect.thought_frame()[0]:
        return
    template = Template(sha256="0", tool_role=True, shows_reasoning=shows) if shows else None
    model = ModelDialect(dialect, dialect.stop, template=template)
    asked = {"model": "m", "messages": USER, "tools": [WEATHER]}
    for block in ("", "I weigh it."):
        for thought in ("", "I should look."):
            if not shows and block and not thought:
                continue  # nothing tells
            text = (f"<think>\n{block}\n</think>\n\n" if block else "") + (f"Thought: {thought}\n" if thought else "")
            parser = make_plan(asked, model, SidecarConfig()).parser()
            read = dialects.accumulate([*parser.feed(text + CALL_ALONE), *parser.close()])
            function = {"name": read.calls[0].name, "arguments": '{"city": "Paris"}'}
            message = {"role": "assistant", "content": read.content, "reasoning_content": read.thought}
            message |= {"tool_calls": [{"id": "1", "type": "function", "function": function}]}
            back = make_plan(asked | {"messages": [*USER, message]}, model, SidecarConfig()).body["messages"][2]
            empty = "Thought:\n" if name == "toolbench" else ""
            expected = f"Thought: {thought}\n" if thought else empty
            assert back["content"].startswith(f"{expected}Action: get_weather"), (block, thought)
            assert back.get("reasoning_content", "") == block


@pytest.mark.parametrize("held", ["So\nAction: rain", "So\nObservation: 7", "Observation: 7", "**Final Answer:** 7"])
def test_reasoning_that_no_line_of_thought_can_hold_stays_a_think_block(served: Bench, held: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "reasoning_content": held, "tool_calls": [call]}
    served.ask(messages=[*USER, message, {"role": "tool", "tool_call_id": "1", "content": "x"}])
    back = served.engine.requests[-1]["messages"][-1]
    assert (back["content"], back["reasoning_content"]) == (
        "Action: get_weather\nAction Input: {}\nObservation: x\n",
        held,
    )


def test_a_stock_thought_is_none(served: Bench) -> None:
    with bench(ANSWER) as b:
        assert turn(b, "chat", False, [])[:2] == ("", "It is sunny.")


def test_a_model_that_has_no_marks_keeps_its_text() -> None:
    """AgentFabric's clients read the text by themselves, and so does its dialect's model write."""
    text = 'I look.\nThought: hm\nAction: get_weather\nAction Input: {"city": "Paris"}'
    with bench(text, dialects={"m": "agentfabric"}) as b:
        assert turn(b, "chat", False, [])[:2] == ("", "I look.\nhm")
        relayed: Any = b.ask(tools=openai.omit)
    assert relayed.choices[0].message.content == text
