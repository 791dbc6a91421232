"""Calls in an assistant's text: read as calls where a dialect of ours writes them so, and otherwise a finding."""

import json
from pathlib import Path
from typing import Any

import pytest
from talk import CLOCK, WEATHER, user

from callwright import dialects
from callwright.datasets import Conversation, Report, readers
from callwright.errors import InvalidInput

TOOLS = [WEATHER, CLOCK]
CALL = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'
ARGUMENTS = '{"city": "Oslo"}'
LOOP = f"Thought: I look.\nAction: get_weather\nAction Input: {ARGUMENTS}\nObservation: snow\n"
CALLED = ("assistant", None, [{"city": "Oslo"}])
LOOKED = ("assistant", "I look.", [{"city": "Oslo"}])
SNOW = ("tool", "snow", [])
ANSWER = ("assistant", "Snow.", [])


def in_format(format: str, text: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """A row whose answer is the text."""
    match format:
        case "ms_agent":
            turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": text}]
            return {"tools": tools, "conversations": turns}
        case "alpaca":
            return {"tools": json.dumps(tools), "instruction": "Q?", "output": text}
        case _:
            messages = [user("Q?"), {"role": "assistant", "content": text}]
            return {"tools": json.dumps(tools) if format == "swift" else tools, "messages": messages}


def read(tmp_path: Path, row: dict[str, Any], format: str = "auto") -> tuple[list[Conversation], Report]:
    """The conversation of a file with that row, if it can be read, and what was found."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    report = Report()
    return list(readers.read(path, format, strict="keep", report=report)), report


def outline(talk: Conversation) -> list[tuple[str, str | None, list[Any]]]:
    """Role, text and arguments of each message after the first."""
    return [
        (m["role"], m["content"], [json.loads(c["function"]["arguments"]) for c in m.get("tool_calls", ())])
        for m in talk.messages[1:]
    ]


FORMATS = pytest.mark.parametrize("format", ["openai", "ms_agent", "swift", "alpaca"])


@FORMATS
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"<tool_call>\n{CALL}\n</tool_call>", [CALLED]),
        (f"I look.\n<tool_call>\n{CALL}\n</tool_call>", [LOOKED]),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", [("assistant", None, CALLED[2] * 2)]),
        (f"Action: get_weather\nAction Input: {ARGUMENTS}", [CALLED]),
        (f"Thought: I look.\nAction: get_weather\nAction Input: {ARGUMENTS}\nObservation:", [LOOKED]),
        (f"{LOOP}Thought: I now know the final answer\nFinal Answer: Snow.", [LOOKED, SNOW, ANSWER]),
        (f"{LOOP.replace('snow', '<result>snow</result>')}Answer: Snow.", [LOOKED, SNOW, ANSWER]),
        ("Thought: I now know the final answer\nFinal Answer: Snow.", [ANSWER]),
        ("Snow.", [ANSWER]),
        ("Action: Bo sends it. Use get_weather (it is nice).", None),
        (" Either a < b > c, or <b>none</b>.\n", None),
    ],
)
def test_calls_in_text_are_read_in_every_format(
    tmp_path: Path, format: str, text: str, expected: list[Any] | None
) -> None:
    [talk], report = read(tmp_path, in_format(format, text, TOOLS))
    assert outline(talk) == (expected or [("assistant", text, [])])
    assert set(report.findings) <= {"observation"}  # which a call at the end lacks


OTHERS = {
    "glaive": f"<functioncall> {CALL}",
    "function_call": f"<function_call>{CALL}</function_call>",
    "fence": f"Let me see.\n```json\n{CALL}\n```",
    "bare": CALL,
    "list": f"[{CALL}]",
    "langchain": '```json\n{"action": "get_weather", "action_input": {"city": "Oslo"}}\n```',
    "mistral": f"[TOOL_CALLS] [{CALL}]",
    "llama": f"<|python_tag|>{CALL}",
    "llama's code": '<|python_tag|>get_weather.call(city="Oslo")',
    "llama's function": f"<function=get_weather>{ARGUMENTS}</function>",
    "anthropic": '<invoke name="get_weather"><parameter name="city">Oslo</parameter></invoke>',
    "pythonic": '[get_weather(city="Oslo")]',
    "gemma": "```tool_code\nprint(get_weather(city='Oslo'))\n```",
    "phi": f"functools[{CALL}]",
    "deepseek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather",
    "kimi": f"<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{ARGUMENTS}",
    "nemotron": f"<TOOLCALL>[{CALL}]</TOOLCALL>",
    "harmony": f"<|channel|>commentary to=functions.get_weather <|message|>{ARGUMENTS}",
    "glm-4": f"get_weather\n{ARGUMENTS}",
    "qwen-agent": f"✿FUNCTION✿: get_weather\n✿ARGS✿: {ARGUMENTS}",
    "gorilla": "<<<api_call>>>: get_weather(city='Oslo')",
    "a name before a fence": f"get_weather\n```json\n{ARGUMENTS}\n```",
    "qwen's xml": "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>",
    "translated": f"思考：看\n行动：get_weather\n行动输入：{ARGUMENTS}",
    "a result of its own": "<tool_response>\nsnow\n</tool_response>",
    "broken": '<tool_call>\n{"name": </tool_call>',
}


@FORMATS
@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_a_call_in_another_format_is_a_finding(tmp_path: Path, format: str, text: str) -> None:
    kept, report = read(tmp_path, in_format(format, text, TOOLS))
    kind = "call_as_text" if kept else "tool_calls"
    assert report.findings == {kind: 1}
    assert "rows.jsonl:1: " in report.examples[kind][0]


@FORMATS
@pytest.mark.parametrize("text", ["Use <Tooltip title='t'>.", "<toolbar>", "List<Function<A>>", "I use get_weather."])
def test_a_text_on_pages_and_programs_is_no_call(tmp_path: Path, format: str, text: str) -> None:
    assert read(tmp_path, in_format(format, text, TOOLS))[1].findings == {}


def test_text_that_calls_beside_tool_calls_is_a_finding(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": f"<tool_call>{CALL}</tool_call>", "tool_calls": [json.loads(CALL)]}
    row = {"tools": TOOLS, "messages": [user("Q?"), turn, {"role": "tool", "content": "snow"}]}
    assert read(tmp_path, row)[1].findings == {"call_as_text": 1}


@FORMATS
@pytest.mark.parametrize(
    "text", [f"<tool_call>\n{CALL}\n</tool_call>", f"Action: get_weather\nAction Input: {ARGUMENTS}"]
)
def test_a_call_in_text_without_tools_is_a_finding(tmp_path: Path, format: str, text: str) -> None:
    row = in_format(format, text, [])
    del row["tools"]
    assert read(tmp_path, row)[1].findings == {"call_as_text": 1}


@pytest.mark.parametrize("name", [name for name in dialects.TEXT_NAMES if name != "ms_agent"])
def test_tools_in_a_system_text_that_is_not_read_are_a_finding(tmp_path: Path, name: str) -> None:
    asked, answer = dialects.load(name).render([user("Q?")], TOOLS).messages, {"role": "assistant", "content": "Hi."}
    assert read(tmp_path, {"messages": [*asked, answer]})[1].findings == {"call_as_text": 1}


def test_results_in_tags_lose_them(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "Q?"},
        {"from": "gpt", "value": f"<tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call>"},
        {"from": "tool", "value": "<tool_response>\nsnow\n</tool_response>\n<tool_response>\nrain\n</tool_response>"},
        {"from": "gpt", "value": "Snow and rain."},
    ]
    [talk], report = read(tmp_path, {"tools": TOOLS, "conversations": turns})
    assert [m["content"] for m in talk.messages if m["role"] == "tool"] == ["snow", "rain"]
    assert not report.findings


def test_thoughts_beside_the_text_are_kept(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "Snow.", "reasoning_content": "It is cold.", "thought": "I know."}
    [talk], report = read(tmp_path, {"messages": [user("Q?"), answer]})
    assert talk.messages[1] == answer
    assert not report.remarks


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Snow.", "reasoning": "It is cold."},
        {"content": "Snow.", "thinking": "It is cold."},
        {"content": [{"type": "thinking", "thinking": "It is cold."}, {"type": "text", "text": "Snow."}]},
        {"content": "<think>\nIt is cold.\n</think>\n\nSnow."},
    ],
)
def test_reasoning_is_read_as_every_client_writes_it(tmp_path: Path, message: dict[str, Any]) -> None:
    [talk], _ = read(tmp_path, {"tools": [WEATHER], "messages": [user("Q?"), {"role": "assistant", **message}]})
    assert talk.messages[1] == {"role": "assistant", "content": "Snow.", "reasoning_content": "It is cold."}


@pytest.mark.parametrize(
    "text",
    [
        'Action: call get_weather with {"city": "Oslo"}\nObservation:',
        'Use the <think> tag.\nAction: get_weather{"city": "Oslo"}',
        'Action: get_weather["Oslo"]',
    ],
)
def test_a_call_of_a_declared_tool_is_read_without_its_input_line(tmp_path: Path, text: str) -> None:
    turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": text}]
    [talk], _ = read(tmp_path, {"tools": [WEATHER], "conversations": turns})
    [call] = talk.messages[1]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Oslo"})


def test_a_thought_without_an_answer_is_what_is_said(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "Thought: No tool fits.\nAction: None"}]
    [talk], _ = read(tmp_path, {"tools": [WEATHER], "conversations": turns})
    assert talk.messages[1] == {"role": "assistant", "content": "No tool fits."}


@pytest.mark.parametrize("format", ["ms_agent", "alpaca", "openai", "swift"])
@pytest.mark.parametrize("before", ["", LOOP, "Thought: I know.\n"])
def test_a_call_that_a_final_answer_shows_is_trained_as_the_answer(tmp_path: Path, format: str, before: str) -> None:
    """As it is served: nothing of it is a call, and nothing is lost."""
    shown = f"Write\nAction: get_weather\nAction Input: {ARGUMENTS}"
    [talk], _ = read(tmp_path, in_format(format, f"{before}Final Answer: {shown}", TOOLS), format)
    assert (talk.messages[-1]["content"], talk.messages[-1].get("tool_calls")) == (shown, None)
    for name in ("react_en", "react_zh", "ms_agent", "agentfabric", "toolbench"):
        rendered = dialects.load(name).render(talk.messages, talk.tools)
        own = "".join(s.text for s in rendered.segments if s.turn == len(talk.messages) - 1)
        served = dialects.load(name).parse(own, talk.tools)
        assert served.calls == (), name
        assert (served.content or "").endswith(shown), name


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": f"{LOOP}Final Answer: Snow.\n"} | {"reasoning_content": "a</think>b"}, None),
        ({"content": "I look.\n<think>\nLate.\n</think>\nSnow."}, "behind what the turn says: 'Late.'"),
        ({"content": f"<tool_call>\n{CALL}\n</tool_call>\n<think>\nLate.\n</think>"}, "behind what the turn says"),
        ({"content": f"Thought: So.\n<think>Late.</think>\nAction: get_weather\nAction Input: {ARGUMENTS}"}, "behind"),
        ({"role": "user", "content": "And?", "reasoning_content": "Mine."}, "beside a message of the user"),
        ({"role": "system", "content": "Be kind.", "thinking": "Mine."}, "beside a message of the system"),
        ({"content": "<think>One.</think>\n<think>Two.</think>\nSnow."}, None),
    ],
    ids=["the end within", "amid text", "after a call", "after a Thought", "a user's", "a system's", "two at the head"],
)
def test_a_thought_in_the_wrong_place_is_named_by_file_and_line_and_the_rest_kept(
    tmp_path: Path, message: dict[str, Any], said: str | None
) -> None:
    path, report = tmp_path / "rows.jsonl", Report()
    rows = [[user("Hi"), {"role": "assistant", "content": text}] for text in ("Hello.", "Bye.")]
    rows.insert(1, [user("Q?"), {"role": "assistant"} | message, user("And?"), rows[0][1]])
    path.write_text("".join(json.dumps({"tools": TOOLS, "messages": row}) + "\n" for row in rows))
    found = list(readers.read(path, "openai", strict="drop", report=report))
    assert [talk.line for talk in found] == ([1, 3] if said else [1, 2, 3])
    told = [text for texts in report.to_dict()["examples"].values() for text in texts]
    assert said is None or any(f"{path}:2: " in text and said in text for text in told), told
    if said:
        with pytest.raises(InvalidInput, match="line 2"):
            list(readers.read(path, "openai", strict="fail", report=Report()))


def test_reasoning_in_the_text_and_beside_it_is_both_kept(tmp_path: Path) -> None:
    written = f"<think>In it.</think>\nAction: get_weather\nAction Input: {ARGUMENTS}"
    answer = {"role": "assistant", "content": written, "reasoning_content": "Beside it."}
    [talk], _ = read(tmp_path, {"tools": TOOLS, "messages": [user("Q?"), answer]}, "openai")
    assert talk.messages[1]["reasoning_content"] == "Beside it.\nIn it."
    assert outline(talk) == [CALLED]
