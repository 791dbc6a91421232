"""The demo's promises: held-out values and tools are never trained on, and the base has seen no tool call."""

import itertools
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from callwright import dialects
from callwright.datasets import readers
from callwright.demo import base_text
from callwright.demo.corpus import Corpus, Sizes, write_corpus
from callwright.demo.tools import SEEN, UNSEEN
from callwright.demo.values import split_of

CLOSED_KINDS = {"currency", "language"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    sizes = Sizes(conversations=200, replay=50)
    return write_corpus(tmp_path_factory.mktemp("corpus"), sizes=sizes)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_at_least_thirty_tools_with_varied_wordings() -> None:
    assert len(SEEN) >= 30
    assert all(len(set(tool.requests)) >= 5 for tool in SEEN)
    assert not {tool.name for tool in SEEN} & {tool.name for tool in UNSEEN}


def test_a_fifth_of_the_held_out_requests_use_unseen_tools() -> None:
    sizes = Sizes()
    assert sizes.seen >= 200
    assert sizes.unseen / (sizes.seen + sizes.wordings + sizes.unseen) == pytest.approx(0.2)


def test_held_out_requests_use_values_that_no_training_row_holds(corpus: Corpus) -> None:
    kinds = {(tool.name, p.name): p.kind for tool in SEEN + UNSEEN for p in tool.parameters}
    held_out = [row["expected"][0] for name in ("seen", "wordings", "unseen") for row in rows(corpus.held_out(name))]
    for call in held_out:
        for name, value in call["arguments"].items():
            assert kinds[call["name"], name] in CLOSED_KINDS or split_of(value) == "held_out"
    trained = [
        json.loads(call["function"]["arguments"])
        for conversation in readers.read(corpus.agent, "ms_agent")
        for message in conversation.messages
        for call in message.get("tool_calls", ())
    ]
    assert len(trained) > 400
    open_values = {
        str(value)
        for call in held_out
        for name, value in call["arguments"].items()
        if kinds[call["name"], name] not in CLOSED_KINDS
    }
    assert not open_values & {str(value) for arguments in trained for value in arguments.values()}


def test_training_rows_offer_no_unseen_tool_and_no_held_out_wording(corpus: Corpus) -> None:
    text = corpus.agent.read_text(encoding="utf-8")
    assert not any(tool.name in text for tool in UNSEEN)
    asked = " ".join(
        message["content"]
        for conversation in readers.read(corpus.agent, "ms_agent")
        for message in conversation.messages
        if message["role"] == "user"
    )
    assert "Is it cold in" in asked
    assert "What weather do they have in" not in asked


def test_the_corpus_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    sizes = Sizes(conversations=20, replay=5, seen=5, wordings=5, unseen=5, general=5)
    one, two = write_corpus(tmp_path / "one", sizes=sizes), write_corpus(tmp_path / "two", sizes=sizes)
    for name in ("agent", "replay", "seen", "unseen"):
        assert (one.folder / f"{name}.jsonl").read_bytes() == (two.folder / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("course", get_args(base_text.Text))
def test_the_base_has_never_seen_a_tool_call(course: base_text.Text) -> None:
    react = dialects.load("react_en")
    for chat in itertools.islice(base_text.chats(1, course), 2000):
        for role, text in chat:
            assert "following APIs" not in text
            assert "Action Input:" not in text
            assert "<tool_call>" not in text
            if role == "assistant":
                assert not [call for call in react.parse(text, None).calls if isinstance(call, dialects.ToolCall)]
