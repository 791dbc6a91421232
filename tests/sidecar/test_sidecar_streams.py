"""Events off the wire, and what a stream's translation makes of several choices and of a second try."""

import itertools
import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwright.errors import Unavailable
from callwright.sidecar import sse
from callwright.sidecar.admission import Gate
from callwright.sidecar.budget import Budget
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.models import named_dialect
from callwright.sidecar.plan import RETRY, make_plan
from callwright.sidecar.record import Ledger
from callwright.sidecar.telemetry import Metrics
from callwright.sidecar.translation import StreamTranslation, _ProseFrame

TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}


def chunk(text: str, *, index: int = 0, finish: str | None = None) -> bytes:
    """An event's data, as an engine writes it."""
    choice = {"index": index, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}, separators=(",", ":")).encode()


def translation(**asked: Any) -> StreamTranslation:
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]} | asked
    record = Ledger(Metrics(Gate(1, 1), Budget(1)), (), ()).open("/v1/chat/completions", None)
    return StreamTranslation(make_plan(request, named_dialect("react_en"), SidecarConfig()), record)


def events(stream: StreamTranslation, *data: bytes) -> list[bytes]:
    return [made for each in data for made in stream.event(each)]


@given(st.lists(st.sampled_from([b"data: {}\n\n", b": and data: {}\n\n", b"data:x\r\n\r\n", b"event: a\ndata: b\n\n"])),
       st.lists(st.integers(0, 200)))  # fmt: skip
def test_events_are_the_same_in_any_pieces(wire: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(wire)
    places = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    reader, found = sse.EventReader(), []
    for begin, end in itertools.pairwise(places):
        found += reader.feed(whole[begin:end])
    told = {b"data: {}\n\n": b"{}", b"data:x\r\n\r\n": b"x", b"event: a\ndata: b\n\n": b"b"}
    assert found == [told[each] for each in wire if each in told]


def test_an_event_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 10)
    reader = sse.EventReader()
    reader.feed(b"data: x")
    with pytest.raises(Unavailable, match="without end"):
        reader.feed(b"yyyyyyyy")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each, max_size=3)))
def test_json_is_read_as_the_library_reads_it(value: Any) -> None:
    assert sse.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize("data", [b"", b"{", b"{} {}", b"\xff"])
def test_what_is_no_json_is_refused_as_the_library_refuses_it(data: bytes) -> None:
    for read in (sse.loads, json.loads):
        with pytest.raises(ValueError):  # noqa: PT011 — of whichever kind
            read(data)


def test_a_chunk_that_needs_no_change_stays_as_it_came() -> None:
    stream = translation()
    prose = [chunk(text) for text in ("It", " is", " a", " fox", ",", " 文", " so", ".")]
    assert events(stream, *prose)[2:] == prose[1:]


def test_a_frame_tells_events_that_differ_in_their_text_alone() -> None:
    frame = _ProseFrame()
    assert frame.learn(chunk("a"), "a")
    assert frame.text(chunk(" fox")) == " fox"
    others = [
        chunk(""),
        chunk("a", index=1),
        chunk("a", finish="xx"),
        chunk('"'),
        chunk("\\"),
        chunk("\n"),
        b"",
        b"a",
    ]
    for data in [*others, chunk("ab").replace(b"ab", b"\xff"), chunk("a")[:-1], chunk("a")[1:], chunk("a") * 2]:
        assert frame.text(data) is None
    twice = chunk("b").replace(b'"content":"b"', b'"content":"b","content":"b"')
    for data in (twice, chunk("b").replace(b'{"id"', b'{"content":"b","id"'), chunk("b").replace(b'":"b"', b'": "b"')):
        assert not _ProseFrame().learn(data, "b")


SAID = st.sampled_from(
    ["a", " quick", "文", "?", "", '"', "\\", '","content":"', "\n", "\ud800", "Thought", ":", "Final Answer: It", '"}',
     "Action: get\n", "\nAction: get\n", "Action Input: {", '"a": 1}', "\nAction Input: {}\n", "\\u0041"]
)  # fmt: skip


@given(st.lists(st.lists(SAID, max_size=20), min_size=1, max_size=2), st.sampled_from(["", "content", "text"]),
       st.booleans(), st.booleans(), st.booleans())  # fmt: skip
