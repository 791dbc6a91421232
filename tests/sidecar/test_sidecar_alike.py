"""The quick way to an event's text is JSON's way, wherever it is taken."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from callsmith.sidecar.alike import Alike

words = st.text(max_size=8) | st.sampled_from(['"', "\\", '","content":"', "\n", "é", "\ud800", "文"])
events = st.fixed_dictionaries(
    {"id": st.sampled_from("ab"), "content": words, "choices": st.tuples(
        st.fixed_dictionaries(
            {"index": st.just(0), "delta": st.fixed_dictionaries({"content": words}, optional={"content ": words}),
             "logprobs": st.none() | st.fixed_dictionaries({"content": words})}
        )
    )}
)  # fmt: skip
compact = st.sampled_from([(",", ":"), (", ", ": ")])


def dump(event: dict[str, Any], separators: tuple[str, str], ascii_only: bool) -> bytes:
    return json.dumps(event, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@given(st.lists(st.tuples(events, compact, st.booleans()), min_size=1, max_size=14))
@settings(max_examples=400, deadline=None)
def test_a_text_found_is_the_text_that_is_there(written: list[tuple[dict[str, Any], tuple[str, str], bool]]) -> None:
    """And all else in the event is as in one that was read, whatever else bears the same words."""
    alike, learnt = Alike(), None
    for event, separators, ascii_only in written:
        data = dump(event, separators, ascii_only)
        read = json.loads(data)
        delta = read["choices"][0]["delta"]
        if (text := alike.text(data)) is not None:
            assert text == delta["content"]
            delta["content"] = None
            assert read == learnt
        elif alike.learn(data, read, delta["content"]):
            assert alike.text(data) == delta["content"]
            delta["content"] = None
            learnt = read


def test_an_engines_events_are_alike() -> None:
    """After a few; one that ends the stream is not."""
    alike = Alike()

    def event(text: str, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    learnt = [alike.learn(dump(event(text), (",", ":"), False), event(text), text) for text in ("a", "b", "c")]
    assert learnt == [False, False, True]
    assert alike.text(dump(event("文 d"), (",", ":"), False)) == "文 d"
    assert alike.text(dump(event(""), (",", ":"), False)) == ""
    assert alike.text(dump(event('"'), (",", ":"), False)) is None
    assert alike.text(dump(event("e", "stop"), (",", ":"), False)) is None
    assert alike.text(dump(event("?"), (",", ":"), False).replace(b"?", b"\xff")) is None
