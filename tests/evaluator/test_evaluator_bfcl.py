"""BFCL's rule: the same verdicts as `bfcl-eval`, recorded on thousands of outputs and, where it is installed, live."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import bfcl_outputs
import pytest

from callwright.evaluator import Reading, Row, bfcl_rule, evaluate, scoring, sets
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
