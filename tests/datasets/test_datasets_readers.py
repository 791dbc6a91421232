"""Readers: every format comes out as the same neutral conversation, and no row disappears without being counted."""

import csv
import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from talk import TRIP, WAITING, WEATHER, conversations, said, user

from buckets import BUCKET, s3_server
from callwright import dialects
from callwright.datasets import Conversation, Report, files, readers, sources
from callwright.datasets.convert import rendered
from callwright.datasets.formats import openai, sharegpt, swift
from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.store import Store

SYSTEM = (
    "Answer the following questions as best you can. You have access to the following APIs:\n"
    "1. get_weather: Call this tool to interact with the getweather API. What is the getweather API useful for? "
    'The weather of a city. Parameters: [{"name": "city", "description": "Which city.", "required": "True"}, '
    '{"name": "days", "description": "integer. Days ahead.", "required": "False"}]\n\n'
    "2. now: Call this tool to interact with the now API. What is the now API useful for? . Parameters: []\n\n"
    "Use the following format:\n\nThought: you should always think about what to do\n"
    "Action: the action to take, should be one of the above tools[get_weather, now]\n"
    "Action Input: the input to the action\n"
    "Observation: the result of the action\n"
    "... (this Thought/Action/Action Input/Observation can be repeated zero or more times)\n"
    "Thought: I now know the final answer\nFinal Answer: the final answer to the original input question\nBegin!"
)
LOOP = (
    "Thought: Paris first.\nAction: get_weather\nAction Input: {'city': 'Paris', 'days': '2'}\n"
    "Observation: [{'sky': 'clear', 'rain': None}]\nAction: now\nAction Input: \nObservation: 12:00\n"
    "Thought: I now know the final answer\nFinal Answer: It is clear,\nand noon."
)
MS_AGENT = {
    "id": "MS_1",
    "conversations": [
        {"from": "system", "value": SYSTEM},
        {"from": "user", "value": "Weather in Paris?"},
        {"from": "assistant", "value": LOOP},
    ],
}
TOOLS = [WEATHER, {"type": "function", "function": {"name": "now", "description": "The time"}}]


