"""Rows: from files in every form to requests with gold, and nothing left out silently."""

import json
from pathlib import Path
from typing import Any

import pytest
from cases import TOOLS

from callwright.errors import InvalidInput, NotFound
from callwright.evaluator import sets
from callwright.evaluator.row import Call, Row
from callwright.evaluator.sets import Reading


def write(path: Path, *documents: Any) -> Path:
    lines = (text if isinstance(text, str) else json.dumps(text) for text in documents)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def read(path: Path | str, **options: Any) -> tuple[list[Row], Reading]:
    reading = Reading()
    return list(sets.read(path, reading=reading, **options)), reading


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def calling(name: str, arguments: Any, id: str = "c") -> dict[str, Any]:
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def gold(name: str, arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def result(text: str, id: str = "c") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_expected_calls_as_objects_or_json_text(tmp_path: Path):
    path = write(
        tmp_path / "held-out.jsonl",
        {
            "id": "a",
            "messages": [user("x")],
            "tools": TOOLS,
            "expected": [{"name": "weather", "arguments": {"city": "Oslo"}}],
        },
        {"messages": [user("x")], "tools": TOOLS, "expected": [gold("time", "{}")]},
        {"id": "c", "messages": [user("hi")], "tools": TOOLS, "expected": []},
    )
    found, reading = read(path)
    assert [(r.key, r.kind, r.expected) for r in found] == [
        ("held-out/a", "call", (Call("weather", {"city": "Oslo"}),)),
        ("held-out/2", "call", (Call("time", {}),)),
        ("held-out/c", "no_call", ()),
    ]
    assert (reading.conversations, reading.notes("x")) == (3, [])


def test_each_assistant_turn_of_a_conversation_is_the_gold_of_a_request(tmp_path: Path):
    messages = [
        {"role": "system", "content": "s"}, user("weather in Oslo"), calling("weather", {"city": "Oslo"}), result("9"),
        said("9 degrees"), user("thanks"), said("welcome"),
    ]  # fmt: skip
    found, _ = read(write(tmp_path / "a.jsonl", {"id": "t", "messages": messages, "tools": TOOLS}), name="s")
    assert [(r.id, r.kind, len(r.messages), r.reference) for r in found] == [
        ("t:2", "call", 2, None),
        ("t:4", "answer", 4, "9 degrees"),
        ("t:6", "no_call", 6, "welcome"),
    ]


def test_a_conversation_without_tools_is_one_row_for_the_loss(tmp_path: Path):
    messages = [user("a"), said("b"), user("c"), said("d")]
    found, _ = read(write(tmp_path / "a.jsonl", {"id": "g", "messages": messages}))
    assert [(r.kind, r.reference, len(r.messages)) for r in found] == [("general", "d", 3)]


def test_rows_without_gold_and_broken_ones_are_counted_and_named(tmp_path: Path):
    good = {"id": "a", "messages": [user("x")], "tools": TOOLS, "expected": [gold("time", {})]}
    path = write(
        tmp_path / "a.jsonl",
        good,
        {"id": "b", "messages": [user("nobody answers")], "tools": TOOLS},
        '{"id": "cut", "messages": [',
        good | {"messages": [user("x"), said("y")]},
        good | {"expected": [gold("time", "not json")]},
        "[1, 2]",
        "",
        good | {"messages": 3},
    )
    found, reading = read(path)
    assert len(found) == 1
    assert (reading.conversations, reading.without_gold, reading.unreadable) == (7, 1, 5)
    notes = "\n".join(reading.notes("set a"))
    assert "set a: 1 of 7 rows have no gold" in notes
    assert "5 of 7 rows cannot be read" in notes
    assert f"{path}:3: not JSON" in notes
    assert f"{path}:4: messages must end in a user or tool turn" in notes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"expected": 3}, "expected: got int"),
        ({"expected": None}, "expected: got NoneType; expected a list of calls"),
        ({"expected": [gold("time", r'{"a": "\ud83d"}')]}, "got half a surrogate pair"),
        ({"expected": [gold("time", {}), gold("time", {"a": "\ud83d"})]}, "got half a surrogate pair"),
        ({"reference": "\ud83d"}, "got half a surrogate pair"),
        ({"id": "\ud83d"}, "got half a surrogate pair"),
        ({"expected": [{"name": 3}]}, "got the gold call {'name': 3}"),
        ({"expected": [gold("time", {}), None]}, "got the gold call None"),
        ({"expected": [gold("time", "[" * 5000)]}, "got arguments '[["),
        ({"expected": [gold("time", 5)]}, "got arguments 5; expected a JSON object"),
        ({"expected": [gold("time", [1])]}, "got arguments [1]; expected a JSON object"),
        ({"expected": [gold("time", '{"zone": "U')]}, 'got arguments \'{"zone": "U\': Unterminated string'),
        (
            {"expected": [gold("time", '{"a": 1, "a": 2}')]},
            "got arguments '{\"a\": 1, \"a\": 2}': the key 'a' stands twice",
        ),
        ({"expected": [gold("time", '{"a": %s}' % ("9" * 5000))]}, 'got arguments \'{"a": 999'),
        ({"expected": [gold("gone", {})]}, "got the gold call 'gone'; expected one of weather, time"),
        ({"messages": [user("look \ud83d")]}, "got half a surrogate pair"),
        ({"tools": ["weather"]}, "tools: not JSON"),
        ({"tools": {"nome": "time"}}, "tools: got \"{'nome': 'time'}\"; expected a function with a name"),
        ({"messages": ["x"]}, "messages[0]: got str; expected an object"),
        ({"messages": [{"content": "x"}]}, "messages[0]: got role None"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0]: got content of int; expected text"),
        ({"messages": []}, "messages must end in a user or tool turn"),
        ({"reference": 3}, "reference: got int; expected text"),
    ],
)
def test_a_row_in_another_form_is_named_before_anything_is_asked(tmp_path: Path, changed: dict[str, Any], words: str):
    good = {"messages": [user("x")], "tools": TOOLS, "expected": [gold("time", {})]}
    found, reading = read(write(tmp_path / "a.jsonl", good, good | changed, good))
    assert [row.id for row in found] == ["1", "3"]
    assert reading.examples[0].startswith(f"{tmp_path / 'a.jsonl'}:2: {words}")


