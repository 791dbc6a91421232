"""The contract: laws that every dialect keeps, as property tests. `LAWS` is all of them; each takes a dialect.

A new dialect needs nothing but its name in `dialects.TEXT_NAMES` to be held to every law here.
"""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from dialect_cases import CASES
from generated import TOOLS
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption
from laws import check_split, check_turn, passed, stream

from callwright.dialects import Dialect, Rendered, ToolCall, accumulate
from callwright.errors import InvalidInput

Messages = list[dict[str, Any]]
Made = list[tuple[str, dict[str, Any]]]
"""Calls that were made: names and arguments."""

_MARKERS = [
    *("Action:", "Action Input:", "Observation:", "Thought:", "Final Answer:", "Answer:", "Question:", "Action"),
    *(
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "\nObservation: ",
        "\nAction: fire_alert\n",
        "{}",
        "{'a': ",
    ),
    *("fire_recognition", "fire\\_alert", "I now know the final answer", "```", '"', "'", "}", "\n", " ", "：", "\\"),
    *("Finish", '{"image": "x"}', '{"name": "fire_alert", "arguments": {}}', "None", "\ud83d"),
]
hostile = st.lists(st.sampled_from(_MARKERS) | st.text(max_size=6), max_size=14).map("".join)
"""Text full of markers, where they belong and where they do not."""
_line = st.text(st.characters(exclude_characters=":：<", exclude_categories=["Cs"]), max_size=40).map(
    lambda text: " ".join(text.split())
)
one_line = _line.filter(lambda text: not re.match("(?:`|~){3}", text))
_plain = st.text(st.characters(exclude_characters=":：<`~", exclude_categories=["Cs"]), max_size=40).map(
    lambda text: " ".join(text.split())
)
_code = st.builds(
    "{}\n{}{}\n{}\n{}".format, _plain, st.just("```"), st.sampled_from(["", "py", "json"]), _plain, st.just("```")
)
harmless = one_line | _code.map(str.strip) | st.builds("{}\n{}".format, _code.map(str.strip), one_line.filter(bool))
"""Text that holds no marker, with a code block or without."""
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from([marker for marker in _MARKERS if marker.isascii()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=8), values, max_size=4)
_OPEN_TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"Does {name}", "parameters": {"type": "object"}}}
    for name in ("fire_alert", "getWeather", "list-files", "x", "查询天气")
]
calls = st.lists(
    st.tuples(st.sampled_from([t["function"]["name"] for t in _OPEN_TOOLS]), arguments), min_size=1, max_size=3
)


def _examples(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


def _call_message(made: Made, content: str | None, first: int = 0) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {"id": f"c{first + i}", "type": "function", "function": {"name": name, "arguments": json.dumps(given_)}}
            for i, (name, given_) in enumerate(made)
        ],
    }


def _written(dialect: Dialect, made: Made, said: str | None = None) -> str:
    """The assistant's text of a turn with these calls."""
    messages = [{"role": "user", "content": "q"}, _call_message(made, said)]
    return dialect.render(messages, _OPEN_TOOLS).messages[-1]["content"]


def _rendered(dialect: Dialect, messages: Messages, tools: Messages) -> Rendered:
    """The conversation; what the dialect cannot hold is refused by the name of its message, and drawn anew."""
    try:
        return dialect.render(messages, tools)
    except InvalidInput as error:
        if not re.match(r"messages\[\d+\]\.content: got text that hides", str(error)):
            raise
        raise UnsatisfiedAssumption from None


@st.composite
def conversations(draw: st.DrawFn, text: st.SearchStrategy[str] = hostile) -> Messages:
    """Turns with calls, results in any order, and answers; every text as hostile as given."""
    messages: Messages = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(text)})
    for _ in range(draw(st.integers(1, 2))):
        messages.append({"role": "user", "content": draw(text)})
        for _ in range(draw(st.integers(0, 2))):
            made = draw(calls)
            messages.append(_call_message(made, draw(st.none() | text)))
            results = [{"role": "tool", "tool_call_id": f"c{i}", "content": draw(text)} for i in range(len(made))]
            messages.extend(draw(st.permutations(results)))
        messages.append({"role": "assistant", "content": draw(text)})
    return messages


