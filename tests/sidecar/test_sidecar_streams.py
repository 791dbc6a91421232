"""The quick way to an event's text gives what JSON gives, and a stream is the same with it and without."""

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwright.sidecar import requests
from callwright.sidecar.alike import Alike
from callwright.sidecar.catalog import speech
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.events import event as on_wire
from callwright.sidecar.gate import Gate
from callwright.sidecar.metrics import Metrics
from callwright.sidecar.streams import StreamTranslation

Json = dict[str, Any]
words = st.sampled_from(
    ["a", " quick", "文", "é", "?", "", '"', "\\", '","content":"', "\n", "\ud800", '"}', "\\u0041"]
)
places = st.sampled_from(["first", "inner", "last", "none"])


def event(text: str, *, place: str = "none", other: str = "", finish: str | None = None, made: str = "m") -> bytes:
    """An event that says `text`, with `other` as another `content` somewhere, as an engine writes it."""
    choice: Json = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
    if place == "inner":
        choice["logprobs"] = {"content": other}
    chunk: Json = {"content": other} if place == "first" else {}
    chunk |= {"id": "chatcmpl-1", "model": made, "choices": [choice]}
    if place == "last":
        chunk["extra"] = {"content": other}
    return json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


@given(st.sampled_from(["a", "?", "文"]), places, words, st.lists(st.tuples(words, words, places), max_size=8))
@settings(max_examples=500, deadline=None)
def test_a_text_found_is_the_text_that_is_there(
    learnt: str, place: str, other: str, then: list[tuple[str, str, str]]
) -> None:
    """And all else in the event is as in the one that was learnt, whatever else bears the same words."""
    alike = Alike()
    data = event(learnt, place=place, other=other)
    known = [alike.learn(data, json.loads(data), learnt) for _ in range(6)][-1]
    if place == "none":
        assert known, "an engine's event is learnt"
    frame = json.loads(event("", place=place, other=other))
    asked = [event(text, place=where, other=beside) for text, beside, where in then]
    asked += [event(text, place=place, other=other) for text, _, _ in then]
    for data in list(asked):
        asked += [data[:-1], data[1:], data[: len(data) // 2], data.replace(b"chatcmpl", b"chatcmpI")]
        asked += [event("x", place=place, other=other, finish="stop"), event("x", place=place, other=other, made="n")]
    asked += [data.replace(b'},"logprobs"', b',"reasoning":"b"},"logprobs"') for data in asked]
    for data in asked:
        if (found := alike.text(on_wire(data))) is not None:
            read = json.loads(data)
            assert read["choices"][0]["delta"]["content"] == found
            read["choices"][0]["delta"]["content"] = ""
            assert read == frame
    plain = event("plain", place=place, other=other)
    assert alike.text(on_wire(plain)) == ("plain" if known else None)
    assert alike.text(on_wire(plain) + on_wire(plain)) is None


def test_what_is_no_such_event_takes_the_long_way() -> None:
    """One without text or with what no JSON string has, one cut short, and every one before some were read."""
    alike = Alike()
    learnt = [alike.learn(event(text), json.loads(event(text)), text) for text in ("a", "b", "c")]
    assert learnt == [False, False, True]
    begin, end = on_wire(event("?")).split(b"?")
    assert alike.text(begin + b"d" + end) == "d"
    for text in (b"", b"\xff", b"\n\ndata: d", b"\x00"):
        assert alike.text(begin + text + end) is None
    assert alike.text(begin[:-1] + end) is None
    assert alike.text(begin + b"d" + end[:-1]) is None


PIECES = st.lists(
    st.sampled_from(
        ["", "I", " see", " a", " fox", ".", " ", "\n", "Thought", ":", " Final Answer: ", "Final Answer: It", " is",
         "文", "Action: get", "\nAction: get\n", "Action Input: ", "{}", '{"a": ', "1}", "\nAction Input: {}\n", "x{",
         '"']
    ),
    max_size=30,
)  # fmt: skip
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}


@given(st.lists(PIECES, min_size=1, max_size=2), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_stream_is_the_same_without_the_short_way(
    said: list[list[str]], prose: bool, logprobs: bool, retry: bool, again: bool
) -> None:
    """For several choices, with log probabilities, with calls, and with a second try or without its success."""
    said = [["It", " is", " so", ",", " and"] * prose + pieces for pieces in said]
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], "stream": True}
    request |= {"n": len(said), requests.RETRY: retry, "eager_tool_calls": not retry}
    plan = requests.make_plan(request, speech("react_en"), SidecarConfig())
    events = []
    for number in range(max(map(len, said))):
        for index, pieces in enumerate(said):
            if number < len(pieces):
                choice: Json = {"index": index, "delta": {"content": pieces[number]}, "logprobs": None}
                if logprobs and number % 7 == 6:
                    choice["logprobs"] = {"content": [{"token": pieces[number]}]}
                events.append({"id": "c", "model": "m", "choices": [choice | {"finish_reason": None}]})
    for index in range(len(said)):
        choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        events.append({"id": "c", "model": "m", "choices": [choice]})
    wire = [json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode() for made in events] + [b"[DONE]"]

    def translated() -> list[bytes]:
        numbers = iter(range(1000))
        with patch("callwright.dialects.stream.secrets.token_hex", lambda size: f"{next(numbers):04}"):
            stream = StreamTranslation(plan, Metrics(Gate(1, 1)))
            out = [made for data in wire for made in stream.event(data)]
            if stream.failure is not None:
                out += stream.again(plan) if again else stream.give_up()
                second = [data.replace(b'"id":"c"', b'"id":"d"') for data in wire]
                out += [made for data in second if again for made in stream.event(data)]
            ids = {json.loads(data)["id"] for data in out if data != b"[DONE]"}
            assert ids <= {"c"}, "one message, whatever was tried"
            return out

    short = translated()
    with patch.object(Alike, "text", lambda self, data: None):
        assert short == translated()


