"""Native formats whose values are raw text: what is written is what the models' templates write, and is read back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dialect_cases import ALERT, PARIS, TOOLS
from gemma_cases import Q
from laws import check_split, stream
from qwen_xml_cases import ANY, EXAMPLE, WRITE
from test_dialects_growth import check_growth, read_in_pieces
from transformers.utils.chat_template_utils import render_jinja_template

from callwright import dialects
from callwright.dialects import (
    NATIVE_NAMES,
    CallDelta,
    Dialect,
    Text,
    Thought,
    ThoughtDelta,
    ToolCall,
    Turn,
    accumulate,
)
from callwright.dialects.qwen_xml import NEMOTRON, QWEN_3_5, QWEN_3_6, QWEN_3_CODER, QwenXml
from callwright.errors import InvalidInput

_FILE = Path(__file__).parents[3] / "shared/templates/chat_templates.json"
TEMPLATES = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.is_file() else {}
needs_templates = pytest.mark.skipif(not TEMPLATES, reason="needs ../shared/templates")
RAW = ("qwen_xml", "gemma", "functiongemma")
ALL_TOOLS = [*TOOLS, WRITE, ANY]
CALLS = [
    ("get_weather", {
        "city": "Paris", "days": 3, "metric": True, "limit": -1.5, "tags": [1, 2], "until": None,
        "where": {"zip": "02139", "Zone": None},
    }),
    ("fire_alert", {}),
    ("write_file", {"text": 'a\n\n"b" é <b>', "path": ""}),
]  # fmt: skip


def _turn(calls: list[tuple[str, dict[str, Any]]], said: str = "", thought: str = "") -> Turn:
    made = [ToolCall("", name, json.dumps(given, ensure_ascii=False)) for name, given in calls]
    return Turn((*([Thought(thought)] if thought else []), *([Text(said)] if said else []), *made))


def _read(turn: Turn) -> tuple[str, str, list[tuple[str, Any]]]:
    calls = [(call.name, json.loads(call.arguments)) for call in turn.calls if isinstance(call, ToolCall)]
    return turn.thought or "", turn.content or "", calls


def _templated(template: str, turn: Turn, opens: str, ends: str) -> str:
    """What a template writes for a turn between its header and its end."""
    thought, said, made = _read(turn)
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if thought:
        message["reasoning_content"] = thought
    if made:
        message["tool_calls"] = [
            {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": given}}
            for n, (name, given) in enumerate(made)
        ]
    question = {"role": "user", "content": "q"}
    given = {"tools": TOOLS, "bos_token": "", "eos_token": "", "chat_template": template}
    [before], _ = render_jinja_template([[question]], **given)
    [whole], _ = render_jinja_template([[question, message]], **given)
    assert whole.startswith(before + opens)
    assert whole.endswith(ends)
    return whole[len(before + opens) :].removesuffix(ends)


@needs_templates
@pytest.mark.parametrize("said", ["", "I look."])
@pytest.mark.parametrize("thought", ["", "Look first."])
@pytest.mark.parametrize("calls", [[], CALLS[:1], CALLS], ids=["none", "one", "three"])
def test_a_turn_is_written_and_read_as_its_template_writes_it(
    calls: list[tuple[str, dict[str, Any]]], thought: str, said: str
) -> None:
    turn = _turn(calls, said, thought)
    coder = TEMPLATES["qwen3_6"]["template"].replace("preserve_thinking is true) or", "false) or false and")
    for key, template, layout in (
        ("qwen3_5_think", None, QWEN_3_5),
        ("qwen3_5_nothink", None, QWEN_3_5),
        ("qwen3_6", None, QWEN_3_6),
        *([("qwen3_6 without thoughts, as Qwen3-Coder", coder, QWEN_3_CODER)] if not thought else []),
        ("nemotron_3_nano", None, NEMOTRON),
        ("nemotron_3_super", None, NEMOTRON),
    ):
        dialect = QwenXml(layout)
        written = dialect.write(turn, ALL_TOOLS)
        wanted = _templated(template or TEMPLATES[key]["template"], turn, "<|im_start|>assistant\n", "<|im_end|>\n")
        assert written == wanted, key
        assert _read(dialect.parse(written, ALL_TOOLS)) == _read(turn), key
    gemma = dialects.load("gemma")
    written = gemma.write(turn, ALL_TOOLS)
    ends = "<|tool_response>" if calls else "<turn|>\n"
    assert written == _templated(TEMPLATES["diffusion_gemma"]["template"], turn, "<|turn>model\n", ends)
    assert _read(gemma.parse(written, ALL_TOOLS)) == _read(turn)


def test_function_gemma_writes_what_gemma_writes_in_its_own_tokens() -> None:
    written = dialects.load("functiongemma").write(_turn(CALLS), ALL_TOOLS)
    plain = dialects.load("gemma").write(_turn(CALLS), ALL_TOOLS)
    for token, own in (("<|tool_call>", "<start_function_call>"), ("<tool_call|>", "<end_function_call>")):
        plain = plain.replace(token, own)
    assert written == plain.replace(Q, "<escape>")
    assert _read(dialects.load("functiongemma").parse(written, ALL_TOOLS)) == _read(_turn(CALLS))


@pytest.mark.parametrize("name", RAW)
def test_what_the_format_cannot_hold_is_refused_by_name(name: str) -> None:
    dialect = dialects.load(name)
    bad = {
        "qwen_xml": {"text": "a\n</parameter>\n</function>\n</tool_call>\nb", "path": "x"},
        "gemma": {"text": f"a{Q}}}<tool_call|>b", "path": "x"},
        "functiongemma": {"text": "a<escape>}<end_function_call>b", "path": "x"},
    }[name]
    with pytest.raises(InvalidInput, match=f"for 'text' of 'write_file', which {name} has no way to write"):
        dialect.write(_turn([("write_file", bad)]), ALL_TOOLS)


@pytest.mark.parametrize(
    ("name", "parameter", "is_held"),
    [
        *((name, parameter, name not in RAW) for name in NATIVE_NAMES for parameter in ("a>b", "a\nb")),
        *((name, parameter, True) for name in NATIVE_NAMES for parameter in ("a b", "a-b", "$x", "日本")),
        *(("gemma", parameter, False) for parameter in ("ids[]", "a:b", "a=b", "a,b")),
        ("qwen_xml", "ids[]", True),
    ],
)
def test_a_tool_whose_parameter_no_call_can_name_is_refused_by_name(name: str, parameter: str, is_held: bool) -> None:
    dialect = dialects.load(name, native=True)
    schema = {"type": "object", "properties": {"city": {"type": "string"}, parameter: {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    asked = [{"role": "user", "content": "Hi"}]
    if is_held:
        assert dialect.render(asked, tools).tools
        return
    told = re.escape(f"tools: got the parameter {parameter!r} of 'f', a name that {name} has no way to write")
    with pytest.raises(InvalidInput, match=told):
        dialect.render(asked, tools)


def _eagerly(dialect: Dialect, text: str) -> list[str]:
    parser = dialect.parser(ALL_TOOLS, eager=True)
    return ["".join(d.arguments for d in parser.feed(each) if isinstance(d, CallDelta)) for each in text]


@pytest.mark.parametrize("name", RAW)
def test_text_is_sent_as_it_comes_and_no_delimiter_with_it(name: str) -> None:
    dialect = dialects.load(name)
    value = 'line "one"\n\tline two é ' * 40
    turn = _turn([("write_file", {"path": "a", "text": value})])
    written = dialect.write(turn, ALL_TOOLS)
    sent = _eagerly(dialect, written)
    assert accumulate(stream(dialect, list(written), ALL_TOOLS, eager=True)) == turn
    assert max(map(len, sent)) < 40
    whole = turn.calls[0].arguments
    for end in range(len(sent)):
        assert whole.startswith("".join(sent[:end]))
    half = written.index(value) + 400
    assert len("".join(sent[:half])) > 400


@pytest.mark.parametrize("name", RAW)
def test_eager_calls_are_those_that_are_read_whole(name: str) -> None:
    dialect = dialects.load(name)
    for given in ({"path": "a", "text": EXAMPLE, "mode": 3}, {"mode": 3, "path": "\r", "text": "\n\n"}, {}):
        turn = _turn([("write_file", given), *CALLS])
        written = dialect.write(turn, ALL_TOOLS)
        assert _read(accumulate(stream(dialect, list(written), ALL_TOOLS, eager=True))) == _read(turn)


def test_a_value_with_a_whole_call_is_held_back_only_from_there() -> None:
    dialect = dialects.load("qwen_xml")
    written = dialect.write(_turn([("write_file", {"path": "a", "text": f"Before.\n{EXAMPLE}"})]), ALL_TOOLS)
    sent = _eagerly(dialect, written)
    assert '"text": "Before.' in "".join(sent[: written.index("<function=f>")])


@pytest.mark.parametrize("name", RAW)
def test_the_text_may_begin_in_a_thought(name: str) -> None:
    dialect = dialects.load(name)
    call = dialect.write(_turn([PARIS]), ALL_TOOLS)
    ends = dialect.thought_tags[1] if name == "gemma" else "</think>"
    assert _read(dialect.parse(f"hm\n{ends}{call}", ALL_TOOLS, opened=True)) == ("hm", "", [PARIS])
    assert _read(dialect.parse("hm", ALL_TOOLS, opened=True)) == ("hm", "", [])


@pytest.mark.parametrize("name", ["qwen_xml", "gemma"])
def test_a_call_in_a_thought_that_never_ends_is_made(name: str) -> None:
    dialect = dialects.load(name)
    call = dialect.write(_turn([PARIS, ALERT]), ALL_TOOLS)
    ends = dialect.thought_tags[1]
    assert _read(dialect.parse(f"I call.\n{call}", ALL_TOOLS, opened=True)) == ("I call.", "", [PARIS, ALERT])
    assert _read(dialect.parse(f"I call.\n{call}\n{ends}Hi", ALL_TOOLS, opened=True)) == (f"I call.\n{call}", "Hi", [])
    cut = dialect.parse(f"I call.\n{call}", ALL_TOOLS, opened=True, cut=True)
    assert _read(cut) == (f"I call.\n{call}", "", [])
    parser = dialect.parser(ALL_TOOLS, opened=True)
    deltas = [delta for character in f"I call.\n{call}" for delta in parser.feed(character)]
    assert "".join(delta.text for delta in deltas if isinstance(delta, ThoughtDelta)) == "I call."
    assert _read(accumulate(deltas + parser.close())) == ("I call.", "", [PARIS, ALERT])


@pytest.mark.parametrize("name", RAW)
def test_segments_tell_where_a_call_and_its_arguments_begin(name: str) -> None:
    dialect = dialects.load(name)
    written = dialect.write(_turn([PARIS, ALERT], "" if name != "qwen_xml" else "I look."), ALL_TOOLS)
    segments = dialect.segment(written, ALL_TOOLS)
    assert "".join(segment.text for segment in segments) == written
    assert [segment.kind for segment in segments if segment.kind != "text"] == ["action", "action_input"] * 2
    first, inputs = (next(s.text for s in segments if s.kind == kind) for kind in ("action", "action_input"))
    assert "get_weather" in first
    assert "Paris" in inputs
    assert "Paris" not in first


MARKS = {
    "qwen_xml": (
        *(
            "<tool_call>",
            "<tool_call>\n<function=fire_alert>\n",
            "<function=fire_alert>",
            "</function>\n",
            "</tool_call>",
        ),
        *(
            "</parameter>",
            "\n</parameter>\n",
            "</function>\n</tool_call>\n",
            "<parameter=city>\n",
            " ",
            "\n",
            "<think>",
        ),
        "\n</function>\n</tool_call>\n<tool_call>\n<function=get_weather>\n<parameter=city>\n",
    ),
    "gemma": (
        *("<|tool_call>", "<|tool_call>call:fire_alert{", "<tool_call|>", Q, f"{Q},", "}", "}<tool_call|>", "a,"),
        *("a:1,", "[", "{a:", f"{Q}}}", '"', " ", "\n", "<|channel>", "<|tool_response>"),
        f"}}<tool_call|><|tool_call>call:get_weather{{city:{Q}",
    ),
}
OPENINGS = {
    "qwen_xml": (
        *("", "<tool_call>\n<function=get_weather>\n<parameter=city>\n", "<tool_call>\n<function=get_weather>\n"),
        "<think>\n<tool_call>\n<function=fire_alert>\n",
    ),
    "gemma": (
        *("", f"<|tool_call>call:get_weather{{city:{Q}", "<|tool_call>call:get_weather{", "<|channel>thought\n"),
        *("<|tool_call>call:get_weather{where:{a:", "<|channel>thought\n<|tool_call>call:f{"),
    ),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["qwen_xml", "gemma"])
def test_repeated_marks_take_linear_time(name: str) -> None:
    dialect = dialects.load(name)
    for opening in OPENINGS[name]:
        for mark in MARKS[name]:

            def make(size: int, opening: str = opening, mark: str = mark) -> str:
                return opening + mark * (size // len(mark))

            check_growth(lambda text: read_in_pieces(dialect, text), make, 1 << 11)
            check_growth(lambda text: dialect.parse(text, TOOLS), make, 1 << 14)
            check_split(dialect, list(make(400)), TOOLS)