@_examples(40)
@given(calls, st.none() | harmless)
def round_trip_of_calls(dialect: Dialect, made: Made, said: str | None) -> None:
    """parse(render(calls)) == calls, and what was said before them is content."""
    turn = dialect.parse(_written(dialect, made, said), _OPEN_TOOLS)
    assert turn.calls == tuple(ToolCall("", name, _one_line(given_)) for name, given_ in made)
    assert turn.content == (said or None)


@_examples(40)
@given(harmless.filter(bool), st.booleans())
def round_trip_of_answers(dialect: Dialect, answer: str, shown: bool) -> None:
    """An answer that is rendered is read back as the same content, with tools shown and without."""
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]
    written = dialect.render(messages, _OPEN_TOOLS if shown else []).messages[-1]["content"]
    assert dialect.parse(written, _OPEN_TOOLS).content == answer


@_examples(150)
@given(hostile, st.lists(st.integers(1, 20), min_size=1, max_size=8), st.booleans(), st.booleans())
def split_invariance(dialect: Dialect, text: str, lengths: list[int], eager: bool, cut: bool) -> None:
    """Any split of any text gives what the whole gives, plain and eager, ended and cut off."""
    pieces, position = [], 0
    while position < len(text):
        pieces.append(text[position : position + lengths[len(pieces) % len(lengths)]])
        position += len(pieces[-1])
    check_split(dialect, pieces, TOOLS, eager=eager, cut=cut)


@_examples(40)
@given(calls, harmless, st.data())
def one_character_at_a_time(dialect: Dialect, made: Made, said: str, data: st.DataObject) -> None:
    """The finest split, over texts that are mostly right."""
    text = _written(dialect, made, said)
    start = data.draw(st.integers(0, len(text)))
    text = text[:start] + data.draw(hostile) + text[start + data.draw(st.integers(0, 5)) :]
    check_split(dialect, list(text), _OPEN_TOOLS)


@_examples(60)
@given(conversations(), st.booleans())
def prefix_law(dialect: Dialect, messages: Messages, shown: bool) -> None:
    """Cut at any assistant turn, a conversation is a prefix, byte for byte, of the whole one that training sees."""
    tools = _OPEN_TOOLS if shown else []
    whole = _rendered(dialect, messages, tools).messages
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = dialect.render(messages[:turn], tools)
        last = len(asked.messages) - 1
        if asked.continue_final:
            assert whole[:last] == asked.messages[:last]
            assert whole[last]["role"] == asked.messages[last]["role"] == "assistant"
            assert whole[last]["content"].startswith(asked.messages[last]["content"])
        else:
            assert whole[: last + 1] == asked.messages
            assert whole[last + 1]["role"] == "assistant"


