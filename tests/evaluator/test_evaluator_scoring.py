"""The rules of comparison, the schema check and the statistics behind a report."""

import json
import math
from typing import Any

import pytest
from cases import TOOLS, follow_up, row
from hypothesis import given
from hypothesis import strategies as st

from callwright.evaluator import answers, compare, measures, scoring
from callwright.evaluator.answers import Answer
from callwright.evaluator.row import Call, Row


def answer(*calls: Call, content: str | None = None, malformed: tuple[str, ...] = ()) -> Answer:
    return Answer(content, calls, malformed, 0, 0)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (5, 5.0, True), (True, 1, False), (0, False, False), (None, None, True), ("a", "A", False), (None, "", False),
        ({"a": 1, "b": [1, 2]}, {"b": [1.0, 2], "a": 1}, True), ([1, 2], [2, 1], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([True], [1], False), ("5", 5, False), ([], {}, False), ({}, {}, True), ([{"a": [0]}], [{"a": [False]}], False),
    ],
)  # fmt: skip
def test_json_values_are_equal_as_json(first: Any, second: Any, same: bool):
    assert scoring.equal(first, second) is same
    assert scoring.equal(second, first) is same


@pytest.mark.parametrize(
    ("due", "got", "same"),
    [
        ({"city": "Oslo"}, {"city": " oslo. "}, True), ({"city": "Ｏｓｌｏ"}, {"city": "Oslo"}, True),
        ({"days": 3}, {"days": "3"}, True), ({"days": 3}, {"days": "3.0"}, True), ({"days": 3}, {"days": "4"}, False),
        ({"city": "Oslo"}, {"city": "Oslo", "days": 1}, True), ({"city": "Oslo", "days": 1}, {"city": "Oslo"}, True),
        ({"city": "Oslo"}, {"city": "Oslo", "days": 2}, False),
        ({"city": "Oslo"}, {"city": "Oslo", "days": None}, True),
        ({"city": "New  York"}, {"city": "new york"}, True), ({"city": "nan"}, {"city": "NaN"}, True),
        ({"city": "Oslo"}, {}, False), ({"city": ["a", "B"]}, {"city": ["A", "b"]}, True),
    ],
)  # fmt: skip
def test_normalised_accuracy_forgives_form_only(due: dict[str, Any], got: dict[str, Any], same: bool):
    asked = Row("s", "1", ({"role": "user", "content": "x"},), TOOLS, (Call("weather", due),))
    assert scoring.score(asked, answer(Call("weather", got))).normalised is same


def test_parallel_calls_may_come_in_any_order_but_not_too_many():
    due = (Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"}), Call("time", {}))
    asked = Row("s", "1", ({"role": "user", "content": "x"},), TOOLS, due)
    assert scoring.score(asked, answer(*due[::-1])).correct
    assert not scoring.score(asked, answer(*due, due[0])).correct
    assert not scoring.score(asked, answer(due[0], due[0], due[2])).correct
    short = scoring.score(asked, answer(due[1]))
    assert (short.correct, short.right_tools, short.arguments_equal, short.arguments_expected) == (False, False, 1, 2)


def test_an_extra_argument_is_wrong_though_all_due_ones_are_right():
    verdict = scoring.score(row("0", "Oslo"), answer(Call("weather", {"city": "Oslo", "days": 2})))
    assert (verdict.correct, verdict.right_tools, verdict.arguments_equal) == (False, True, 1)


def test_a_malformed_call_beside_a_right_one_is_not_right():
    verdict = scoring.score(row("0", "Oslo"), answer(Call("weather", {"city": "Oslo"}), malformed=("cut",)))
    assert (verdict.called, verdict.correct, verdict.malformed) == (True, False, "cut")


def test_repeats_are_seen_only_where_a_result_is_there():
    assert scoring.score(follow_up(), answer(Call("weather", {"city": "Oslo"}))).repeated is True
    assert scoring.score(follow_up(), answer(Call("weather", {"city": "Rome"}))).repeated is False
    assert scoring.score(row("0", "Oslo"), answer(Call("weather", {"city": "Oslo"}))).repeated is None


@pytest.mark.parametrize(
    ("name", "arguments", "fits"),
    [
        ("weather", {"city": "Oslo"}, True), ("weather", {"city": "Oslo", "days": 2}, True), ("weather", {}, False),
        ("weather", {"city": 3}, False), ("weather", {"city": "Oslo", "days": "2"}, False), ("time", {}, True),
        ("weather", {"city": "Oslo", "made_up": 1}, False), ("nothing", {}, False),
        ("weather", {"city": "x", "days": 2.5}, False),
    ],
)  # fmt: skip
def test_calls_against_the_schema(name: str, arguments: dict[str, Any], fits: bool):
    assert scoring.fits_schema(TOOLS, Call(name, arguments)) is fits


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "dict"}, {"type": 3}, {"properties": 3}, {"$ref": "https://example.invalid/x.json"},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, {"required": 3}, [], None, "x",
    ],
)  # fmt: skip
def test_a_broken_schema_refuses_nothing_and_fetches_nothing(parameters: Any):
    tool = {"type": "function", "function": {"name": "t", "parameters": parameters}}
    assert scoring.fits_schema([tool], Call("t", {"a": "b"})) is True