@settings(deadline=None)
def test_events_that_are_told_by_their_frame_are_translated_as_all_others(
    said: list[list[str]], other: str, logprobs: bool, retry: bool, again: bool
) -> None:
    """Whatever else they hold, for several choices, with calls, and with a second try or without its success."""
    said = [["a", "a", "a", *texts] for texts in said]
    wire: list[dict[str, Any]] = []
    for number in range(max(map(len, said))):
        for index, texts in enumerate(said):
            if number < len(texts):
                choice: dict[str, Any] = {"index": index, "delta": {"content": texts[number]}, "finish_reason": None}
                choice["logprobs"] = {"content": [{"token": "t"}]} if logprobs and number % 5 == 4 else None
                wire.append({"extra": {other: "a"}, "id": "c", "choices": [choice]})
    for index in range(len(said)):
        choice = {"index": index, "delta": {"content": "."}, "finish_reason": "stop", "logprobs": None}
        wire.append({"extra": {other: "a"}, "id": "c", "choices": [choice]})
    sent = [json.dumps(each, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") for each in wire]

    def translated() -> list[bytes]:
        numbers = itertools.count()
        with patch("callwright.dialects.stream.secrets.token_hex", lambda size: f"{next(numbers):04}"):
            stream = translation(**{"n": len(said), RETRY: retry, "eager_tool_calls": not retry})
            out = events(stream, *sent, sse.DONE)
            if stream.malformed_turn is not None:
                out += stream.resume(stream._plan) if again else stream.release()
                out += events(stream, *(data.replace(b'"id":"c"', b'"id":"d"') for data in sent if again))
        return out

    short = translated()
    with patch.object(_ProseFrame, "text", lambda self, data: None):
        assert short == translated()


@pytest.mark.parametrize("together", [False, True])
def test_several_choices_are_each_sent_once(together: bool) -> None:
    """In one event or in several."""
    stream, said = translation(n=2), ["", ""]
    for _ in range(3):
        choices = [{"index": n, "delta": {"content": " so"}, "finish_reason": None} for n in range(2)]
        for sent in [choices] if together else [[choice] for choice in choices]:
            for data in stream.event(json.dumps({"id": "c", "choices": sent}).encode()):
                for choice in json.loads(data)["choices"]:
                    said[choice["index"]] += choice["delta"].get("content") or ""
    assert [text.strip() for text in said] == ["so so so"] * 2


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("release", [False, True])
def test_the_only_choice_may_have_any_number(index: int, release: bool) -> None:
    """A second try goes on with it, and what was kept back for one is given up."""
    stream = translation(**{RETRY: True})
    events(
        stream, chunk("It is.\nAction: get\nAction Input: {a b}", index=index), chunk("", index=index, finish="stop")
    )
    assert stream.malformed_turn is not None
    (made, *_) = stream.release() if release else stream.resume(stream._plan)
    (choice,) = json.loads(made)["choices"]
    assert (choice["index"], "Action" in choice["delta"]["content"]) == (index, release)


def test_a_second_try_is_read_by_its_own_parser() -> None:
    """Prose, then a malformed call, kept back; what comes of the second answer is a call."""
    stream = translation(**{RETRY: True})
    events(stream, *(chunk(text) for text in ("It", " is", " a", " fox", ",", " I", " see", ".")))
    call = ["\nAction: get\nAction", " Input: {", "a", " b", "}"]
    assert events(stream, *(chunk(text) for text in call), chunk("", finish="stop"), sse.DONE) == []
    assert stream.malformed_turn is not None
    assert stream.malformed_turn.text.startswith("It is a fox, I see.\nAction: get"), "all of it, as it was written"
    assert json.loads(stream.resume(stream._plan)[0])["choices"][0]["delta"] == {"content": "\n"}
    second = [
        chunk(text).replace(b"chatcmpl-1", b"chatcmpl-2") for text in ("Yes", "\nAction: get\nAction Input: {}\n")
    ]
    made = [json.loads(data) for data in events(stream, *second, chunk("", finish="stop"))]
    assert made[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert {each["id"] for each in made} == {"chatcmpl-1"}, "one message"