@_examples(40)
@given(conversations(harmless))
def served_as_trained(dialect: Dialect, messages: Messages) -> None:
    """What a client sends back of a served turn renders to the bytes that were served."""
    messages = [m for m in messages if m["role"] != "assistant" or m["content"] or m.get("tool_calls")]
    whole = dialect.render(messages, _OPEN_TOOLS)
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = dialect.render(messages[:turn], _OPEN_TOOLS)
        before = asked.messages[-1]["content"] if asked.continue_final else ""
        content = whole.messages[len(asked.messages) - (1 if asked.continue_final else 0)]["content"]
        written = content[len(before) :]
        if dialect.stop and message.get("tool_calls"):
            written = written.split(dialect.stop[0])[0]
        seen = dialect.parse(written, _OPEN_TOOLS)
        back = {
            "role": "assistant",
            "content": seen.content,
            "tool_calls": [
                {"id": sent["id"], "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for sent, c in zip(message.get("tool_calls", []), seen.calls, strict=True)
            ],
        }
        assert dialect.render([*messages[:turn], back, *messages[turn + 1 :]], _OPEN_TOOLS) == whole


@st.composite
def adversarial_turns(draw: st.DrawFn) -> tuple[dict[str, Any], Messages, Made]:
    """A turn with reasoning, text and calls, all full of markers, and a result for each call."""
    made = draw(calls)
    said = draw(st.none() | hostile | st.sampled_from([case.text for case in CASES]))
    turn = _call_message(made, said)
    if draw(st.booleans()):
        turn["reasoning_content"] = draw(hostile.filter(lambda text: "</think>" not in text))
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": f"[result {n}]"} for n in range(len(made))]
    return turn, draw(st.permutations(results)), made


@_examples(150)
@given(adversarial_turns())
def no_call_and_no_result_is_lost(dialect: Dialect, drawn: tuple[dict[str, Any], Messages, Made]) -> None:
    """Whatever stands beside them, the calls are read back, each result follows in its call's order, thoughts stay.

    What the dialect cannot hold is refused by name.
    """
    turn, results, made = drawn
    rendered = _rendered(dialect, [{"role": "user", "content": "q"}, turn, *results], _OPEN_TOOLS)
    own = [segment for segment in rendered.segments if segment.turn == 1]
    observed = [segment.text for segment in own if segment.kind == "observation"][-len(results) :]
    written = "".join(segment.text for segment in own)
    if dialect.stop:
        assert all(f"[result {n}]" in text for n, text in enumerate(observed)), observed
        written = written[: written.index(observed[0])] if observed[0] in written else ""
        assert len(observed) == len(results)
    everything = "".join(str(message["content"]) for message in rendered.messages)
    places = [everything.rindex(f"[result {n}]") for n in range(len(results))]
    assert places == sorted(places)
    read = dialect.parse(written, _OPEN_TOOLS)
    valid = tuple(call for call in read.calls if isinstance(call, ToolCall))
    assert valid == tuple(ToolCall("", name, _one_line(given_)) for name, given_ in made)
    before = next(m for m in rendered.messages if m["role"] == "assistant").get("reasoning_content", "")
    assert (turn.get("reasoning_content") or "").strip() in before
    as_text = rendered.reasoning_as_text()
    assert not any("reasoning_content" in message for message in as_text.messages)
    for index, message in enumerate(as_text.messages):
        assert "".join(s.text for s in as_text.segments if s.message == index) == message["content"]


@_examples(150)
@given(hostile | st.sampled_from([case.text for case in CASES if not case.cut]), st.booleans())
def a_read_turn_is_written_as_it_was(dialect: Dialect, text: str, opened: bool) -> None:
    """What is read of any text, and sent back with its results, gives the same calls and thoughts, and no others.

    An answer that shows how a call is written is no call, where the dialect has a form for answers. A thought's tag
    that an answer opens with is a thought to whoever reads it again.
    """
    turn = dialect.parse(text, TOOLS, opened=opened)
    valid = [call for call in turn.calls if isinstance(call, ToolCall)]
    back = _call_message([(call.name, json.loads(call.arguments)) for call in valid], turn.content)
    back["reasoning_content"] = turn.thought
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": "[result]"} for n in range(len(valid))]
    rendered = dialect.render([{"role": "user", "content": "q"}, back, *results], TOOLS)
    own = [segment for segment in rendered.segments if segment.turn == 1]
    while own and own[-1].kind == "observation":
        own.pop()
    again = dialect.parse("".join(segment.text for segment in own), TOOLS)
    if valid or dialect.name != "hermes":  # which has no way to write that an answer shows a call
        assert [call for call in again.calls if isinstance(call, ToolCall)] == valid
    thought = next((m.get("reasoning_content") for m in rendered.messages if m["role"] == "assistant"), None)
    assert (thought or None) == turn.thought or "<think>" in (turn.content or "")
    if "`" not in text and "~" not in text and valid:  # a fence before a call is no content
        shown, sent = ((content or "").encode(errors="replace").split() for content in (again.content, turn.content))
        assert shown == sent


@_examples(60)
@given(hostile.filter(lambda text: "</think>" not in text), harmless.filter(bool), calls)
def a_thought_is_no_content(dialect: Dialect, thought: str, said: str, made: Made) -> None:
    """In a think block nothing is a marker; opened by the prompt it is read alike, and what follows it too."""
    text = _written(dialect, made, said)
    whole = dialect.parse(f"<think>\n{thought}\n</think>\n\n{text}", _OPEN_TOOLS)
    assert whole.thought == (thought.strip() or None)
    plain = dialect.parse(text, _OPEN_TOOLS)
    assert (whole.content, whole.calls) == (plain.content, plain.calls)
    assert dialect.parse(f"{thought}\n</think>\n\n{text}", _OPEN_TOOLS, opened=True) == whole
    assert dialect.parse(thought, _OPEN_TOOLS, opened=True).content is None


_FORGED = re.compile(r"(Observation|Action Input|Action|Answer|Thought|Question)\s*[:：]")


def _forges(messages: Messages) -> bool:
    """Whether a result, or what is said beside or after a call, bears markers: nothing tells them from the format's."""
    after = [message for before, message in pairwise(messages) if before["role"] == "tool"]
    within = [message for message in messages if message["role"] == "tool" or "tool_calls" in message]
    return any(_FORGED.search(str(message["content"])) for message in (*within, *after))


@_examples(60)
@given(conversations(), st.integers(1, 12), st.booleans())
def idempotent_rendering(dialect: Dialect, messages: Messages, length: int, shown: bool) -> None:
    """What is rendered already stays as it is, unless it forges the format."""
    tools = _OPEN_TOOLS if shown else []
    part = messages[:length]
    assume(not _forges(part))
    rendered = _rendered(dialect, part, tools)
    again = dialect.render(rendered.messages, tools)
    assert again.messages == rendered.messages
    assert again.continue_final == rendered.continue_final


@_examples(60)
@given(conversations(), hostile)
def segments_concatenate(dialect: Dialect, messages: Messages, text: str) -> None:
    """Segments of a message give its content; an observation opens with its marker; any text can be split."""
    rendered = _rendered(dialect, messages, _OPEN_TOOLS)
    assert [s.message for s in rendered.segments] == sorted(s.message for s in rendered.segments)
    for index, message in enumerate(rendered.messages):
        own = [segment for segment in rendered.segments if segment.message == index]
        assert "".join(segment.text for segment in own) == message["content"]
        assert all(segment.text for segment in own)
        if message["role"] != "assistant":
            assert {segment.kind for segment in own} <= {"system", "user"}
    assert "".join(segment.text for segment in dialect.segment(text)) == text
    for segment in (*rendered.segments, *dialect.segment(text)):
        if segment.kind == "observation":
            assert segment.text.lstrip(" \t*_#").lower().startswith("observation"), segment


@_examples(30)
@given(calls, harmless)
def kinds_are_told_apart(dialect: Dialect, made: Made, said: str) -> None:
    """Every call has an action and an action_input segment, which hold its name and exactly its arguments."""
    segments = dialect.render([{"role": "user", "content": "q"}, _call_message(made, said)], _OPEN_TOOLS).segments
    names = [s.text for s in segments if s.kind == "action"]
    inputs = [s.text for s in segments if s.kind == "action_input"]
    assert len(names) == len(inputs) == len(made)
    for name, written, (called, given_) in zip(names, inputs, made, strict=True):
        assert called in name
        assert _one_line(given_) in written


@_examples(80)
@given(hostile | st.text(st.characters(), max_size=60), st.sampled_from([None, [], TOOLS]), st.booleans())
def any_text_is_read(dialect: Dialect, text: str, tools: Messages | None, cut: bool) -> None:
    """No text raises, whatever the tools; what comes out is valid."""
    check_turn(dialect.parse(text, tools, cut=cut))
    accumulate(stream(dialect, [text], tools, eager=True, cut=cut))


_schema_words = st.sampled_from(
    [*("type", "properties", "required", "items", "anyOf", "oneOf", "allOf", "$ref", "enum", "description", "a", "b")]
)
_garbage = st.recursive(
    st.sampled_from(
        [None, True, 1, "string", "integer", "array", "object", "#/a", "#/properties/a", "#", float("nan")]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_schema_words, inner, max_size=4),
    max_leaves=12,
)


@_examples(60)
@given(_garbage, st.sampled_from(['{"a": "1", "b": ["x", {"a": "2"}]}', "5", "a=1", "None", '["1"]']))
def any_schema_is_borne(dialect: Dialect, schema: object, written: str) -> None:
    """Whatever clients declare as a schema, calls are written and read without an exception."""
    tools = [{"name": "f", "description": schema, "parameters": schema}]
    dialect.render([{"role": "user", "content": "q"}], tools)
    before, after = dialect.call_frame("f")
    turn = dialect.parse(before + written + after, tools)
    check_turn(turn)
    assert len(turn.calls) == 1


def prose_takes_the_short_way(dialect: Dialect) -> None:
    """Within a line, all of it, that of a final answer too; no part of a call does."""
    prose = ["I", " see", " 狐狸", " jump", "."]
    answer = dialect.render([{"role": "assistant", "content": "".join(prose)}], _OPEN_TOOLS).messages[-1]["content"]
    for before in ("", answer.removesuffix("".join(prose))):
        assert passed(dialect, [before, *prose], _OPEN_TOOLS)[-4:] == [True] * 4, before
    written = _written(dialect, [("x", {"a b": "c d"})])
    assert not any(passed(dialect, [written[:3], *written[3:]], _OPEN_TOOLS)), written


@_examples(30)
@given(st.lists(_plain.filter(bool), min_size=1, max_size=6))
def prose_is_not_held_back(dialect: Dialect, pieces: list[str]) -> None:
    """Of prose in mid-line nothing but trailing white space waits."""
    parser = dialect.parser(TOOLS)
    sent = "".join(delta.text for delta in parser.feed("zz"))
    given_ = "zz"
    for piece in pieces:
        given_ += piece
        sent += "".join(delta.text for delta in parser.feed(piece))
        assert sent == given_.rstrip()


@_examples(30)
@given(calls, st.data())
def eager_arguments_arrive(dialect: Dialect, made: Made, data: st.DataObject) -> None:
    """Eager: the same calls with the same arguments, sent as they come; cut anywhere, a prefix of them."""
    text = _written(dialect, made)
    wanted = [(name, _one_line(given_)) for name, given_ in made]
    turn = accumulate(stream(dialect, list(text), _OPEN_TOOLS, eager=True))
    assert [(c.name, c.arguments) for c in turn.calls if isinstance(c, ToolCall)] == wanted

    part = text[: data.draw(st.integers(0, len(text)))]
    seen = accumulate(stream(dialect, list(part), _OPEN_TOOLS, eager=True, cut=True)).calls
    for call, (name, whole) in zip(seen, wanted, strict=False):
        assert isinstance(call, ToolCall)
        assert call.name == name
        assert whole.startswith(call.arguments)


@_examples(40)
@given(calls, st.data())
def a_cut_call_is_no_call(dialect: Dialect, made: Made, data: st.DataObject) -> None:
    """Cut anywhere, the calls are those that were complete, and the text of the open one is content, to the last
    character.

    Only a marker that is itself cut need not be shown: behind a call it may be a stop string's.
    """
    segments = dialect.render([{"role": "user", "content": "q"}, _call_message(made, None)], _OPEN_TOOLS).segments
    own = [segment for segment in segments if segment.message == segments[-1].message]
    starts = [len("".join(s.text for s in own[:n])) for n, segment in enumerate(own) if segment.kind == "action"]
    text = "".join(segment.text for segment in own)
    part = text[: data.draw(st.integers(0, len(text)))]
    turn = dialect.parse(part, _OPEN_TOOLS, cut=True)
    assert turn.calls == dialect.parse(text, _OPEN_TOOLS).calls[: len(turn.calls)]
    if len(turn.calls) < len(made) and len(part) > starts[len(turn.calls)]:
        said, left = (turn.content or "").strip(), part[starts[len(turn.calls)] :].strip()
        marker = re.match(r"\w+:|<\w+>", dialect.call_frame(made[len(turn.calls)][0])[0])
        is_cut_marker = bool(turn.calls) and marker is not None and marker[0].startswith(left) and left != marker[0]
        assert said == left or (not said and is_cut_marker)


def long_call_arrives_whole(dialect: Dialect) -> None:
    """A call is sent with the last character of its object, not before it and not at the end of the turn."""
    before, after = dialect.call_frame("fire_alert")
    body = _one_line({"text": "x" * 2000, "more": ["{", "}", '"', "\n"]})
    text = before + body + after.partition("\n")[0]
    parser = dialect.parser(_OPEN_TOOLS)
    assert [delta for character in text[:-1] for delta in parser.feed(character)] == []
    (sent,) = parser.feed(text[-1])
    assert (sent.name, sent.arguments) == ("fire_alert", body)
    assert dialect.parse(before + body + after, _OPEN_TOOLS).calls == (ToolCall("", "fire_alert", body),)


def _one_line(given_: dict[str, Any]) -> str:
    return json.dumps(given_, ensure_ascii=False)


LAWS: dict[str, Callable[[Dialect], None]] = {
    law.__name__: law
    for law in (
        round_trip_of_calls,
        round_trip_of_answers,
        split_invariance,
        one_character_at_a_time,
        prefix_law,
        served_as_trained,
        no_call_and_no_result_is_lost,
        a_read_turn_is_written_as_it_was,
        a_thought_is_no_content,
        idempotent_rendering,
        segments_concatenate,
        kinds_are_told_apart,
        any_text_is_read,
        any_schema_is_borne,
        prose_takes_the_short_way,
        prose_is_not_held_back,
        eager_arguments_arrive,
        a_cut_call_is_no_call,
        long_call_arrives_whole,
    )
}
