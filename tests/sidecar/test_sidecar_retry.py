"""One more try where the model wrote a malformed call: what it is told, what the client gets, when there is none."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from asking import ANSWER, CALL, USER, WEATHER, Bench, bench, joined

from callwright import dialects
from fakes import Raw, Text

RAIN = 'Action: get_rain\nAction Input: {"city": "Paris"}'
THOUGHT = f"Thought: I should look.\n{RAIN}"


def answers(*texts: str | Raw | Text) -> Callable[[dict[str, Any]], Text | Raw]:
    """An engine that writes one text after the other."""
    left = list(texts)

    def answer(request: dict[str, Any]) -> Text | Raw:
        text = left.pop(0)
        return Text([text] * (request.get("n") or 1)) if isinstance(text, str) else text

    return answer


def metrics(b: Bench) -> str:
    return httpx.get(f"{b.url}/metrics").text


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_model_is_told_why_and_the_client_gets_its_second_answer(name: str, stream: bool) -> None:
    dialect = dialects.load(name)
    wrong, right = (
        f'{begin}{{"city": "Paris"}}{end}' for begin, end in map(dialect.call_frame, ("rain", "get_weather"))
    )
    with bench(answers(wrong, right), dialects={"m": name}, retry_malformed_calls=True) as b:
        b.engine.others["/tokenize"] = lambda body: Raw('{"count": 1}')
        message = joined(b.stream())["calls"][0] if stream else b.ask().choices[0].message.tool_calls[0].function
        found = message["arguments"] if stream else message.arguments
        assert 'callwright_repairs_total{result="repaired"} 1.0' in metrics(b)
        assert 'callwright_malformed_tool_calls_total{model="m",reason="unknown tool",version=""} 1.0' in metrics(b)
    assert json.loads(found) == {"city": "Paris"}
    first, second = b.engine.requests
    told = "".join(m["content"] for m in second["messages"])
    assert wrong.strip() in told
    assert "Error: unknown tool 'rain'" in told
    assert "The tools are: get_weather." in told
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second.get("stream") == first.get("stream")


def test_a_whole_answer_is_the_second_with_the_usage_of_both() -> None:
    with bench(answers(THOUGHT, f"Thought: its name.\n{CALL}"), retry_malformed_calls=True) as b:
        answer = b.ask()
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.reasoning_content) == (None, "its name.\nI should look.")
    assert getattr(choice.message, "malformed_tool_calls", None) is None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (14, 10, 24)
    assert b.engine.requests[1]["messages"][-1]["content"].startswith(THOUGHT)


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_stream_goes_on_after_what_was_said_and_hides_the_malformed_call(size: int) -> None:
    texts = answers(Text([THOUGHT], size=size), Text(["Thought: Ah.\n" + CALL.split("\n", 1)[1]], size=size))
    with bench(texts, retry_malformed_calls=True) as b:
        chunks = b.stream(stream_options={"include_usage": True})
        message = joined(chunks)
    assert (message["content"], message["reasoning"]) == (None, "I should look.\nAh.")
    assert message["finish"] == "tool_calls"
    assert [call["name"] for call in message["calls"].values()] == ["get_weather"]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices and chunk.choices[0].delta.role] == [
        "assistant"
    ]
    assert chunks[-1].usage.total_tokens == 24
    assert sum(chunk.usage is not None for chunk in chunks) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_there_is_one_more_try_only(stream: bool) -> None:
    with bench(answers(RAIN, RAIN.replace("rain", "snow")), retry_malformed_calls=True) as b:
        answer = joined(b.stream()) if stream else b.ask().choices[0].message.model_dump()
        assert 'callwright_repairs_total{result="failed"} 1.0' in metrics(b)
        assert 'callwright_malformed_tool_calls_total{model="m",reason="unknown tool",version=""} 2.0' in metrics(b)
    assert "get_snow" in answer["content"]
    assert "get_rain" not in answer["content"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("second", [Raw('{"error": {"message": "too long"}}', 400), Raw("", 500)])
def test_the_first_answer_stands_where_the_engine_has_no_second(stream: bool, second: Raw) -> None:
    with bench(answers(THOUGHT, second), retry_malformed_calls=True) as b:
        if stream:
            chunks = b.stream(stream_options={"include_usage": True})
            message = joined(chunks)
            reported = [getattr(c.choices[0].delta, "malformed_tool_calls", None) for c in chunks if c.choices]
            assert [each[0]["name"] for each in reported if each] == ["get_rain"]
            assert chunks[-1].usage.total_tokens == 12
        else:
            (choice,) = b.ask().choices
            message = choice.message.model_dump() | {"finish": choice.finish_reason}
        assert 'callwright_repairs_total{result="failed"} 1.0' in metrics(b)
        assert 'callwright_malformed_tool_calls_total{model="m",reason="unknown tool",version=""} 1.0' in metrics(b)
    told = message["reasoning"] if stream else message["reasoning_content"]
    assert (told, message["content"]) == ("I should look.", RAIN)
    assert message["finish"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "asked"),
    [(f"{RAIN}\n{CALL}", {}), (f"{CALL}\n{RAIN}", {}), (ANSWER, {}), (RAIN, {"tool_choice": "none"}), (RAIN, {"n": 2})],
)
def test_no_second_try(text: str, asked: dict[str, Any], stream: bool) -> None:
    """With a proper call, without a malformed one, and where there can be none: the answer is as without the option."""
    without = {"extra_body": {"retry_malformed_calls": False}}
    with bench(text, retry_malformed_calls=True) as b:
        if stream:
            message, expected = joined(b.stream(**asked)), joined(b.stream(**asked, **without))
            for call in [*message["calls"].values(), *expected["calls"].values()]:
                call["id"] = None
            assert message == expected
        else:
            exclude = {"choices": {"__all__": {"message": {"tool_calls": {"__all__": {"id"}}}}}}
            answer, other = b.ask(**asked), b.ask(**asked, **without)
            assert answer.model_dump(exclude=exclude) == other.model_dump(exclude=exclude)
    assert len(b.engine.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_length_cut_is_not_tried_again(stream: bool) -> None:
    with bench(lambda request: Text([f"{RAIN}\nThought: and"], finish="length"), retry_malformed_calls=True) as b:
        answer = joined(b.stream()) if stream else b.ask().choices[0].message.model_dump()
    assert "get_rain" in answer["content"]
    assert len(b.engine.requests) == 1


def test_a_request_may_ask_for_it_and_giving_up_is_no_mistake() -> None:
    with bench(answers(RAIN, CALL)) as b:
        assert b.ask(extra_body={"retry_malformed_calls": True}).choices[0].finish_reason == "tool_calls"
    with bench(RAIN, retry_malformed_calls=True) as without:
        assert without.ask(extra_body={"retry_malformed_calls": False}).choices[0].message.malformed_tool_calls
    assert len(without.engine.requests) == 1
    assert all("retry_malformed_calls" not in request for request in b.engine.requests)
    gives_up = 'Thought:\nAction: Finish\nAction Input: {"return_type": "give_up_and_restart"}'
    with bench(gives_up, dialects={"m": "toolbench"}, retry_malformed_calls=True) as b:
        assert b.ask().choices[0].finish_reason == "stop"
        assert joined(b.stream())["finish"] == "stop"
    assert len(b.engine.requests) == 2


def test_a_second_answer_that_breaks_off_ends_the_stream_with_an_error() -> None:
    with bench(answers(THOUGHT, Text([CALL], break_after=6)), retry_malformed_calls=True) as b:
        body = {"model": "m", "messages": USER, "tools": [WEATHER], "stream": True}
        text = httpx.post(f"{b.url}/v1/chat/completions", json=body).text
        assert 'callwright_repairs_total{result="failed"} 1.0' in metrics(b)
    assert "engine_unavailable" in text.split("\n\n")[-2]
    assert "[DONE]" not in text
