"""BFCL's rule: the same verdicts as `bfcl-eval`, recorded on thousands of outputs and, where it is installed, live."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import bfcl_outputs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwright.datasets import readers
from callwright.datasets.formats.bfcl import GoldCall
from callwright.errors import InvalidInput
from callwright.evaluator import bfcl_rule, scoring, sets
from callwright.evaluator.evaluation import evaluate
from callwright.evaluator.row import Row
from callwright.evaluator.sets import Reading
from fakes import OpenAIServer, completion


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data" / "bfcl"


def read(folder: Path, category: str) -> list[Row]:
    reading = Reading()
    found = list(sets.read(folder / f"BFCL_v4_{category}.json", reading=reading))
    assert not reading.notes("bfcl")
    return found


def accepts(row: Row, calls: bfcl_outputs.Calls) -> bool:
    return bfcl_rule.accepts(row.bfcl, [pair for call in calls for pair in call.items()])


@pytest.mark.parametrize("category", bfcl_outputs.CATEGORIES)
def test_verdicts_equal_those_of_bfcl_eval(folder: Path, category: str):
    recorded = json.loads(bfcl_outputs.VERDICTS.read_text())[category]
    ours = [
        (row.id, calls, accepts(row, calls))
        for row, (document, gold) in zip(read(folder, category), bfcl_outputs.rows(folder, category), strict=True)
        for calls in bfcl_outputs.outputs(document, gold)
    ]
    assert len(ours) == len(recorded)
    different = [entry for entry, theirs in zip(ours, recorded, strict=True) if "01"[entry[2]] != theirs]
    assert different == []
    assert len(ours) * 0.2 < recorded.count("1") < len(ours) * 0.8


@pytest.mark.skipif(not importlib.util.find_spec("bfcl_eval"), reason="needs `pip install --no-deps bfcl-eval`")
def test_recorded_verdicts_are_those_of_the_installed_bfcl_eval(folder: Path):
    assert bfcl_outputs.record(folder) == json.loads(bfcl_outputs.VERDICTS.read_text())


@pytest.mark.parametrize(("category", "count"), [("simple_python", 400), ("multiple", 200), ("parallel", 200)])
def test_shown_gold_is_right_by_the_rule_and_fits_the_schema(folder: Path, category: str, count: int):
    found = read(folder, category)
    assert len(found) == count
    wrong = [row.id for row in found if not bfcl_rule.accepts(row.bfcl, row.expected)]
    assert wrong == []
    unfit = [c.name for row in found for c in row.expected if not scoring.fits_schema(row.tools, c)]
    assert len(unfit) < count * 0.02, unfit  # BFCL's own gold strays from its own schemas here and there


@pytest.mark.parametrize("category", bfcl_outputs.CATEGORIES)
def test_training_reads_the_same_gold(folder: Path, category: str):
    conversations = readers.read(folder / f"BFCL_v4_{category}.json", strict="keep")
    for row, conversation in zip(read(folder, category), conversations, strict=True):
        *asked, answer = conversation.messages
        calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in answer["tool_calls"]]
        assert (row.id, row.messages, row.tools, list(row.expected)) == (
            conversation.id, tuple(asked), conversation.tools, calls,
        )  # fmt: skip


def test_irrelevance_expects_no_call(folder: Path):
    found = read(folder, "irrelevance")
    assert len(found) == 240
    assert {row.kind for row in found} == {"no_call"}


def test_a_perfect_model_is_right_in_every_category_and_an_eager_one_is_not(folder: Path):
    asked = [row for name in (*bfcl_outputs.CATEGORIES, "irrelevance") for row in read(folder, name)[:12]]
    gold = {row.messages[-1]["content"]: [(call.name, call.arguments) for call in row.expected] for row in asked}

    def perfect(body: dict[str, Any]) -> dict[str, Any]:
        return completion(calls=gold[body["messages"][-1]["content"]])

    def eager(body: dict[str, Any]) -> dict[str, Any]:
        return completion(calls=[(body["tools"][0]["function"]["name"], {})])

    with OpenAIServer(perfect) as server:
        total = evaluate(base_url=server.base_url, model="m", rows=asked).total
        assert not any("." in tool["function"]["name"] for body in server.requests for tool in body["tools"])
    assert (total.calls_due, total.parallel_due, total.no_call_due) == (36, 12, 12)
    assert (total.accuracy, total.parallel_accuracy, total.no_call_accuracy, total.arguments) == (1.0, 1.0, 1.0, 1.0)
    with OpenAIServer(eager) as server:
        total = evaluate(base_url=server.base_url, model="m", rows=asked).total
    assert (total.accuracy, total.no_call_accuracy) == (0.0, 0.0)


def bfcl_set(folder: Path, *cases: tuple[Any, Any]) -> tuple[list[Row], Reading]:
    """The rows of a BFCL file with a row for each pair of one parameter's description and the call's gold."""
    (folder / "possible_answer").mkdir()
    rows, gold = [], []
    for id, (parameters, truth) in enumerate(cases):
        function = {"name": "f.g"} if parameters is None else {"name": "f.g", "parameters": parameters}
        rows.append({"id": id, "question": [[{"role": "user", "content": "x"}]], "function": [function]})
        gold.append({"id": id, "ground_truth": truth})
    for path, documents in ((folder / "BFCL.json", rows), (folder / "possible_answer" / "BFCL.json", gold)):
        path.write_text("\n".join(map(json.dumps, documents)))
    reading = Reading()
    return list(sets.read(folder / "BFCL.json", reading=reading)), reading


def declaring(declared: Any) -> Any:
    return {"type": "dict", "properties": {"p": declared}}


GOLD = [{"f.g": {"p": ["a"]}}]
KNOWN = (declaring({"type": "string"}), GOLD)


@pytest.mark.parametrize(
    ("parameters", "gold", "words"),
    [
        (declaring({"type": "array"}), GOLD, "f_g: p: items: got no type; expected one of string, "),
        (declaring({"type": "array", "items": [{"type": "string"}]}), GOLD, "f_g: p: items: got no type"),
        (declaring({"type": "tuple", "items": {"type": "HashMap"}}), GOLD, "f_g: p: items: got type 'HashMap'"),
        (declaring({"description": "untyped"}), GOLD, "f_g: p: got no type"),
        (declaring({"type": ["string", "null"]}), GOLD, "f_g: p: got type ['string', 'null']"),
        (declaring({"type": "ArrayList"}), GOLD, "f_g: p: got type 'ArrayList'"),
        (declaring("ArrayList"), GOLD, "f_g: p: got "),
        ([], GOLD, "function f.g: got parameters without named properties"),
        ({"properties": ["p"]}, GOLD, "tools: f.g: parameters: "),
        (*KNOWN[:1], [{"g": {}}], "the gold calls g: got no such function"),
        (*KNOWN[:1], "f.g(p='a')", "ground_truth: got no list of calls"),
        (*KNOWN[:1], ["f.g(p='a')"], "ground_truth: got no list of calls"),
        (*KNOWN[:1], None, "ground_truth: got no list of calls"),
        (*KNOWN[:1], [{}], "ground_truth: got no list of calls"),
        (*KNOWN[:1], [{"f.g": {"p": ["look \ud83d"]}}], "got half a surrogate pair"),
        (*KNOWN[:1], [{"f.g": [["a"]]}], "ground_truth: f.g: got [['a']]; expected lists of accepted values"),
        (*KNOWN[:1], [{"f.g": {"p": "a"}}], "ground_truth: f.g: p: got 'a'; expected a list of accepted values"),
        (*KNOWN[:1], [{"f.g": {"p": []}}], "ground_truth: f.g: p: got []; expected a list of accepted values"),
        (declaring({"type": "dict"}), [{"f.g": {"p": [{"k": 1}]}}], "f_g: p: got [{'k': 1}]; expected lists of"),
    ],
)
def test_a_row_that_the_rule_cannot_judge_is_refused_by_line_and_the_rest_kept(
    tmp_path: Path, parameters: Any, gold: Any, words: str
):
    found, reading = bfcl_set(tmp_path, KNOWN, (parameters, gold), KNOWN)
    assert [row.id for row in found] == ["0", "2"]
    assert (reading.conversations, reading.unreadable, reading.without_gold) == (3, 1, 0)
    assert reading.examples[0].startswith(f"{tmp_path / 'BFCL.json'}:2: {words}")


@pytest.mark.parametrize(
    ("parameters", "gold", "right", "wrong"),
    [
        (None, [{"f.g": {}}], {}, {"p": 1}),
        ({"type": "dict"}, [{"f.g": {}}], {}, {"p": 1}),
        ({"type": "dict", "properties": {}, "required": None}, [{"f.g": {}}], {}, {"p": 1}),
        (declaring({"type": "dict"}), [{"f.g": {"p": [{"k": [1, 2]}]}}], {"p": {"k": 2}}, {"p": {"k": 3}}),
        (declaring({"type": "dict"}), [{"f.g": {"p": ["variable"]}}], {"p": "variable"}, {"p": {"k": 3}}),
        (declaring({"type": "array", "items": {"type": "array"}}), [{"f.g": {"p": [[[1]]]}}], {"p": [[1]]}, {"p": [1]}),
        (declaring({"type": "list", "items": {"type": "dict"}}), [{"f.g": {"p": [5]}}], {"p": 5}, {"p": [{"k": 1}]}),
        (declaring({"type": "number"}), [{"f.g": {"p": [2.0]}}], {"p": 2}, {"p": "2"}),
        (declaring({"type": "float"}), [{"f.g": {"p": [2.0]}}], {"p": 2.0}, {"p": 10**400}),
        (declaring({"type": "String"}), [{"f.g": {"p": ["a"]}}], {"p": "A"}, {"p": 1}),
        (declaring({"type": "any"}), [{"f.g": {"p": [3, ""]}}], {}, {"p": 4}),
    ],
)
def test_what_bfcl_leaves_out_or_names_otherwise_is_judged(
    tmp_path: Path, parameters: Any, gold: Any, right: dict[str, Any], wrong: dict[str, Any]
):
    (row,), reading = bfcl_set(tmp_path, (parameters, gold))
    assert reading.notes("x") == []
    assert accepts(row, [{"f_g": right}])
    assert not accepts(row, [{"f_g": wrong}])


def test_irrelevance_needs_no_types(tmp_path: Path):
    row = {"id": 1, "question": [{"role": "user", "content": "x"}], "function": [{"name": "f", "parameters": {}}]}
    row["function"][0]["parameters"] = declaring({"type": "ArrayList"})
    path = tmp_path / "BFCL_irrelevance.json"
    path.write_text("\n".join(map(json.dumps, [row, row | {"question": []}, row | {"question": [["x"]]}, {"id": 4}])))
    reading = Reading()
    assert [row.id for row in sets.read(path, reading=reading)] == ["1"]
    assert [line.partition(": ")[2] for line in reading.examples] == [
        "question: got no turn; expected at least a user's",
        "question: got no turn with a role; expected system, user or assistant",
        "got id; expected a BFCL row: question and function, lists",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": 1}', "got id"),
        ("[]", "got a JSON list"),
        ('{"id": 1, "ground_truth": [{"f.g": {"p": ["a', "not JSON"),
        ('{"ground_truth": []}', "got ground_truth"),
        ('{"id": 0, "ground_truth": []}', "got the id 0 again"),
        ('{"id": 1, "ground_truth": %s}' % ("[" * 1000 + "]" * 1000), "nested deeper than"),
        ('{"id": 1, "ground_truth": [{"f.g": {"p": [%s]}}]}' % ("9" * 5000), "a number of 5000 digits"),
    ],
)
def test_gold_that_cannot_be_read_is_counted_by_line_and_the_rest_asked(tmp_path: Path, line: str, words: str):
    bfcl_set(tmp_path, KNOWN, KNOWN, KNOWN)
    gold = tmp_path / "possible_answer" / "BFCL.json"
    lines = gold.read_text().splitlines()
    gold.write_text("\n".join([lines[0], line, lines[2]]))
    reading = Reading()
    assert [row.id for row in sets.read(tmp_path / "BFCL.json", reading=reading)] == ["0", "2"]
    assert (reading.conversations, reading.without_gold, reading.unreadable) == (3, 1, 1)
    assert words in reading.examples[0]
    assert reading.examples[0].startswith(f"{gold}:2: ")
    with pytest.raises(InvalidInput, match=r"possible_answer/BFCL\.json:2: .*expected id and ground_truth"):
        list(readers.read(tmp_path / "BFCL.json"))


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c"])
def test_only_a_line_feed_ends_a_line_of_gold(tmp_path: Path, separator: str):
    (row,), reading = bfcl_set(tmp_path, KNOWN)
    for path in (tmp_path / "BFCL.json", tmp_path / "possible_answer" / "BFCL.json"):
        document = json.loads(path.read_text())
        if "ground_truth" in document:
            document["ground_truth"] = [{"f.g": {"p": [f"a{separator}b"]}}]
        path.write_text(json.dumps(document | {"note": separator}, ensure_ascii=False) + "\n", encoding="utf-8")
    (row,) = sets.read(tmp_path / "BFCL.json", reading=reading)
    assert row.expected[0].arguments == {"p": f"a{separator}b"}
    assert reading.notes("x") == []


def test_a_row_whose_id_the_gold_lacks_is_without_gold(tmp_path: Path):
    bfcl_set(tmp_path, KNOWN, KNOWN)
    gold = tmp_path / "possible_answer" / "BFCL.json"
    gold.write_text(gold.read_text().splitlines()[1])
    reading = Reading()
    assert [row.id for row in sets.read(tmp_path / "BFCL.json", reading=reading)] == ["1"]
    assert (reading.without_gold, reading.unreadable) == (1, 0)


VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, 1.0, -(10**400), "", "a", "a,"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ak"), inner, max_size=2),
    max_leaves=6,
)


@given(kind=st.sampled_from(["string", "integer", "float", "boolean", "array", "dict", "any"]),
       items=st.sampled_from(["string", "float", "array", "dict"]), accepted=st.lists(VALUES, min_size=1, max_size=3),
       value=VALUES)  # fmt: skip
def test_the_rule_judges_every_value(kind: str, items: str, accepted: list[Any], value: Any):
    function = {"parameters": {"properties": {"p": {"type": kind, "items": {"type": items}}}}}
    try:
        gold = bfcl_rule.AcceptedCall.read(GoldCall("f", {"p": accepted}, ()), function)
    except ValueError:
        return
    assert isinstance(gold.accepts("f", {"p": value}), bool)
