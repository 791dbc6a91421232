"""The corpus's promises: its tools, what is kept out of training, and that our own readers take every row."""

import itertools
import json
import random
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from callwright import dialects, spec
from callwright.datasets import readers
from callwright.demo import asking, catalogue, kinds
from callwright.demo.catalogue import HELD_OUT_FIELDS, Parameter, Tool, every, known, unseen
from callwright.demo.corpus import Corpus, Sizes, write_corpus
from callwright.demo.document import write_document
from callwright.demo.looks import PLAIN, some_look
from callwright.evaluator import sets
from callwright.evaluator.row import Call, Row
from callwright.evaluator.scoring import fits_schema

OWN_SETS = ("known", "unseen", "quiet", "two", "general")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def agent(corpus: Corpus) -> list[dict[str, Any]]:
    return [json.loads(line) for line in corpus.agent.read_text(encoding="utf-8").splitlines()]


def held_out(corpus: Corpus, name: str) -> list[Row]:
    reading = sets.Reading()
    rows = list(sets.read(corpus.held_out(name), name=name, reading=reading))
    assert not reading.notes(name)
    return rows


def calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [call["function"] for call in message.get("tool_calls") or ()]


def answers(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (message for message in row["messages"] if message["role"] == "assistant")


def leaves(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for each in value.values():
                yield from leaves(each)
        case list():
            for each in value:
                yield from leaves(each)
        case _:
            yield str(value)


def test_there_are_150_tools_of_15_fields_and_30_of_whole_fields_are_kept_out() -> None:
    assert len(every()) >= 150
    assert len({tool.field for tool in every()}) >= 15
    assert len(unseen()) >= 30
    assert {tool.field for tool in unseen()} == set(HELD_OUT_FIELDS)
    assert len({tool.name for tool in every()}) == len(every())


def test_parameters_have_every_json_type() -> None:
    schemas = [parameter.schema for tool in known() for parameter in tool.parameters]
    assert {schema["type"] for schema in schemas} == {"string", "integer", "number", "boolean", "array"}
    assert any("enum" in schema for schema in schemas)
    assert sum("." in parameter.path for tool in known() for parameter in tool.parameters) >= 10
    assert sum(not parameter.required for tool in known() for parameter in tool.parameters) >= 80


@pytest.mark.parametrize("tool", every(), ids=lambda tool: tool.name)
def test_every_wording_tells_the_required_values_and_no_others(tool: Tool) -> None:
    assert len(set(tool.wordings)) >= 3
    assert tool.required
    paths = {parameter.path for parameter in tool.parameters}
    required = {parameter.path for parameter in tool.required}
    for wording in tool.wordings + tool.chinese:
        assert set(catalogue.slots(catalogue.with_parts(wording, set()))) == required
        assert set(catalogue.slots(wording)) <= paths
        assert all(catalogue.slots(part) for part in catalogue.optional_parts(wording))
    told = {slot for wording in tool.wordings for slot in catalogue.slots(wording)}
    assert told == paths


@pytest.mark.parametrize("tool", every(), ids=lambda tool: tool.name)
def test_every_value_of_a_call_can_be_read_from_the_request(tool: Tool) -> None:
    rng = random.Random(3)
    for number in range(8):
        split: kinds.Split = "train" if number % 2 else "held_out"
        look = some_look(rng, tool)
        request = asking.request(rng, tool, look, split, chinese=number % 4 == 3, followed=number > 5)
        both, pair = asking.request_twice(rng, tool, look, split)
        for text, each in ((request.text, request), *((both, one) for one in pair)):
            assert_told(text, each)
        assert pair[0].call != pair[1].call
        if len(tool.required) > 1:
            gap, missing, told = asking.request_with_gap(rng, tool, look, split)
            assert_told(f"{gap} {told.text}", told)
            assert not re.search(f"the {asking.spoken_name(missing, look)} (is|are) ", gap.lower())


def assert_told(text: str, request: asking.Request) -> None:
    for parameter in request.tool.parameters:
        for value in as_list(request.values.get(parameter.path, [])):
            words = told_as(parameter, value)
            as_it_is = parameter.path in request.look.as_text
            assert any(word.casefold() in text.casefold() for word in words[: 1 if as_it_is else None]), (text, value)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def told_as(parameter: Parameter, value: Any) -> list[str]:
    """Ways to tell a value, as it stands in the call first."""
    words = [word for choice in parameter.choices if choice.value == value for word in (choice.said, choice.chinese)]
    if parameter.is_boolean:
        return words
    said = [str(value), *words]
    return [*said, f"{value:,}", *NUMBER_WORDS.get(value, ())] if isinstance(value, int) else said


NUMBER_WORDS = {
    number: (word,)
    for number, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
}


def tool_named(name: str) -> Tool:
    return next(tool for tool in every() if tool.name == name)


def test_the_same_for_another_value_is_asked_only_where_its_looks_tell_whose_it_is() -> None:
    rng = random.Random(4)
    texts = {
        name: [asking.request_twice(rng, tool_named(name), PLAIN, "train")[0] for _ in range(60)]
        for name in ("get_train_times", "set_storm_alert")
    }
    again = {name: sum("same" in text for text in found) for name, found in texts.items()}
    assert again["get_train_times"] == 0
    assert again["set_storm_alert"] > 10


def test_a_sentence_that_is_followed_has_an_end_and_names_keep_their_capitals() -> None:
    rng = random.Random(5)
    sms, lyrics = (tool_named(name) for name in ("send_sms", "get_lyrics"))
    for _ in range(60):
        text, (first, second) = asking.request_both(rng, (sms, PLAIN), (lyrics, PLAIN), "train")
        message, song = first.values["text"], second.values["song"]
        assert f"'{message}'." in text or f'"{message}".' in text
        assert song in text
        assert second.values["artist"] in text


def test_values_that_make_no_sense_together_are_not_drawn() -> None:
    rng = random.Random(6)
    for _ in range(60):
        money, leave, points = (
            asking.request(rng, tool_named(name), PLAIN, "train").values
            for name in ("exchange_money", "request_leave", "midpoint")
        )
        assert money["from_currency"] != money["to_currency"]
        assert leave["start"] < leave["end"]
        assert [len(points["point1"]), len(points["point2"])] == [2, 2]


@pytest.mark.parametrize("kind", ["ingredient", "vegetable", "medicine", "substance", "species", "topic"])
def test_one_in_five_of_a_small_pool_is_held_out(kind: str) -> None:
    rng = random.Random(7)
    train, held_out = ({kinds.draw(rng, kind, split) for _ in range(500)} for split in ("train", "held_out"))
    assert len(held_out) / len(train | held_out) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_kind_has_values_of_its_type_in_both_splits_and_shares_none(kind: str) -> None:
    rng = random.Random(1)
    train = {str(kinds.draw(rng, kind, "train")) for _ in range(60)}
    other = {str(kinds.draw(rng, kind, "held_out")) for _ in range(60)}
    assert train
    assert other
    if kinds.KINDS[kind].open:
        assert not train & other
    python = {"string": str, "integer": int, "number": (int, float)}[kinds.KINDS[kind].schema["type"]]
    assert isinstance(kinds.draw(rng, kind, "train"), python)


def test_the_sets_are_as_large_as_promised(corpus: Corpus) -> None:
    sizes = {name: len(held_out(corpus, name)) for name in OWN_SETS}
    assert sizes["known"] >= 80
    assert sizes["unseen"] >= 100
    assert sizes["quiet"] >= 50
    assert sizes["two"] >= 30
    assert sizes["general"] >= 30
    assert sum(sizes.values()) >= 300


def test_training_knows_no_held_out_tool(corpus: Corpus) -> None:
    text = corpus.agent.read_text(encoding="utf-8")
    assert not [tool.name for tool in unseen() if f'"{tool.name}"' in text or f".{tool.name}" in text]
    assert all(tool.name in {row.expected[0].name for row in held_out(corpus, "unseen")} for tool in unseen())


def test_general_questions_have_long_answers_and_are_asked_nowhere_else(corpus: Corpus) -> None:
    general, replay, agent, quiet = (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for file in (corpus.held_out("general"), corpus.replay, corpus.agent, corpus.held_out("quiet"))
    )
    asked = {row["messages"][0]["content"] for row in general}
    elsewhere = {
        message["content"]
        for row in (*replay, *agent, *quiet)
        for message in row["messages"]
        if message["role"] == "user"
    }
    assert not asked & elsewhere
    assert all(len(re.findall("[.。?]", row["messages"][1]["content"])) >= 3 for row in general)
    replayed = [message["content"] for row in replay for message in row["messages"] if message["role"] == "user"]
    assert len(set(replayed)) == len(replayed)


def test_calls_are_numbered_through_a_conversation(agent: list[dict[str, Any]]) -> None:
    for row in agent:
        called = [call["id"] for message in row["messages"] for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in row["messages"] if message["role"] == "tool"]
        assert called == [f"call_{number}" for number in range(len(called))]
        assert answered == called[: len(answered)]


def test_held_out_values_are_never_trained_on(corpus: Corpus, agent: list[dict[str, Any]]) -> None:
    closed = {str(value) for tool in every() for parameter in tool.parameters for value in _closed(parameter)}
    trained = {
        leaf
        for row in agent
        for message in answers(row)
        for call in calls(message)
        for leaf in leaves(json.loads(call["arguments"]))
    }
    asked = {
        leaf
        for name in ("known", "unseen", "two")
        for row in held_out(corpus, name)
        for call in row.expected
        for leaf in leaves(call.arguments)
    }
    assert len(asked) > 400
    assert not (asked & trained) - closed


def _closed(parameter: Parameter) -> list[Any]:
    if parameter.choices:
        return [choice.value for choice in parameter.choices]
    rng = random.Random(2)
    kind = parameter.kind or ""
    return [] if kinds.KINDS[kind].open else [kinds.draw(rng, kind, "train") for _ in range(400)]


def test_held_out_requests_stand_in_no_training_row(corpus: Corpus) -> None:
    training = sets.training_fingerprints(
        conversation for path in (corpus.agent, corpus.replay) for conversation in readers.read(path, "openai")
    )
    assert not sets.overlap_notes((row for name in OWN_SETS for row in held_out(corpus, name)), training)


def test_training_has_two_calls_silence_questions_back_results_and_chinese(agent: list[dict[str, Any]]) -> None:
    share = 1 / len(agent)
    firsts = [next(answers(row)) for row in agent]
    two = sum(len(calls(first)) == 2 for first in firsts) * share
    quiet = sum(not calls(first) for first in firsts) * share
    back = sum(str(first["content"]).startswith("Please tell me") for first in firsts) * share
    told = sum(any(message["role"] == "tool" for message in row["messages"]) for row in agent) * share
    chinese = sum(any("一" <= c <= "鿿" for c in row["messages"][0]["content"]) for row in agent) * share
    assert 0.1 <= two <= 0.2
    assert 0.2 <= quiet <= 0.4
    assert 0.03 <= back <= 0.15
    gaps = [
        re.search(r"The [a-z0-9 ]+ (is|are) ", row["messages"][0]["content"])
        for row, first in zip(agent, firsts, strict=True)
        if str(first["content"]).startswith("Please tell me")
    ]
    assert 0.2 <= sum(map(bool, gaps)) / len(gaps) <= 0.7
    assert told >= 0.1
    assert 0.07 <= chinese <= 0.14


@pytest.mark.parametrize("name", ["agent", "replay"])
def test_our_reader_takes_every_training_row(corpus: Corpus, name: str) -> None:
    for judged in readers.judge(getattr(corpus, name), "openai"):
        assert not judged.found


def test_the_dialect_holds_every_call(agent: list[dict[str, Any]]) -> None:
    hermes = dialects.load("hermes")
    for row in agent[:200]:
        rendered = hermes.render(row["messages"], row["tools"])
        written = [message["content"] for message in rendered.messages if message["role"] == "assistant"]
        for text, message in zip(written, answers(row), strict=True):
            read = [call for call in hermes.parse(text, row["tools"]).calls if isinstance(call, dialects.ToolCall)]
            assert [(call.name, json.loads(call.arguments)) for call in read] == [
                (call["name"], json.loads(call["arguments"])) for call in calls(message)
            ]


@pytest.mark.parametrize("name", ["known", "unseen", "two"])
def test_expected_calls_fit_their_schema(corpus: Corpus, name: str) -> None:
    for row in held_out(corpus, name):
        assert len(row.expected) == (2 if name == "two" else 1)
        assert all(fits_schema(row.tools, call) for call in row.expected)


def test_training_calls_fit_their_schema(agent: list[dict[str, Any]]) -> None:
    for row in agent:
        for message in answers(row):
            for call in calls(message):
                assert fits_schema(row["tools"], Call(call["name"], json.loads(call["arguments"])))


def test_the_corpus_is_the_same_for_the_same_seed_and_another_for_another(tmp_path: Path) -> None:
    sizes = Sizes(agent=30, replay=5, known=10, unseen=10, quiet=8, two=5)
    one, two, three = (
        write_corpus(tmp_path / name, seed=seed, sizes=sizes) for name, seed in (("one", 1), ("two", 1), ("three", 2))
    )
    for name in ("agent", "replay", "known", "unseen", "quiet", "two"):
        first = (one.folder / f"{name}.jsonl").read_bytes()
        assert first == (two.folder / f"{name}.jsonl").read_bytes()
        assert first != (three.folder / f"{name}.jsonl").read_bytes()


needs_bfcl = pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")


@needs_bfcl
def test_bfcl_is_read_by_its_own_rule(corpus: Corpus) -> None:
    simple = held_out(corpus, "bfcl-simple")
    assert len(simple) == 50
    assert all(row.bfcl for row in simple)
    irrelevance = held_out(corpus, "bfcl-irrelevance")
    assert len(irrelevance) == 30
    assert {row.kind for row in irrelevance} == {"no_call"}


@needs_bfcl
def test_bfcls_rows_are_spread_over_its_file_and_have_their_answers(corpus: Corpus) -> None:
    file = "BFCL_v4_simple_python.json"
    asked, answered = (
        [json.loads(line)["id"] for line in (folder / file).read_text(encoding="utf-8").splitlines()]
        for folder in (corpus.folder, corpus.folder / "possible_answer")
    )
    assert asked == answered
    numbers = [int(id.rsplit("_", 1)[1]) for id in asked]
    assert numbers[0] == 0
    assert numbers[-1] > 380
    steps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    assert max(steps) - min(steps) <= 1


@needs_bfcl
def test_no_trained_tool_has_the_name_of_one_of_bfcls(agent: list[dict[str, Any]]) -> None:
    package = find_spec("bfcl_eval")
    assert package
    assert package.origin
    theirs = {
        plain_name(function["name"])
        for set_name in ("simple_python", "irrelevance")
        for line in (Path(package.origin).parent / "data" / f"BFCL_v4_{set_name}.json").read_text().splitlines()
        for function in json.loads(line)["function"]
    }
    assert len(theirs) > 400
    ours = {tool.name for tool in known()} | {tool["function"]["name"] for row in agent for tool in row["tools"]}
    assert not theirs & {plain_name(name) for name in ours}


def plain_name(name: str) -> str:
    return name.rsplit(".", 1)[-1].replace("_", "").lower()


@pytest.mark.parametrize(("steps", "epochs"), [(None, 1), (7, 2)])
def test_the_document_names_every_file_of_the_corpus(corpus: Corpus, steps: int | None, epochs: int) -> None:
    file = write_document(corpus.folder / "finetune.yaml", corpus, base="/models/small", steps=steps)
    document = spec.load(file).spec
    assert (document.train.steps, document.train.epochs) == (steps, epochs)
    assert document.base.model == "/models/small"
    assert [source.path for source in document.data.sources] == [str(corpus.agent), str(corpus.replay)]
    assert document.evaluate is not None
    assert {each.name: each.path for each in document.evaluate.sets} == {
        name: str(path) for name, path in corpus.sets.items()
    }
    assert set(OWN_SETS) <= corpus.sets.keys()