def write(path: Path, *rows: object) -> Path:
    """A JSON Lines file; a string stands as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_one(tmp_path: Path, row: object, format: str = "auto") -> Conversation:
    """The only conversation of a file with that row, which has no fault."""
    (found,) = readers.read(write(tmp_path / "one.jsonl", row), format, strict="fail")
    return found


def outline(conversation: Conversation) -> list[tuple[Any, ...]]:
    """Roles, texts and calls, without ids."""
    made: list[tuple[Any, ...]] = []
    for message in conversation.messages:
        calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls", ())]
        made.append((message["role"], message["content"], calls) if calls else (message["role"], message["content"]))
    return made


def test_ms_agent_loop_becomes_calls_and_results(tmp_path: Path) -> None:
    found = read_one(tmp_path, MS_AGENT)
    assert outline(found) == [
        ("user", "Weather in Paris?"),
        ("assistant", "Paris first.", [("get_weather", {"city": "Paris", "days": 2})]),
        ("tool", "[{'sky': 'clear', 'rain': None}]"),
        ("assistant", None, [("now", {})]),
        ("tool", "12:00"),
        ("assistant", "It is clear,\nand noon."),
    ]
    calls = [c["id"] for m in found.messages for c in m.get("tool_calls", ())]
    assert [m["tool_call_id"] for m in found.messages if m["role"] == "tool"] == calls == ["call_0", "call_1"]
    weather, now = (tool["function"] for tool in found.tools)
    assert weather["parameters"]["required"] == ["city"]
    assert weather["parameters"]["properties"]["days"]["type"] == "integer"
    assert now["name"] == "now"
    assert (found.id, found.line) == ("MS_1", 1)


def test_ms_agent_row_written_again_keeps_its_prompt_and_writes_json(tmp_path: Path) -> None:
    written = json.loads(rendered(read_one(tmp_path, MS_AGENT), dialects.load("ms_agent")))
    turns = [turn["value"] for turn in written["conversations"]]
    assert turns[1] == "Weather in Paris?"
    assert turns[2] == LOOP.replace("{'city': 'Paris', 'days': '2'}", '{"city": "Paris", "days": 2}').replace(
        "Action Input: \n", "Action Input: {}\n"
    )
    assert SYSTEM.partition("Use the following")[2] in turns[0]


def test_text_around_the_prompt_stays_in_the_system_message(tmp_path: Path) -> None:
    row = json.loads(json.dumps(MS_AGENT))
    row["conversations"][0]["value"] = f"You are Bo.\n\n{SYSTEM}\n\nBe kind."
    assert outline(read_one(tmp_path, row))[0] == ("system", "You are Bo.\n\nBe kind.")


def test_a_thought_of_substance_before_the_answer_is_kept(tmp_path: Path) -> None:
    row = json.loads(json.dumps(MS_AGENT))
    row["conversations"][2]["value"] = "Thought: No tool fits.\nFinal Answer: I can't."
    last = read_one(tmp_path, row).messages[-1]
    assert last == {"role": "assistant", "content": "I can't.", "thought": "No tool fits."}
    written = {name: dialects.load(name).render([last], [WEATHER]).messages[-1] for name in dialects.TEXT_NAMES}
    react = {"role": "assistant", "content": "Thought: No tool fits.\nFinal Answer: I can't."}
    assert written["react_en"] == written["react_zh"] == written["ms_agent"] == react
    assert written["toolbench"]["content"].startswith("Thought: No tool fits.\nAction: Finish\nAction Input: {")
    assert written["agentfabric"]["content"] == "No tool fits.\nI can't."
    assert written["hermes"] == {"role": "assistant", "content": "I can't.", "reasoning_content": "No tool fits."}


SHAREGPT = {
    "system": "Be brief.",
    "tools": json.dumps([WEATHER["function"], TOOLS[1]["function"]]),
    "conversations": [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": "snow"},
        {"from": "gpt", "value": "Snow."},
    ],
}
SWIFT = {
    "tools": json.dumps(TOOLS),
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "tool_call", "content": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'},
        {"role": "tool_response", "content": "snow"},
        {"role": "assistant", "content": "Snow."},
    ],
}
OPENAI = {
    "tools": TOOLS,
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Wea"}, {"type": "text", "text": "ther?"}]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "x", "type": "function", "function": WAITING.messages[1]["tool_calls"][0]["function"]}
            ],
        },
        {"role": "tool", "tool_call_id": "x", "content": "snow"},
        {"role": "assistant", "content": "Snow."},
    ],
}
LEGACY = {
    "functions": [tool["function"] for tool in TOOLS],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "function_call": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}},
        {"role": "function", "name": "get_weather", "content": "snow"},
        {"role": "assistant", "content": "Snow."},
    ],
}


@pytest.mark.parametrize(
    ("row", "format"), [(SHAREGPT, "ms_agent"), (SWIFT, "swift"), (OPENAI, "openai"), (LEGACY, "openai")]
)
def test_formats_of_the_same_conversation_agree(tmp_path: Path, row: dict[str, Any], format: str) -> None:
    found = read_one(tmp_path, row)
    city = "Rome" if row is OPENAI else "Oslo"
    assert outline(found) == [
        ("system", "Be brief."),
        ("user", "Weather?"),
        ("assistant", None, [("get_weather", {"city": city})]),
        ("tool", "snow"),
        ("assistant", "Snow."),
    ]
    assert [tool["function"]["name"] for tool in found.tools] == ["get_weather", "now"]
    assert readers.detect(row, "f", 1) == format
    assert read_one(tmp_path, row, format) == found


def test_swift_neighbouring_calls_are_parallel_and_take_the_text_before_them(tmp_path: Path) -> None:
    row = json.loads(json.dumps(SWIFT))
    row["messages"][2:4] = [
        {"role": "assistant", "content": "Both."},
        {"role": "tool_call", "content": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'},
        {"role": "tool_call", "content": '{"name": "now", "arguments": "{}"}'},
        {"role": "tool", "content": "snow"},
        {"role": "tool", "content": "12:00"},
    ]
    assert outline(read_one(tmp_path, row))[2:5] == [
        ("assistant", "Both.", [("get_weather", {"city": "Oslo"}), ("now", {})]),
        ("tool", "snow"),
        ("tool", "12:00"),
    ]


def _calling_in(format: str, arguments: object) -> dict[str, Any]:
    """A row that calls `now`; with `...` for the arguments, it has no key of them."""
    made = {"name": "now"} if arguments is ... else {"name": "now", "arguments": arguments}
    match format:
        case "openai":
            turns: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [{"function": made}]}]
            turns.append({"role": "tool", "content": "12:00"})
        case "legacy":
            turns = [{"role": "assistant", "function_call": made}, {"role": "function", "content": "12:00"}]
        case "swift":
            turns = [{"role": "tool_call", "content": json.dumps(made)}, {"role": "tool", "content": "12:00"}]
        case _:
            turns = [{"from": "function_call", "value": json.dumps(made)}, {"from": "observation", "value": "12:00"}]
            turns = [{"from": "human", "value": "Time?"}, *turns, {"from": "gpt", "value": "Noon."}]
            return {"tools": json.dumps(TOOLS), "conversations": turns}
    return {"tools": TOOLS, "messages": [user("Time?"), *turns, said("Noon.")]}


@pytest.mark.parametrize("format", ["openai", "legacy", "swift", "sharegpt"])
@pytest.mark.parametrize("arguments", [None, "", " ", "null", [], {}, "{}", ...])
def test_arguments_that_are_not_given_are_none(tmp_path: Path, format: str, arguments: object) -> None:
    assert outline(read_one(tmp_path, _calling_in(format, arguments))) == [
        ("user", "Time?"),
        ("assistant", None, [("now", {})]),
        ("tool", "12:00"),
        ("assistant", "Noon."),
    ]


@pytest.mark.parametrize("format", ["openai", "legacy", "swift", "sharegpt"])
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([1], ""),
        (5, ""),
        ("[]", ""),
        ('{"city": "Par', ": Unterminated string"),
        ('{"city": NaN}', ": NaN is no JSON"),
        ('{"city": "A", "city": "B"}', ": the key 'city' stands twice in one object"),
        ('{"city": %s}' % ("9" * 5000), ": a number of 5000 digits is out of range"),
    ],
)
def test_arguments_that_are_no_object_are_a_finding(tmp_path: Path, format: str, arguments: object, why: str) -> None:
    report = Report()
    path = write(tmp_path / "a.jsonl", _calling_in(format, arguments), _calling_in(format, {}))
    assert [found.line for found in readers.read(path, report=report)] == [2]
    (example,) = report.examples["arguments"]
    assert f"expected a JSON object{why}" in example


def test_sharegpt_calls_belong_to_the_turn_before_their_results(tmp_path: Path) -> None:
    calls = [json.dumps({"name": "get_weather", "arguments": {"city": city}}) for city in ("Oslo", "Rome", "Bonn")]
    turns = [
        ("human", "Weather?"), ("gpt", "Let me look."), ("function_call", calls[0]), ("observation", "snow"),
        ("function_call", calls[1]), ("function_call", calls[2]), ("observation", "sun"), ("observation", "rain"),
        ("gpt", "Snow, sun and rain."),
    ]  # fmt: skip
    row = {"tools": json.dumps(TOOLS), "conversations": [{"from": role, "value": text} for role, text in turns]}
    found = read_one(tmp_path, row)
    assert outline(found) == [
        ("user", "Weather?"),
        ("assistant", "Let me look.", [("get_weather", {"city": "Oslo"})]),
        ("tool", "snow"),
        ("assistant", None, [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Bonn"})]),
        ("tool", "sun"),
        ("tool", "rain"),
        ("assistant", "Snow, sun and rain."),
    ]
    assert [m["tool_call_id"] for m in found.messages if m["role"] == "tool"] == ["call_0", "call_1", "call_2"]


@pytest.mark.parametrize(
    ("turns", "kind"),
    [
        ([("gpt", "One."), ("gpt", "Two.")], "role_order"),
        ([("observation", "snow"), ("gpt", "Snow.")], "observation"),
        ([("function_call", '{"name": "now"'), ("observation", "12:00"), ("gpt", "Noon.")], "tool_calls"),
    ],
)
def test_sharegpt_turns_that_make_no_conversation_are_a_finding(
    tmp_path: Path, turns: list[tuple[str, str]], kind: str
) -> None:
    said = [{"from": role, "value": text} for role, text in [("human", "Hi"), *turns]]
    path = write(tmp_path / "a.jsonl", {"tools": json.dumps(TOOLS), "conversations": said}, SHAREGPT)
    report = Report()
    assert [found.line for found in readers.read(path, report=report)] == [2]
    assert report.findings[kind] == 1


def test_toolbench(tmp_path: Path) -> None:
    function = {
        "name": "weather_for_city",
        "description": "It's the weather",
        "parameters": WEATHER["function"]["parameters"],
    }
    finish = {"name": "Finish", "description": "End", "parameters": {"type": "object", "properties": {}}}
    system = (
        "You are AutoGPT, you can use many tools(functions) to do the following task.\nFirst I will give you the task\n"
        "You have access of the following tools:\n1.weather: Weather data\n\n"
        f"Specifically, you have access to the following APIs: {[function, finish]}"
    )
    row = {
        "conversations": [
            {"from": "system", "value": system},
            {"from": "user", "value": "\nWeather in Oslo?\nBegin!\n"},
            {
                "from": "assistant",
                "value": '\nThought: \nAction: weather_for_city\nAction Input: {\n  "city": "Oslo"\n}',
            },
            {"from": "function", "value": '{"error": "", "response": "snow"}'},
            {
                "from": "assistant",
                "value": "\nThought: Done.\nAction: Finish\nAction Input: "
                '{"return_type": "give_answer", "final_answer": "Snow."}',
            },
        ]
    }
    found = read_one(tmp_path, row)
    assert outline(found) == [
        ("system", "You have access of the following tools:\n1.weather: Weather data"),
        ("user", "Weather in Oslo?"),
        ("assistant", None, [("weather_for_city", {"city": "Oslo"})]),
        ("tool", '{"error": "", "response": "snow"}'),
        ("assistant", "Snow."),
    ]
    assert found.tools[0]["function"] == function
    row["conversations"][-1]["value"] = (
        'Thought: no\nAction: Finish\nAction Input: {"return_type": "give_up_and_restart"}'
    )
    report = Report()
    assert list(readers.read(write(tmp_path / "up.jsonl", row), report=report)) == []
    assert "give_up_and_restart" in report.examples["tool_calls"][0]


def test_alpaca(tmp_path: Path) -> None:
    row = {"instruction": "Add.", "input": "1, 2", "output": "3", "system": "Be exact.", "history": [["Hi", "Hello"]]}
    assert outline(read_one(tmp_path, row)) == [
        ("system", "Be exact."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Add.\n1, 2"),
        ("assistant", "3"),
    ]


def test_bfcl_with_its_gold(tmp_path: Path) -> None:
    parameters = {
        "type": "dict",
        "properties": {
            "base": {"type": "float"},
            "at": {"type": "tuple", "items": {"type": "any"}},
            "unit": {"type": "string"},
        },
        "required": ["base"],
    }
    row = {
        "id": "simple_0",
        "question": [[{"role": "user", "content": "Area?"}]],
        "function": [{"name": "geo.area", "description": "Area", "parameters": parameters}],
    }
    (tmp_path / "possible_answer").mkdir()
    gold = {
        "id": "simple_0",
        "ground_truth": [{"geo.area": {"base": [10, 10.0], "at": [[{"x": [1]}]], "unit": ["m", ""]}}],
    }
    write(tmp_path / "possible_answer" / "one.jsonl", gold)
    found = read_one(tmp_path, row)
    assert outline(found)[1] == ("assistant", None, [("geo_area", {"base": 10, "at": [{"x": 1}]})])
    schema = found.tools[0]["function"]["parameters"]
    assert schema["type"] == "object"
    assert schema["properties"]["base"] == {"type": "number"}
    assert schema["properties"]["at"] == {"type": "array", "items": {}}


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), path)


def _zstd(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    with pa.output_stream(str(path), compression="zstd") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, ["instruction", "input", "output"])
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], object]] = {
    "a.jsonl": lambda path, rows: write(path, *rows),
    "a.json": lambda path, rows: path.write_text(json.dumps(rows, indent=2)),
    "b.json": lambda path, rows: write(path, *rows),
    "a.jsonl.gz": lambda path, rows: path.write_bytes(
        gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    ),
    "a.jsonl.zst": _zstd,
    "a.parquet": _parquet,
    "a.csv": _csv,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_file_form_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    rows = [{"instruction": f"Say {i}\nplease", "input": "", "output": f'"{i}", …'} for i in range(300)]
    WRITERS[name](tmp_path / name, rows)
    found = [conversation.messages for conversation in readers.read(tmp_path / name, strict="fail")]
    assert [messages[0]["content"] for messages in found] == [row["instruction"] for row in rows]
    assert [messages[1]["content"] for messages in found] == [row["output"] for row in rows]


def test_parquet_rows_lose_the_nulls_that_other_rows_gave_them(tmp_path: Path) -> None:
    _parquet(tmp_path / "a.parquet", [LEGACY, {"messages": [{"role": "user", "content": "Hi"}, TRIP.messages[-1]]}])
    first, second = readers.read(tmp_path / "a.parquet", strict="fail")
    assert first.tools[1] == TOOLS[1]
    assert second.messages[1] == TRIP.messages[-1]


def test_a_long_array_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 16)
    rows = [{"instruction": "x" * size, "output": "]}, {["} for size in (1, 200, 3)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    assert [row.value for row in files.rows(path)] == rows


BROKEN = [
    MS_AGENT,
    '{"id": 2, "conversations": [',
    "[1, 2]",
    {"id": 4, "conversations": [{"from": "user", "value": "Hi"}, {"from": "robot", "value": "Ho"}]},
    {"id": 5, "conversations": [{"from": "user", "value": "Hi"}, {"from": "user", "value": "Ho"}]},
    {"id": 6, "messages": []},
]


def test_a_broken_line_is_named_and_the_rest_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "broken.jsonl", *BROKEN)
    report = Report()
    assert [c.id for c in readers.read(path, report=report)] == ["MS_1"]
    assert report.to_dict()["remarks"] == {}
    assert (report.read, report.kept, report.dropped) == (6, 1, 5)
    assert report.findings == {"unreadable": 2, "role": 1, "role_order": 1, "no_assistant": 1, "format": 1}
    assert report.examples["unreadable"][0].startswith(f"{path}:2: not JSON:")
    assert report.examples["role"] == [
        f"{path}:4: conversations[1]: got from 'robot'; expected one of system, human, user, gpt, bot, chatgpt, "
        "assistant, function_call, tool_call, observation, function_response, function, tool_response, tool"
    ]


def test_strict_fail_names_the_line_and_keep_keeps_what_can_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "broken.jsonl", *BROKEN)
    rows = readers.read(path, strict="fail")
    assert next(rows).id == "MS_1"
    with pytest.raises(InvalidInput, match=r"broken\.jsonl: line 2: not JSON"):
        next(rows)
    report = Report()
    assert [c.id for c in readers.read(path, strict="keep", report=report)] == ["MS_1", "5"]
    assert (report.kept, report.dropped) == (2, 4)


def _with(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"tools": TOOLS, "messages": [{"role": "user", "content": "Hi"}, *messages]}


def _calling(name: str, arguments: str) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": name, "arguments": arguments}}]}


ANSWER = {"role": "assistant", "content": "Done."}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "r"}


@pytest.mark.parametrize(
    ("row", "kind", "detail"),
    [
        (_with(ANSWER, ANSWER), "role_order", "message 3: got assistant after assistant; expected user or tool"),
        (_with({"role": "assistant", "content": " "}), "empty_turn", "message 2: got an empty assistant turn"),
        (
            _with(_calling("then", "{}"), RESULT, ANSWER),
            "undeclared_tool",
            "got a call of then; expected one of get_weather",
        ),
        (_with(_calling("now", "{"), RESULT, ANSWER), "arguments", "message 2: got '{'; expected a JSON object"),
        (_with(_calling("get_weather", "{}"), RESULT, ANSWER), "schema", "get_weather: arguments: got no city"),
        (_with(_calling("get_weather", '{"city": 5}'), RESULT), "schema", "arguments.city: got 5; expected string"),
        (_with(_calling("get_weather", '{"city": "A", "q": 1}'), RESULT), "schema", "got the unknown parameter q"),
        (_with(_calling("now", "{}"), ANSWER), "observation", "message 3: got 1 calls without a result"),
        (_with(ANSWER, RESULT), "observation", "message 3: got a result without a call"),
        (_with({"role": "assistant", "content": "\ud800"}), "encoding", "got half a surrogate pair"),
        (_with(), "no_assistant", "got no assistant turn"),
        (_with({"role": ["tool_call"], "content": "x"}), "role", "got role ['tool_call']; expected system"),
        (_with({"role": "assistant", "tool_calls": 5}), "tool_calls", "messages[1]: got int; expected a list of calls"),
        (_with(ANSWER) | {"tools": "[" * 100_000}, "tools", "tools: not JSON"),
    ],
)
def test_checks(tmp_path: Path, row: dict[str, Any], kind: str, detail: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    report = Report()
    assert list(readers.read(path, report=report)) == []
    assert detail in report.examples[kind][0]


def test_an_unknown_form_is_an_error_that_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"line 1: got a row with prompt; expected conversations \(ms_agent\)"):
        list(readers.read(write(tmp_path / "a.jsonl", {"prompt": "x"})))
    with pytest.raises(InvalidInput, match="got format 'sharegpt'; expected auto or one of ms_agent"):
        list(readers.read(write(tmp_path / "a.jsonl", MS_AGENT), "sharegpt"))
    with pytest.raises(NotFound, match=r"no file .*gone\.jsonl"):
        list(readers.read(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"plain text")
    with pytest.raises(InvalidInput, match=name):
        list(readers.read(tmp_path / name))


@settings(max_examples=50, deadline=None)
@given(talk=conversations())
def test_law_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, talk: Conversation) -> None:
    path = tmp_path_factory.mktemp("neutral") / "a.jsonl"
    path.write_text(talk.to_json() + "\n", encoding="utf-8")
    (found,) = readers.read(path, strict="keep")
    assert (found.messages, found.tools, found.id) == (talk.messages, talk.tools, talk.id)
    assert Conversation.from_json(talk.to_json()) == talk


def test_a_corpus_in_a_store_is_copied_once(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    write(tmp_path / "bucket" / "a.jsonl", MS_AGENT)
    url = (tmp_path / "bucket").as_uri() + "/a.jsonl"
    opened: list[str] = []

    def open_store(url: str) -> Store:
        opened.append(url)
        return Store.open(url)

    first = sources.resolve(url, tmp_path / "cache", open_store=open_store)
    assert sources.resolve(url, tmp_path / "cache", open_store=open_store) == first
    assert len(opened) == 2
    assert [c.id for c in readers.read(url, cache_dir=tmp_path / "cache")] == ["MS_1"]
    before = sources.state(url)
    write(tmp_path / "bucket" / "a.jsonl", MS_AGENT, MS_AGENT)
    assert sources.state(url) != before
    assert len(list(readers.read(url, strict="keep", cache_dir=tmp_path / "cache"))) == 2


@pytest.mark.parametrize(
    "name", ["my corpus.jsonl", "a#1.jsonl", "a?b.jsonl", "100%.jsonl", "a%20b.jsonl", "ü.jsonl", "\udcff.jsonl"]
)
def test_a_corpus_by_its_files_url_is_found_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "my bucket#1").mkdir()
    write(tmp_path / "my bucket#1" / name, MS_AGENT)
    url = (tmp_path / "my bucket#1" / name).as_uri()
    assert [row.id for row in readers.read(url, cache_dir=tmp_path / "cache")] == ["MS_1"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://bucket/a.jsonl#1", "got '#' in"),
        ("s3://bucket/a.jsonl?x", r"got '\?' in"),
        ("gs://bucket/%ff.jsonl", "names that are UTF-8"),
        ("az://user:secret@bucket/a.jsonl", "got a user in az://…@bucket"),
        ("https://host/a.jsonl?x", "expected a URL with one of file, s3, gs, az, memory"),
    ],
)
def test_a_corpus_by_a_url_of_which_something_would_be_dropped_is_refused(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=words):
        sources.resolve(url, tmp_path)


def test_a_corpus_in_s3(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    WRITERS[file.name](file, [MS_AGENT])
    url = f"s3://{BUCKET}/corpora%231/my%20{file.name}"
    with s3_server() as server:
        import boto3

        boto3.client("s3", endpoint_url=server).upload_file(str(file), BUCKET, f"corpora#1/my {file.name}")
        assert [row.id for row in readers.read(url, cache_dir=tmp_path / "cache")] == ["MS_1"]
        assert readers.find(url, 1, cache_dir=tmp_path / "cache")[1] == []
        with pytest.raises(NotFound, match=r"absent\.jsonl"):
            list(readers.read(f"s3://{BUCKET}/absent.jsonl", cache_dir=tmp_path / "cache"))
    with pytest.raises(InvalidInput, match="is remote; expected a folder to copy it to"):
        list(readers.read(url))


def test_hub_corpora_offline_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match=r"Hugging Face does not answer for a/b: .*go online, or download"):
        sources.resolve("hf://datasets/a/b/train.jsonl", tmp_path)
    with pytest.raises(Unavailable, match="go online"):
        sources.resolve("hf://datasets/a/b", tmp_path)
    with pytest.raises(InvalidInput, match=r"expected hf://datasets/OWNER/NAME"):
        sources.resolve("hf://a/b", tmp_path)
    with pytest.raises((InvalidInput, Unavailable), match="modelscope"):
        sources.resolve("modelscope://a/b/train.jsonl", tmp_path)


def test_a_duplicate_is_named_with_the_line_of_the_first(tmp_path: Path) -> None:
    rows = [{"id": str(i), "messages": [user(text), said("Yes.")]} for i, text in enumerate(["a", "b", "a", "A"])]
    path = write(tmp_path / "a.jsonl", *rows)
    report = Report()
    assert [row.id for row in readers.read(path, report=report)] == ["0", "1", "3"]
    assert report.examples == {"duplicate": [f"{path}:3: got the same conversation as at line 1; expected each once"]}
    assert len(list(readers.read(path, strict="keep"))) == 4
    with pytest.raises(InvalidInput, match="line 3: got the same conversation as at line 1"):
        list(readers.read(path, strict="fail"))


def test_csv_rows_are_named_by_the_line_that_they_begin_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('instruction,output\nfirst,"two\nlines"\nsecond,one\n')
    assert [row.line for row in readers.read(path)] == [2, 4]
    assert readers.find(path, 4)[0].messages[0]["content"] == "second"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.parquet"])
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, name: str) -> None:
    def peak(count: int) -> int:
        path = tmp_path / str(count) / name
        path.parent.mkdir()
        rows = [{"messages": [user(f"{i} " + "word " * 1000), said("Yes.")]} for i in range(count)]
        WRITERS[name](path, rows)
        del rows
        tracemalloc.start()
        assert sum(1 for _ in readers.read(path)) == count
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1)  # imports
    few, many = peak(300), peak(2400)
    assert many - few < 1_000_000  # for ten megabytes more of text


@pytest.mark.parametrize("key", ["tools", "functions"])
@pytest.mark.parametrize(
    ("row", "turns"), [(SHAREGPT, "conversations"), (SWIFT, "messages"), (OPENAI, "messages"), (LEGACY, "messages")]
)
def test_tools_in_other_words_and_places_are_read_in_every_format(
    tmp_path: Path, row: dict[str, Any], turns: str, key: str
) -> None:
    anthropic = [{**WEATHER["function"], "input_schema": WEATHER["function"]["parameters"]}, TOOLS[1]["function"]]
    del anthropic[0]["parameters"]
    rest = {name: value for name, value in row.items() if name not in ("tools", "functions")}
    expected = tuple({"type": "function", "function": tool["function"]} for tool in TOOLS)
    format = readers.detect(row, "f", 1)
    for written in (anthropic, json.dumps(anthropic), {tool["name"]: tool for tool in anthropic}):
        assert read_one(tmp_path, {**rest, key: written}, format).tools == expected
    first, *others = row[turns]
    if first.get("role") in ("system", "developer"):
        assert read_one(tmp_path, {**rest, turns: [{**first, key: anthropic}, *others]}, format).tools == expected
        both = {**rest, turns: [{**first, key: anthropic}, *others], "tools": TOOLS}
        assert read_one(tmp_path, both, format).tools == expected


@pytest.mark.parametrize(
    "tools",
    ["[{", 5, [{"name": "f", "parameters": "{"}], [{"name": "f", "schema": WEATHER["function"]["parameters"]}], [5]],
)
@pytest.mark.parametrize("row", [SHAREGPT, SWIFT, OPENAI])
def test_tools_that_cannot_be_read_are_a_finding(tmp_path: Path, row: dict[str, Any], tools: object) -> None:
    report = Report()
    path = write(tmp_path / "a.jsonl", {**row, "tools": tools})
    assert list(readers.read(path, readers.detect(row, "f", 1), strict="keep", report=report)) == []
    assert report.findings == {"tools": 1}


CALLED = {"name": "get_weather", "arguments": {"city": "Oslo"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_calls": [{"id": "x", "type": "function", "function": CALLED}]},
        {"tool_calls": json.dumps([{"id": "x", "function": CALLED}])},
        {"tool_calls": json.dumps(json.dumps([CALLED]))},
        {"tool_calls": {"function": CALLED}},
        {"tool_calls": [json.dumps(CALLED)]},
        {"tool_calls": [{"id": "x", "function": json.dumps(CALLED)}]},
        {"tool_calls": [{**CALLED, "arguments": json.dumps(json.dumps(json.dumps({"city": "Oslo"})))}]},
        {"tool_calls": [{"name": "get_weather", "parameters": {"city": "Oslo"}}]},
        {"tool_calls": [{"type": "tool_use", "name": "get_weather", "input": {"city": "Oslo"}}]},
        {"function_call": json.dumps(CALLED)},
        {"function_call": CALLED},
        {"function_calls": [CALLED]},
    ],
)
def test_calls_as_text_and_in_other_words_are_read(tmp_path: Path, fields: dict[str, Any]) -> None:
    messages = [
        OPENAI["messages"][1],
        {"role": "assistant", "content": None, **fields},
        {"role": "tool", "content": "snow"},
    ]
    found = read_one(tmp_path, {**OPENAI, "messages": messages})
    assert outline(found)[1:] == [("assistant", None, [("get_weather", {"city": "Oslo"})]), ("tool", "snow")]


@pytest.mark.parametrize("identity", [0, 7, "7"])
def test_a_calls_id_may_be_a_number(tmp_path: Path, identity: object) -> None:
    messages = [
        OPENAI["messages"][1],
        {"role": "assistant", "tool_calls": [{"id": "x", "function": CALLED}, {"id": identity, "function": CALLED}]},
        {"role": "tool", "tool_call_id": identity, "content": "snow"},
        {"role": "tool", "tool_call_id": "x", "content": "rain"},
    ]
    found = read_one(tmp_path, {**OPENAI, "messages": messages})
    assert [message.get("tool_call_id") for message in found.messages[2:]] == [str(identity), "x"]


@pytest.mark.parametrize(
    "calls",
    [
        "[{",
        "get_weather(city='Oslo')",
        [{"name": "f", "argument": {"city": "Oslo"}}],
        [{"name": "f", "params": '{"city": "Oslo"}'}],
        [{"function": {"name": "f"}, "arguments": '{"city": "Oslo"}'}],
        [5],
        "[]x",
    ],
)
def test_calls_that_cannot_be_read_are_a_finding(tmp_path: Path, calls: object) -> None:
    messages = [OPENAI["messages"][1], {"role": "assistant", "tool_calls": calls}]
    report = Report()
    assert list(readers.read(write(tmp_path / "a.jsonl", {**OPENAI, "messages": messages}), report=report)) == []
    assert list(report.findings) == ["tool_calls"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["openai", "swift", "sharegpt"])
def test_a_row_of_many_calls_and_results_without_ids_takes_no_longer_than_its_size(kind: str) -> None:
    count = 20_000
    text = '{"name": "now", "arguments": {}}'
    turns: dict[str, list[dict[str, Any]]] = {
        "openai": [
            {"role": "assistant", "content": "", "function_call": {"name": "now", "arguments": "{}"}},
            {"role": "function", "content": "12:00"},
        ],
        "swift": [{"role": "tool_call", "content": text}, {"role": "tool_response", "content": "12:00"}],
        "sharegpt": [{"from": "function_call", "value": text}, {"from": "observation", "value": "12:00"}],
    }
    asked = {"role": "user", "content": "?"} if kind != "sharegpt" else {"from": "human", "value": "?"}
    tools = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
    formats: dict[str, Callable[[Any], Any]] = {"openai": openai.read, "swift": swift.read, "sharegpt": sharegpt.read}
    call, answer = turns[kind]
    key = "conversations" if kind == "sharegpt" else "messages"
    for following in ([call, answer] * count, [call] * count + [answer] * count):
        if kind == "openai" and following[1] is call:
            continue
        read = formats[kind]({key: [asked, *following], "tools": tools}).messages
        made = [each["id"] for message in read for each in message.get("tool_calls") or ()]
        assert made == [f"call_{index}" for index in range(count)]
        assert [message["tool_call_id"] for message in read if message["role"] == "tool"] == made
