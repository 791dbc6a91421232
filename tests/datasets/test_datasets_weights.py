"""Turns that their rows take out of the loss, or weigh: in every format, through conversion, and said in the report."""

import json
from pathlib import Path
from typing import Any

import pytest
from talk import TRIP, WEATHER, asked, call, conversation, result, said, user

from callwright import dialects
from callwright.datasets import Conversation, Report, readers
from callwright.datasets.convert import convert
from callwright.datasets.encoding import Encoder
from callwright.errors import InvalidInput
from callwright.evaluator import formats
from callwright.spec.model import LossWeights

CALL = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'
TOOLS = json.dumps([WEATHER])


def openai(**fields: Any) -> dict[str, Any]:
    """Two questions; the first answer has the fields."""
    return {"messages": [user("A?"), {**said("One."), **fields}, user("B?"), said("Two.")]}


def read(tmp_path: Path, *rows: dict[str, Any], strict: readers.Strict = "fail") -> tuple[list[Conversation], Report]:
    """The rows that are kept of a file with these."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    report = Report()
    return list(readers.read(path, strict=strict, report=report)), report


def weights(talk: Conversation) -> list[float]:
    """Of its assistant turns."""
    return [message.get("weight", 1.0) for message in talk.messages if message["role"] == "assistant"]


def trained(talk: Conversation, dialect: str, tokenizer: Any, **loss: Any) -> list[tuple[float, str]]:
    """Runs of tokens that count, each with its weight."""
    example = Encoder(dialects.load(dialect), tokenizer, LossWeights(**loss)).encode(talk)[0]
    runs: list[tuple[float, list[int]]] = []
    for token, weight in zip(example.input_ids, example.weights, strict=True):
        if not runs or runs[-1][0] != weight:
            runs.append((weight, []))
        runs[-1][1].append(token)
    return [(weight, tokenizer.decode(ids)) for weight, ids in runs if weight]


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({"weight": 0}, 0),
        ({"weight": 1}, 1),
        ({"weight": None}, 1),
        ({"weight": 0.25}, 0.25),
        ({"weight": "0"}, 0),
        ({"weight": False}, 0),
        ({"loss_weight": 0.5, "train": True}, 0.5),
        ({"loss_scale": 2.0}, 2),
        ({"train": False}, 0),
        ({"train": "False"}, 0),
        ({"training": 0}, 0),
        ({"loss": False}, 0),
        ({"loss": True}, 1),
        ({"loss_mask": 0}, 0),
        ({"weight": 1, "loss": False}, 0),
        ({"loss": ""}, 1),
        ({"constraint": "none", "train_loss": None, "lossless": True, "trainer": "x"}, 1),
    ],
)
def test_a_field_that_says_what_a_turn_counts_is_read(tmp_path: Path, fields: dict[str, Any], weight: float) -> None:
    [talk], report = read(tmp_path, openai(**fields))
    assert weights(talk) == [weight, 1]
    assert report.remarks == ({0: {"turn_without_loss": 1}, 1: {}}.get(weight, {"turn_of_another_weight": 1}))
    assert Conversation.from_json(talk.to_json()) == talk
    assert read(tmp_path, json.loads(talk.to_json()))[0][0].messages == talk.messages


@pytest.mark.parametrize(
    "fields",
    [
        {"weight": -1},
        {"weight": "half"},
        {"weight": [0]},
        {"weight": "inf"},
        {"train": 0.5},
        {"loss": 2.31},
        {"loss": "no"},
        {"mask": True},
        {"no_loss": True},
        {"isTrain": False},
        {"weights": 0},
        {"train_detail": [{"begin_offset": 0, "end_offset": 1, "train": False}]},
    ],
)
def test_what_a_field_says_of_the_loss_and_cannot_be_read_is_a_finding(tmp_path: Path, fields: dict[str, Any]) -> None:
    kept, report = read(tmp_path, openai(**fields), openai(), strict="keep")
    assert len(kept) == 1
    assert report.findings == {"weight": 1}
    assert f"rows.jsonl:1: messages[1].{next(iter(fields))}: got " in report.examples["weight"][0]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"train": False}, None),
        ({"weight": 0.5}, [0.25, 0.5]),
        ({"loss": True, "mask": "User", "train_on_inputs": False}, [0.5, 1]),
        ({"train_on_inputs": True}, None),
        ({"mask_history": True}, None),
    ],
)
def test_a_row_speaks_for_all_of_its_turns(tmp_path: Path, fields: dict[str, Any], found: list[float] | None) -> None:
    kept, report = read(tmp_path, {**openai(weight=0.5), **fields}, strict="drop")
    assert [weights(talk) for talk in kept] == ([found] if found else [])
    assert sum(report.findings.values()) == (found is None)


def test_a_turn_of_another_role_is_never_trained_on_and_the_report_says_so(tmp_path: Path, tokenizer: Any) -> None:
    row = openai()
    row["messages"][0]["train"] = True
    row["messages"][2]["train"] = False
    [talk], report = read(tmp_path, row)
    assert report.remarks == {"loss_of_another_role_left_out": 1}
    assert "".join(text for _, text in trained(talk, "ms_agent", tokenizer)) == "One.<|im_end|>Two.<|im_end|>"


SHAREGPT = {
    "tools": TOOLS,
    "conversations": [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": CALL, "loss": False},
        {"from": "observation", "value": "snow"},
        {"from": "gpt", "value": "Snow.", "weight": 0.5},
    ],
}
SWIFT = {
    "tools": TOOLS,
    "messages": [
        user("Weather?"),
        {"role": "assistant", "content": "I look.", "loss": False},
        {"role": "tool_call", "content": CALL, "loss": False},
        {"role": "tool_response", "content": "snow"},
        {"role": "assistant", "content": "Snow.", "weight": 0.5},
    ],
}
OPENAI = {
    "tools": [WEATHER],
    "messages": [
        user("Weather?"),
        {**asked(call(0, city="Oslo")), "weight": 0},
        result(0, "snow"),
        {**said("Snow."), "weight": 0.5},
    ],
}


@pytest.mark.parametrize("row", [SHAREGPT, SWIFT, OPENAI], ids=["sharegpt", "swift", "openai"])
def test_every_format_weighs_a_call_and_its_answer_apart(tmp_path: Path, tokenizer: Any, row: dict[str, Any]) -> None:
    [talk], _ = read(tmp_path, row)
    assert weights(talk) == [0, 0.5]
    for name in dialects.TEXT_NAMES:
        found = trained(talk, name, tokenizer)
        assert {weight for weight, _ in found} <= {0.5, 1.0}
        assert "Oslo" not in "".join(text for _, text in found)
        assert "Snow." in "".join(text for _, text in found)


def test_all_turns_of_one_text_have_its_weight(tmp_path: Path) -> None:
    loop = f"Action: get_weather\nAction Input: {json.dumps({'city': 'Oslo'})}\nObservation: snow\nFinal Answer: Snow."
    turns = [{"from": "human", "value": "Weather?"}, {"from": "gpt", "value": loop, "weight": 0.5}]
    [talk], report = read(tmp_path, {"tools": TOOLS, "conversations": turns})
    assert weights(talk) == [0.5, 0.5]
    assert report.remarks == {"turn_of_another_weight": 1}


def test_a_text_and_its_call_of_different_weights_are_a_finding(tmp_path: Path) -> None:
    row = json.loads(json.dumps(SWIFT))
    del row["messages"][1]["loss"]
    assert read(tmp_path, row, strict="keep")[1].findings == {"weight": 1}


def test_weights_multiply_those_of_every_kind(tokenizer: Any) -> None:
    messages = [{**m, "weight": 0.5} if m["role"] == "assistant" and "tool_calls" in m else m for m in TRIP.messages]
    found = trained(conversation(*messages), "ms_agent", tokenizer)
    assert found[:2] == [
        (0.5, "Thought: First Paris.\n"),
        (1.0, 'Action: get_weather\nAction Input: {"city": "Paris"}\nObservation:'),
    ]
    assert found[-1] == (1.0, "Thought: I now know the final answer\nFinal Answer: You are welcome.<|im_end|>")


def test_every_layout_of_agentfabric_has_the_weights_of_its_turn(tokenizer: Any) -> None:
    messages = [{**m, "weight": 0.0} if m["role"] == "assistant" and "tool_calls" in m else m for m in TRIP.messages]
    encoder = Encoder(dialects.load("agentfabric"), tokenizer, LossWeights())
    assert [any(layout.weights) for layout in encoder.encode(conversation(*messages))[1:]] == [False, False, True, True]


def test_of_the_last_turn_alone_agentfabric_s_steps_are_trained_too(tokenizer: Any) -> None:
    encoder = Encoder(dialects.load("agentfabric"), tokenizer, LossWeights(preset="last_turn"))
    assert len(encoder.encode(TRIP)) == 2
    assert len(encoder.encode(conversation(*TRIP.messages[:-2]))) == 4


def test_a_row_without_any_loss_is_a_finding(tmp_path: Path) -> None:
    kept, report = read(tmp_path, {**openai(), "train": False}, openai(), strict="drop")
    assert len(kept) == 1
    assert report.findings == {"no_loss": 1}


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_conversion_keeps_the_weights_or_says_that_it_cannot(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(openai(train=False))}\n{json.dumps(OPENAI)}\n")
    report = Report()
    convert(tmp_path / "in.jsonl", tmp_path / "out.jsonl", to=name, report=report)
    first, *others = [json.loads(line)["conversations"] for line in (tmp_path / "out.jsonl").open()]
    assert [turn.get("weight") for turn in first if turn["from"] == "assistant"] == [0, None]
    assert weights(next(readers.read(tmp_path / "out.jsonl", strict="keep"))) == [0, 1]
    if others:  # a dialect whose results stand in messages of their own
        assert [turn.get("weight") for turn in others[0] if turn["from"] == "assistant"] == [0, 0.5]
    else:
        assert "got turns of weights" in report.examples["dialect"][0]
    assert (name in ("toolbench", "hermes")) == bool(others)


def test_a_turn_of_weight_0_is_no_gold(tmp_path: Path) -> None:
    [talk], _ = read(tmp_path, OPENAI)
    rows = formats.split(talk, set="s")
    assert [(row.expected, row.reference) for row in rows] == [((), "Snow.")]


def test_strict_fail_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"line 1: messages\[1\]\.train: got 'perhaps'; expected true or false"):
        read(tmp_path, openai(train="perhaps"))