def test_conversations_without_gold_and_broken_ones_are_counted_too(tmp_path: Path):
    path = write(
        tmp_path / "a.jsonl",
        {"id": "a", "messages": [user("x"), calling("time", {})], "tools": TOOLS},
        {"id": "b", "messages": [user("nobody answers")], "tools": TOOLS},
        '{"id": "cut", "messages": [',
        {"id": "d", "messages": [user("x"), calling("gone", {"odd": 1})], "tools": TOOLS},
        {"id": "e", "messages": [user("x"), calling("time", [])], "tools": TOOLS},
        {"id": "f", "messages": [user("x"), calling("weather", {"days": "one"})], "tools": TOOLS},
    )
    found, reading = read(path)
    assert [row.id for row in found] == ["a:1", "f:1"]
    assert (reading.conversations, reading.without_gold, reading.unreadable) == (6, 1, 3)
    assert [line.removeprefix(f"{path}:").partition("; ")[0] for line in reading.examples] == [
        "3: not JSON: Expecting value at column 28",
        "4: message 2: got a call of gone",
        "5: message 2: got '[]'",
    ]


def _cut(call: dict[str, Any]) -> dict[str, Any]:
    """The assistant's turn with that call, its arguments cut off."""
    call["tool_calls"][0]["function"]["arguments"] = '{"city": "Par'
    return call


