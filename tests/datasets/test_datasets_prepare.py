"""The stage: every row accounted for, encoded once, the same with any number of processes, mapped by its readers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from talk import TRIP, WAITING, conversation, said, user

from callwright import dialects, machine
from callwright.datasets import arrow, processes
from callwright.datasets import prepare as stage
from callwright.datasets.conversation import Conversation
from callwright.datasets.encoding import Encoder
from callwright.datasets.prepare import Prepared, prepare
from callwright.errors import InvalidInput
from callwright.spec.model import Data, LossWeights, Source

Make = Callable[..., Prepared]


def corpus(path: Path, *rows: Conversation) -> Path:
    """A file of rows in OpenAI form."""
    path.write_text("".join(row.to_json() + "\n" for row in rows), encoding="utf-8")
    return path


def small_talk(count: int) -> list[Conversation]:
    """Short conversations, no two alike."""
    return [conversation(user(f"What is {i} + {i}?"), said(f"It is {2 * i}."), tools=()) for i in range(count)]


@pytest.fixture
def make(tmp_path: Path, base_dir: Path) -> Make:
    """Prepares files in ms_agent, below one folder."""

    def made(*files: Path, processes: int = 1, dialect: str = "ms_agent", **settings: Any) -> Prepared:
        data = Data(sources=tuple(Source(path=str(file)) for file in files), **settings)
        return prepare(data, dialect=dialect, base_dir=base_dir, folder=tmp_path / "work", processes=processes)

    return made


def found(made: Prepared) -> Any:
    """The report on disk."""
    return json.loads(made.report.read_text(encoding="utf-8"))


def test_what_is_written_is_what_encoding_gives(make: Make, tmp_path: Path, tokenizer: Any) -> None:
    rows = [TRIP, WAITING, *small_talk(20)]
    made = make(corpus(tmp_path / "a.jsonl", *rows), test_fraction=0.1)
    assert (made.train_rows, made.test_rows, made.reused) == (19, 3, False)
    expected = {
        (tuple(example.input_ids), tuple(example.weights))
        for row in rows
        for example in Encoder(dialects.load("ms_agent"), tokenizer, LossWeights()).encode(row)
    }
    train, test = (arrow.read(path).to_pylist() for path in (made.train, made.test))
    written = [*train, *test]
    assert {(tuple(row["input_ids"]), tuple(row["weights"])) for row in written} == expected
    assert len(written) == len(rows)
    assert made.train_tokens == sum(len(row["input_ids"]) for row in train)
    held = [Conversation.from_json(line) for line in made.test_conversations.read_bytes().splitlines()]
    assert len(held) == 3
    assert all(row.messages in [each.messages for each in rows] for row in held)


def test_the_same_input_is_made_once_and_any_change_anew(make: Make, tmp_path: Path, base_dir: Path) -> None:
    file = corpus(tmp_path / "a.jsonl", *small_talk(10))
    first = make(file)
    again = make(file)
    assert (again.folder, again.reused) == (first.folder, True)
    file.touch()
    assert make(file).reused
    others = [make(file, seed=7), make(file, dialect="react_en"), make(file, loss=LossWeights(action=3))]
    corpus(file, *small_talk(11))
    others.append(make(file))
    assert not any(other.reused for other in others)
    assert len({first.folder, *(other.folder for other in others)}) == 5
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "parity.json", "report.json", "test.arrow", "test.jsonl", "train.arrow",
    ]  # fmt: skip


def test_processes_change_nothing(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = corpus(tmp_path / "a.jsonl", TRIP, WAITING, *small_talk(300))
    alone = make(file)
    bytes_alone = alone.train.read_bytes(), alone.test.read_bytes(), alone.report.read_bytes()
    monkeypatch.setattr(stage, "_POOL_BYTES", 1)
    for path in alone.folder.iterdir():
        path.unlink()
    alone.folder.rmdir()
    several = make(file, processes=2)
    assert (several.folder, several.reused) == (alone.folder, False)
    assert (several.train.read_bytes(), several.test.read_bytes(), several.report.read_bytes()) == bytes_alone


def test_workers_map_the_file_and_do_not_load_it(make: Make, tmp_path: Path) -> None:
    made = make(corpus(tmp_path / "a.jsonl", *small_talk(50)))
    before = pa.total_allocated_bytes()
    table = arrow.read(made.train)
    assert table.num_rows == made.train_rows
    assert table.schema.names == ["input_ids", "weights", "id", "source"]
    assert pa.total_allocated_bytes() == before


def test_long_conversations_are_counted(make: Make, tmp_path: Path) -> None:
    file = corpus(tmp_path / "a.jsonl", TRIP, *small_talk(9))
    limit = 450
    dropped = found(make(file, max_length=limit, test_fraction=0))
    assert dropped["encoding"] == {"whole": 9, "too_long": 1}
    assert dropped["examples"]["too_long"] == [f"{file}:1: got more tokens than data.maxLength; left out"]
    whole = make(file, test_fraction=0).train_tokens - dropped["train"]["tokens"]
    cut = found(make(file, max_length=whole - 1, too_long="cut", test_fraction=0))
    assert cut["encoding"] == {"cut": 1, "whole": 9}
    with pytest.raises(InvalidInput, match=r"a\.jsonl:1: got \d+ tokens; expected at most data\.maxLength = 450"):
        make(file, max_length=limit, too_long="fail", test_fraction=0)
    with pytest.raises(InvalidInput, match=r"got no row to train on; expected at least one; .*raise data\.maxLength"):
        make(file, max_length=16)


def test_a_failure_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    file = corpus(tmp_path / "a.jsonl", TRIP)
    with pytest.raises(InvalidInput, match="got no row to train on"):
        make(file, max_length=16)
    assert not any((tmp_path / "work").iterdir())


def test_every_row_is_accounted_for(make: Make, tmp_path: Path) -> None:
    file = corpus(tmp_path / "a.jsonl", *small_talk(8), conversation(user(""), said("x")), small_talk(1)[0])
    with file.open("a") as lines:
        lines.write("{broken\n")
    report = found(make(file, test_fraction=0.2))
    assert report["sources"] == {str(file): {"read": 11, "kept": 8, "dropped": 3}}
    assert report["findings"] == {"empty_turn": 1, "duplicate": 1, "unreadable": 1}
    assert [example.split(": ")[0] for kind in report["examples"].values() for example in kind] == [
        f"{file}:{line}" for line in (9, 10, 11)
    ]
    assert report["train"]["rows"] + report["test"]["rows"] == 8
    with pytest.raises(InvalidInput, match=r"a\.jsonl: line 9: message 1: got an empty user turn"):
        make(file, strict="fail")
    kept = found(make(file, strict="keep", test_fraction=0))
    assert kept["sources"][str(file)] == {"read": 11, "kept": 10, "dropped": 1}


def test_a_row_without_a_weighted_token_is_left_out_and_counted(make: Make, tmp_path: Path) -> None:
    silent = conversation(user("A?"), said("One."), user("B?"), {**said("Two."), "weight": 0}, tools=())
    loss = LossWeights(preset="last_turn")
    made = make(corpus(tmp_path / "a.jsonl", silent, *small_talk(3)), test_fraction=0, loss=loss)
    assert made.train_rows == 3
    assert found(made)["encoding"] == {"without_loss": 1, "whole": 3}
    assert found(made)["findings"] == {"no_loss": 1}
    assert found(made)["remarks"] == {"turn_without_loss": 1}


@pytest.mark.parametrize(
    ("cpus", "memory", "expected"), [(1, 64, 1), (4, 64, 4), (192, 8, 30), (192, 4, 14), (2, 0.25, 1)]
)
def test_as_many_processes_as_there_are_cpus_and_memory_for(
    monkeypatch: pytest.MonkeyPatch, cpus: int, memory: float, expected: int
) -> None:
    """192 CPUs of a node are not 192 processes in a pod of 8 GiB."""
    monkeypatch.setattr(machine, "cpus", lambda: cpus)
    monkeypatch.setattr(machine, "memory_bytes", lambda: int(memory * 2**30))
    assert processes.default_count() == expected