def test_chat_completions_that_are_none():
    for body in ({}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": None}]}, {"choices": 3}):
        with pytest.raises(ValueError, match="no chat completion"):
            answers.read(body, TOOLS, None)
    odd = {"choices": [{"message": {"content": 3, "tool_calls": None}}], "usage": 3}
    assert answers.read(odd, TOOLS, None) == Answer(None, (), (), 0, 0)


@pytest.mark.parametrize(
    "text", ['{"city": "Os', "[]", "3", "", None, '{"a": NaN}', "[" * 5000, '{"a":' * 600 + "1" + "}" * 600]
)
def test_arguments_that_are_no_json_object_are_malformed(text: Any):
    call = {"function": {"name": "weather", "arguments": text}}
    read = answers.read({"choices": [{"message": {"tool_calls": [call]}}]}, TOOLS, None)
    assert (read.calls, read.malformed) == ((), ("the arguments are no JSON object",))


@pytest.mark.parametrize(
    ("content", "dialect", "malformed"),
    [
        ("Action: weather\nAction Input: {\"city\": \"Oslo\"}", "ms_agent", "a readable call left as text"),
        ("Action: weather\nAction Input: {\"city\": \"Oslo\"}", None, "a readable call left as text"),
        ("Action: wether\nAction Input: {\"city\": \"Oslo\"}", None, "unknown tool"),
        ('<tool_call>\n{"name": "wether", "arguments": {}}\n</tool_call>', None, "unknown tool"),
        ("Take action now, then relax.", None, None), ("Nothing to call.", None, None),
    ],
)  # fmt: skip
def test_calls_left_in_the_text_are_seen(content: str, dialect: str | None, malformed: str | None):
    read = answers.read({"choices": [{"message": {"content": content}}]}, TOOLS, dialect)
    assert read.malformed == ((malformed,) if malformed else ())


def test_wilson_against_published_values():
    assert measures.wilson(0, 0) is None
    assert measures.wilson(184, 200) == pytest.approx((0.8739, 0.9501), abs=2e-4)
    assert measures.wilson(0, 7)[0] == 0.0  # type: ignore[index]
    assert measures.wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert measures.wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_mcnemar_is_the_exact_binomial_test():
    for first, second in ((0, 0), (10, 2), (2, 10), (5, 5), (0, 20), (30, 12)):
        count, fewer = first + second, min(first, second)
        exact = min(1.0, 2 * sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count)
        assert compare.mcnemar(first, second) == pytest.approx(exact)
    assert 0 <= compare.mcnemar(4_000, 4_400) < 1e-4


def test_the_paired_bootstrap_covers_what_a_plain_one_covers():
    import numpy

    outcomes = numpy.array([-1] * 6 + [1] * 20 + [0] * 74)
    generator = numpy.random.default_rng(1)
    plain = outcomes[generator.integers(100, size=(20_000, 100))].mean(axis=1)
    ours = compare.paired_difference(6, 20, 100)
    assert ours == pytest.approx(tuple(numpy.quantile(plain, (0.025, 0.975))), abs=0.011)


def slow_rouge(one: list[str], other: list[str]) -> float:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return 2 * table[-1][-1] / (len(one) + len(other))


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.lists(st.sampled_from("abc"), min_size=1, max_size=40)
)
def test_rouge_l_equals_the_table(one: list[str], other: list[str]):
    assert scoring.rouge_l(one, other) == pytest.approx(slow_rouge(one, other))


def test_overlap_reads_words_and_chinese_characters():
    assert scoring.overlap("It is 9 degrees.", "it is 9 degrees") == 1.0
    assert scoring.overlap("", "") == 1.0
    assert scoring.overlap("", "x") == 0.0
    assert scoring.tokens("今天9度, ok") == ["今", "天", "9", "度", "ok"]


def test_an_answer_in_a_call_of_toolbench_s_finish_is_an_answer():
    tools = [{"type": "function", "function": {"name": "Finish"}}]
    given = json.dumps({"return_type": "give_answer", "final_answer": "42"})
    message = {"content": "So.", "tool_calls": [{"function": {"name": "Finish", "arguments": given}}]}
    read = answers.read({"choices": [{"message": message}]}, tools, "toolbench")
    assert (read.content, read.calls, read.malformed) == ("So.\n42", (), ())