CUT_CALL = '{"name": "weather", "arguments": "{\\"city\\": \\"Par"}'
TURNS = [user("x"), said("Let me look."), said("Now.")]
UNUSABLE: dict[str, dict[str, Any]] = {
    "openai": {"messages": [user("x"), _cut(calling("weather", {}))], "tools": TOOLS},
    "openai, legacy": {
        "messages": [user("x"), {"role": "assistant", "function_call": {"name": "weather", "arguments": '{"city'}}],
        "functions": [tool["function"] for tool in TOOLS],
    },
    "openai, in a later turn": {
        "messages": [user("x"), calling("time", {}), result("9"), said("9"), user("y"), _cut(calling("weather", {}))],
        "tools": TOOLS,
    },
    "swift": {"messages": [user("x"), {"role": "tool_call", "content": CUT_CALL}], "tools": json.dumps(TOOLS)},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": CUT_CALL}],
        "tools": json.dumps(TOOLS),
    },
    "sharegpt, not JSON": {
        "conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": CUT_CALL[:-9]}],
        "tools": json.dumps(TOOLS),
    },
    "ms_agent": {
        "conversations": [
            {"from": "human", "value": "x"},
            {"from": "gpt", "value": 'Action: weather\nAction Input: {"city": "Par'},
        ],
        "tools": json.dumps(TOOLS),
    },
    "two turns in a row": {"messages": TURNS, "tools": TOOLS},
    "half a surrogate pair": {"messages": [user("x"), calling("time", {"a": "\ud83d"})], "tools": TOOLS},
    "a key twice": {
        "messages": [user("x"), calling("weather", {"city": "A"})],
        "tools": json.dumps(TOOLS)[:-1] + ', {"name": "f", "name": "g"}]',
    },
}


@pytest.mark.parametrize("row", UNUSABLE.values(), ids=UNUSABLE)
def test_a_conversation_whose_gold_cannot_be_used_is_counted_and_the_rest_asked(tmp_path: Path, row: dict[str, Any]):
    good: dict[str, Any] = {"messages": [user("x"), said("Hello.")], "tools": json.dumps(TOOLS)}
    if "conversations" in row:
        turns = [{"from": turn["role"], "value": turn["content"]} for turn in good.pop("messages")]
        good["conversations"] = turns
    path = write(tmp_path / "a.jsonl", good, row | {"id": "odd"}, good | {"id": "last"})
    found, reading = read(path)
    assert [asked.kind for asked in found] == ["no_call", "no_call"]
    assert (reading.conversations, reading.without_gold, reading.unreadable) == (3, 0, 1)
    assert reading.examples[0].startswith(f"{path}:2: ")


def test_text_before_a_call_is_no_turn_of_its_own(tmp_path: Path):
    turns = [("human", "x"), ("gpt", "Let me look."), ("function_call", '{"name": "time", "arguments": null}')]
    row = {"tools": json.dumps(TOOLS), "conversations": [{"from": role, "value": text} for role, text in turns]}
    (found,), reading = read(write(tmp_path / "a.jsonl", row))
    assert (found.kind, found.expected) == ("call", (Call("time", {}),))
    assert reading.notes("a") == []


def test_repeated_ids_get_numbers_so_that_no_results_mix(tmp_path: Path):
    one = {"id": "a", "messages": [user("x")], "tools": TOOLS, "expected": []}
    found, _ = read(write(tmp_path / "a.jsonl", one, one, one, one | {"id": "a#2"}))
    assert [r.id for r in found] == ["a", "a#2", "a#3", "a#2#2"]


def test_the_limit_counts_requests_and_reading_is_lazy(tmp_path: Path):
    one = {"messages": [user("x")], "tools": TOOLS, "expected": []}
    path = write(tmp_path / "a.jsonl", *([one] * 50))
    found, reading = read(path, limit=7)
    assert len(found) == 7
    assert reading.conversations < 10


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(NotFound, match=r"no file .*gone\.jsonl"):
        read(tmp_path / "gone.jsonl")
    with pytest.raises(InvalidInput, match="holds no row"):
        read(write(tmp_path / "empty.jsonl", "", ""))
    with pytest.raises(NotFound, match="no file"):
        read(tmp_path)
    with pytest.raises(InvalidInput, match="expected a folder to copy it to"):
        read("s3://bucket/rows.jsonl")
    with pytest.raises(InvalidInput, match="expected conversations"):
        read(write(tmp_path / "odd.jsonl", {"text": "x"}))
    unanswered = write(tmp_path / "BFCL_v4_simple.json", {"id": "0", "question": [[user("x")]], "function": []})
    with pytest.raises(NotFound, match=r"no gold in .*possible_answer"):
        read(unanswered)


