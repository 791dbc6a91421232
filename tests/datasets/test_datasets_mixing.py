"""Mixing: amounts as asked, the same under the same seed, and no test row, nor one like it, in training."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import said, user

from callwright.datasets import Report, cognition
from callwright.datasets.conversation import fingerprint
from callwright.datasets.mixing import Split, mix
from callwright.errors import InvalidInput
from callwright.spec.model import Data, SelfCognition, Source


def corpus(path: Path, questions: list[str]) -> str:
    """A corpus of one-turn conversations; the answer numbers the row."""
    rows = [
        {"id": f"{path.stem}-{i}", "conversations": [{"from": "user", "value": q}, {"from": "gpt", "value": f"A{i}"}]}
        for i, q in enumerate(questions)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run(folder: Path, *sources: Source, report: Report | None = None, **settings: Any) -> Split:
    """The split of those sources."""
    return mix(Data(sources=sources, **settings), folder / "work", report=report)


def ids(split: Split) -> tuple[list[str], list[str]]:
    """Ids of the training and the test rows, in order."""
    return [row.id for row in split.train], [row.id for row in split.test]


def test_the_recipes_proportions(tmp_path: Path) -> None:
    agent = corpus(tmp_path / "agent.jsonl", [f"Call tool {i}" for i in range(300)])
    bench = corpus(tmp_path / "bench.jsonl", [f"Tell me about {i}" for i in range(900)])
    report = Report()
    about = SelfCognition(name="卡卡罗特", author="陶白白", count=400)
    split = run(tmp_path, Source(path=agent), Source(path=bench, ratio=2.0), self_cognition=about, report=report)
    assert len(split.train) + len(split.test) == 300 + 600 + 400
    mixed = report.mixing
    assert [mixed[name].test for name in (agent, bench, cognition.SOURCE)] == [3, 6, 2]
    assert mixed[agent].train == 297
    assert mixed[bench] == (900, 594, 0, 6, 0)
    assert mixed[cognition.SOURCE].train == 398
    assert mixed[cognition.SOURCE].repeated > 200
    counts = Counter(row.source for row in split.train)
    assert counts == {agent: 297, bench: 594, cognition.SOURCE: 398}
    chosen = sorted(int(row.id.rpartition("-")[2]) for row in split.train if row.source == bench)
    assert chosen[-1] > 850  # a sample of all rows, not the first 600
    order = [row.source for row in split.train]
    assert len(set(order[:30])) > 1
    said_of_it = [row.messages for row in split.train if row.source == cognition.SOURCE]
    assert all("卡卡罗特" in answer["content"] or "陶白白" in answer["content"] for _, answer in said_of_it)
    assert {question["content"].isascii() for question, _ in said_of_it} == {True, False}


def test_the_seed_decides(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", [f"Question {i}" for i in range(200)])
    first = ids(run(tmp_path, Source(path=path, count=100), seed=1))
    assert ids(run(tmp_path, Source(path=path, count=100), seed=1)) == first
    assert ids(run(tmp_path, Source(path=path, count=100), seed=2)) != first
    assert first[0] != sorted(first[0])
    (tmp_path / "elsewhere").mkdir()
    moved = corpus(tmp_path / "elsewhere" / "a.jsonl", [f"Question {i}" for i in range(200)])
    assert ids(run(tmp_path, Source(path=moved, count=100), seed=1)) == first


def test_a_further_source_does_not_move_the_rows_of_the_others(tmp_path: Path) -> None:
    first = corpus(tmp_path / "a.jsonl", [f"Question {i}" for i in range(200)])
    second = corpus(tmp_path / "b.jsonl", [f"Another {i}" for i in range(200)])
    alone = run(tmp_path, Source(path=first, count=50))
    both = run(tmp_path, Source(path=first, count=50), Source(path=second))
    assert sorted(ids(alone)[0]) == sorted(row.id for row in both.train if row.source == first)


def test_repetition_spreads_evenly_and_never_over_test_rows(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", [f"Question {i}" for i in range(10)])
    train, test = ids(run(tmp_path, Source(path=path, count=25)))
    assert len(test) == 1
    assert len(train) == 24
    counts = Counter(train)
    assert set(counts.values()) == {2, 3}
    assert test[0] not in counts


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    questions = [f"Question {i}" for i in range(50)]
    variants = [f"  question {i}?!" for i in range(50)]
    first = corpus(tmp_path / "a.jsonl", questions)
    second = corpus(tmp_path / "b.jsonl", variants)
    report = Report()
    split = run(tmp_path, Source(path=first), Source(path=second), test_fraction=0.2, report=report)
    train, test = (
        {re.sub(r"\D", "", row.messages[0]["content"]) for row in side} for side in (split.train, split.test)
    )
    assert not train & test
    mixed = report.mixing
    assert mixed[first].test == 10
    assert mixed[first].near_test + mixed[second].near_test == len(split.test)
    for name in (first, second):
        assert mixed[name].train + mixed[name].test + mixed[name].near_test == 50


def test_one_wording_repeated_does_not_fill_the_test_split(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", ["Hello"] * 90 + [f"Question {i}" for i in range(10)])
    split = run(tmp_path, Source(path=path), test_fraction=0.05)
    assert len(split.test) == 5
    assert all(row.messages[0]["content"] != "Hello" for row in split.test)


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.sampled_from(["a", "A!", "b", "b ", "c", "d", "e", "f"]), min_size=1, max_size=30),
    more=st.lists(st.sampled_from(["a", "x", "y", "é"]), min_size=1, max_size=10),
    fraction=st.floats(0, 0.9),
    count=st.one_of(st.none(), st.integers(1, 60)),
    seed=st.integers(0, 5),
)
def test_law_train_and_test_share_nothing_and_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    words: list[str],
    more: list[str],
    fraction: float,
    count: int | None,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    report = Report()
    sources = (
        Source(path=corpus(folder / "a.jsonl", words), count=count),
        Source(path=corpus(folder / "b.jsonl", more)),
    )
    split = run(folder, *sources, test_fraction=fraction, seed=seed, report=report)
    train, test = ({fingerprint(row.messages) for row in side} for side in (split.train, split.test))
    assert not train & test
    assert len(set(ids(split)[1])) == len(split.test) == len(test)
    for source, rows in zip(sources, (words, more), strict=True):
        mixed = report.mixing[source.path]
        wanted = source.count or len(rows)
        assert mixed.train <= wanted
        if wanted <= len(rows):
            assert mixed.train + mixed.test + mixed.near_test == wanted
        elif mixed.train:
            assert mixed.train + mixed.test == wanted


def test_fingerprints_see_what_users_say_in_any_script() -> None:
    same = ["Hello, World", "hello world", "ＨＥＬＬＯ　ｗｏｒｌｄ!", "hello\nworld"]
    assert len({fingerprint((user(text), said("x"))) for text in same}) == 1
    other = ["你好", "您好", "?", "!", "", "5 days", "6 days"]
    assert len({fingerprint((user(text), said("x"))) for text in other}) == len(other)


def test_an_empty_or_useless_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InvalidInput, match=r"got no usable row in .*empty\.jsonl; .*the file is empty"):
        run(tmp_path, Source(path=str(tmp_path / "empty.jsonl")))
    (tmp_path / "bad.jsonl").write_text("nonsense\n")
    with pytest.raises(InvalidInput, match=r"the first faults: .*bad\.jsonl:1: not JSON"):
        run(tmp_path, Source(path=str(tmp_path / "bad.jsonl")))
