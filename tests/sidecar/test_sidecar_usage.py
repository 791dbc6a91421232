"""Tokens are read from an answer's bytes in any pieces, and the event that tells them is shown to those who asked."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwright.sidecar.usage import UsageReader, WithoutUsage, asking_usage

TOLD: dict[str, dict[str, Any]] = {
    "OpenAI": {"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 5, "details": {"cached": 64}}},
    "Messages": {"type": "message_delta", "usage": {"input_tokens": 70, "output_tokens": 5}},
    "Responses": {"type": "response.completed", "response": {"usage": {"input_tokens": 70, "output_tokens": 5}}},
}
CLAIMS = 'a text with "usage": {"prompt_tokens": 900, "completion_tokens": 900}'


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@pytest.mark.parametrize("api", TOLD)
@given(st.lists(st.integers(0, 1200)), st.booleans())
@settings(deadline=None, max_examples=60)
def test_usage_is_found_in_any_pieces_and_not_in_what_was_said(api: str, cuts: list[int], spaced: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    said = {"choices": [{"delta": {"content": CLAIMS}}], "usage": None}
    events = [said, {"schema": {"properties": {"usage": {"type": "string"}}}}, TOLD[api], said]
    reader = UsageReader()
    for piece in pieces(b"".join(json.dumps(each, separators=separators).encode() for each in events), cuts):
        reader.feed(piece)
    assert (reader.prompt, reader.completion) == (70, 5)
    stream, reader = b"".join(map(event, ["x" * 9000, *events[:3], "[DONE]"])), UsageReader()
    for piece in pieces(stream, [8 * cut for cut in cuts]):
        reader.feed_stream(piece)
    assert (reader.prompt, reader.completion) == (70, 5)


@pytest.mark.parametrize("usage", [5, [], {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 10**12},
                                   {"prompt_tokens": "7"}, {"prompt_tokens": None, "x": {}}])  # fmt: skip
def test_what_is_no_count_is_none(usage: object) -> None:
    reader = UsageReader()
    reader.feed(json.dumps({"usage": usage}).encode())
    assert (reader.prompt, reader.completion) == (0, 0)


def test_an_object_without_end_is_not_kept() -> None:
    reader = UsageReader()
    for _ in range(100):
        reader.feed(b'"usage":{"a":"' + b"x" * 1000)
    assert len(reader._rest) < 10_000


EVENTS = [
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    b": comment\n\n",
    b'event: x\r\ndata: {"choices": [{"delta": {"content": "\\"usage\\":{}"}}], "usage": {"prompt_tokens": 1}}\r\n\r\n',
    b'data: {"choices":[],"error":"usage"}\n\n',
    b'data: {"choices":[],"usage":null}\n\n',
    b"data: [DONE]\n\n",
    b"data: " + b"y" * 5000 + b"\n\n",
]
USAGE = [
    b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":7}}\n\n',
    b'data: {"choices": [], "usage": {"prompt_tokens": 7}}\r\n\r\n',
]


@given(st.lists(st.sampled_from(EVENTS), max_size=8), st.sampled_from(USAGE), st.sampled_from([EVENTS[5], b""]),
       st.lists(st.integers(0, 20_000)), st.booleans())  # fmt: skip
@settings(deadline=None)
def test_the_event_that_tells_the_usage_is_taken_out_and_no_byte_else(
    wire: list[bytes], usage: bytes, done: bytes, cuts: list[int], breaks: bool
) -> None:
    begun = b"".join(wire)
    sent, kept = begun + usage + done, begun + done
    if breaks:
        sent, kept = sent + b"data: {", kept + b"data: {"
    shown = WithoutUsage()
    assert b"".join([*map(shown.feed, pieces(sent, cuts)), shown.rest()]) == kept


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b' {"model":  1.50}', b' {"stream_options":{"include_usage":true},"model":  1.50}'),
        (b"{}", b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options": {"include_usage": true}}', None),
        (b'{"stream_options": 5}', None),
        (b'{"stream_options": null, "a": 1}', b'{"stream_options": {"include_usage": true}, "a": 1}'),
        (b'{"stream_options": {"x": 2}}', b'{"stream_options": {"x": 2, "include_usage": true}}'),
        ('{"a": "é"}'.encode("utf-16-le"), rb'{"a": "\u00e9", "stream_options": {"include_usage": true}}'),
    ],
)
def test_a_body_asks_for_usage_and_is_the_same_otherwise(body: bytes, asked: bytes | None) -> None:
    assert asking_usage(body, json.loads(body)) == asked