def test_what_says_its_text_twice_is_not_learnt() -> None:
    """JSON reads the last of the same names, so the first can't be told by."""
    data = event("b").replace(b'"content":"b"', b'"content":"b","content":"b"')
    alike = Alike()
    assert not any(alike.learn(data, json.loads(data), "b") for _ in range(6))


@pytest.mark.parametrize("index", [0, 3])
def test_the_only_choice_may_have_any_number(index: int) -> None:
    """A second try goes on with it, and what was kept back for one is given up."""
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], requests.RETRY: True}
    plan = requests.make_plan(request, speech("react_en"), SidecarConfig())
    for give_up in (False, True):
        stream = StreamTranslation(plan, Metrics(Gate(1, 1)))
        stream.prepare()
        said = ["It is.\nAction: get\nAction Input: {a b}", ""]
        for text, finish in zip(said, (None, "stop"), strict=True):
            stream.event(event(text, finish=finish).replace(b'"index":0', b'"index":%d' % index))
        assert stream.failure is not None
        (made, *_) = stream.give_up() if give_up else stream.again(plan)
        (choice,) = json.loads(made)["choices"]
        assert (choice["index"], "Action" in choice["delta"]["content"]) == (index, give_up)


def test_several_choices_in_one_event_are_sent_once() -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], "n": 2}
    stream = StreamTranslation(requests.make_plan(request, speech("react_en"), SidecarConfig()), Metrics(Gate(1, 1)))
    said = ["", ""]
    for _ in range(3):
        choices = [{"index": n, "delta": {"content": " so"}, "finish_reason": None} for n in range(2)]
        for data in stream.event(json.dumps({"id": "c", "choices": choices}).encode()):
            for choice in json.loads(data)["choices"]:
                said[choice["index"]] += choice["delta"].get("content") or ""
    assert [text.strip() for text in said] == ["so so so"] * 2


def test_a_second_try_is_read_by_its_own_parser() -> None:
    """Prose, then a malformed call, kept back; what comes of the second answer is a call."""
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], requests.RETRY: True}
    plan = requests.make_plan(request, speech("react_en"), SidecarConfig())
    stream = StreamTranslation(plan, Metrics(Gate(1, 1)))
    prose = [event(text) for text in ("It", " is", " a", " fox", ",", " I", " see", ".")]
    assert [made for data in prose for made in stream.event(data)][2:] == prose[1:]
    call = ["\nAction: get\nAction", " Input: {", "a", " b", "}"]
    out = [made for text in call for made in stream.event(event(text))]
    out += [made for data in (event("", finish="stop"), b"[DONE]") for made in stream.event(data)]
    assert out == []
    assert stream.failure is not None
    assert stream.failure.text.startswith("It is a fox, I see.\nAction: get"), "all of the turn, as it was written"
    assert json.loads(stream.again(plan)[0])["choices"][0]["delta"] == {"content": "\n"}
    second = [event(text) for text in ("Yes", " it", " is", "\nAction: get\nAction Input: {}\n")]
    made = [json.loads(data) for e in [*second, event("", finish="stop")] for data in stream.event(e)]
    assert made[-1]["choices"][0]["finish_reason"] == "tool_calls"