def test_a_digest_changes_with_request_and_gold_only():
    row = Row("s", "1", (user("x"),), TOOLS, (Call("time", {}),))
    same = Row("other", "2", (user("x"),), TOOLS, (Call("time", {}),))
    assert row.digest == same.digest
    different = {
        Row("s", "1", (user("y"),), TOOLS, (Call("time", {}),)).digest,
        Row("s", "1", (user("x"),), TOOLS[:1], (Call("time", {}),)).digest,
        Row("s", "1", (user("x"),), TOOLS, (Call("time", {"a": 1}),)).digest,
        Row("s", "1", (user("x"),), TOOLS, (Call("time", {}),), "z").digest,
    }
    assert len(different | {row.digest}) == 5
    assert Row("s", "1", (user("\ud800"),), ()).digest


def test_real_ms_agent_conversations_turn_by_turn(shared: Path):
    found, reading = read(shared / "data" / "toolalpaca_ms_agent.jsonl")
    kinds = [row.kind for row in found]
    assert reading.conversations >= 60
    assert kinds.count("call") >= 60
    assert kinds.count("answer") >= 60
    names = [{tool["function"]["name"] for tool in row.tools} for row in found]
    declared = sum(call.name in known for row, known in zip(found, names, strict=True) for call in row.expected)
    assert declared / sum(len(row.expected) for row in found) > 0.98


def test_real_openai_rows(shared: Path):
    found, reading = read(shared / "data" / "seal_tools_openai.jsonl")
    assert reading.conversations == 672
    assert sum(row.kind == "call" for row in found) >= 660


def test_real_general_conversations_are_for_the_loss(shared: Path):
    found, _ = read(shared / "data" / "self_instruct_ms_bench.jsonl")
    assert {row.kind for row in found} == {"general"}
    assert len(found) == 175


def test_toolalpacas_own_evaluation_files(tmp_path: Path):
    described = {
        "findRoute": "Find a route.\nParameters: "
        '{"to": "Required. string. The goal.", "by": "string. One of: [car, foot]. Way.", "stops": "integer."}'
        "\nOutput: A route.",
        "ping": "See whether the service is up.\nParameters: {}\nOutput: Nothing.",
        "components": "",
    }
    api = {
        "Name": "Maps",
        "Function_Description": described,
        "Instructions": ["To Oslo on foot, please.", "To Rome, then to Oslo.", "Is it up?"],
        "Golden_Answers": [
            [{"Action": "findRoute", "Action_Input": '{"to": "Oslo", "by": "foot", "via": ""}'}],
            [{"Action": "findRoute", "Action_Input": '{"to": "Rome"}'}] * 2,
            [{"Action": "ping", "Action_Input": "{}"}],
        ],
    }
    (tmp_path / "eval.json").write_text(json.dumps([api, {**api, "Golden_Answers": []}]))
    (route, up), reading = read(tmp_path / "eval.json")
    assert (route.id, route.messages) == ("Maps:0", (user("To Oslo on foot, please."),))
    assert route.expected == (Call("findRoute", {"to": "Oslo", "by": "foot"}),)
    assert (up.id, up.expected) == ("Maps:2", (Call("ping", {}),))
    find, _ = route.tools
    assert find["function"] == {
        "name": "findRoute",
        "description": "Find a route.",
        "parameters": {
            "type": "object",
            "properties": {
                "to": {"type": "string", "description": "The goal."},
                "by": {"type": "string", "enum": ["car", "foot"], "description": "Way."},
                "stops": {"type": "integer"},
            },
            "required": ["to"],
        },
    }
    assert (reading.conversations, reading.unreadable) == (4, 2)
    assert "1: got gold of 2 calls; expected one, the rest need a simulator" in reading.examples[0]


def test_tools_in_other_apis_words_and_calls_in_text_are_gold(tmp_path: Path):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = json.dumps([{"name": "weather", "inputSchema": schema}])
    text = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    row = {"messages": [user("x"), said(text)], "tools": tools}
    [found], _ = read(write(tmp_path / "a.jsonl", row))
    assert found.tools == ({"type": "function", "function": {"name": "weather", "parameters": schema}},)
    assert found.expected == (Call("weather", {"city": "Oslo"}),)
