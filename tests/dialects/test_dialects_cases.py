"""The table of written cases, whole and in pieces, in every dialect that each is written for."""

import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import every_case
import pytest
from dialect_cases import CASES, Bad, Case
from laws import check_split

from callwright import dialects
from callwright.dialects import MalformedCall, StreamParser, ToolCall
from callwright.dialects.react import ReactDialect
from callwright.dialects.react_thoughts import MarkedThoughts


def test_table_is_large_and_covers_every_dialect() -> None:
    assert len(CASES) >= 150
    assert len({(case.trouble, case.text) for case in CASES}) == len(CASES)
    assert {name for case in CASES for name in case.dialects} == set(dialects.TEXT_NAMES)


def test_every_native_dialect_has_cases() -> None:
    known = {name for case in every_case.CASES for name in case.dialects}
    assert known == set(dialects.NAMES)
    for name in set(dialects.NATIVE_NAMES) - {"hermes", "mistral_v11"}:  # with their own, and read as another's
        assert sum(name in case.dialects for case in every_case.CASES) >= 40, name


@pytest.mark.parametrize("case", every_case.CASES, ids=[case.trouble for case in every_case.CASES])
def test_case(case: Case) -> None:
    for name in case.dialects:
        dialect = dialects.load(name)
        turn = dialect.parse(case.text, case.tools, cut=case.cut)

        assert turn.content == case.content, name
        assert turn.thought == case.thought, name
        assert [_seen(call) for call in turn.calls] == [_wanted(call) for call in case.calls], name
        for call, wanted in zip(turn.calls, case.calls, strict=True):
            if isinstance(wanted, Bad):
                assert wanted.reason in call.reason, name
        assert "".join(segment.text for segment in dialect.segment(case.text, case.tools)) == case.text
        for length in (1, 3):
            pieces = [case.text[i : i + length] for i in range(0, len(case.text), length)]
            for eager in (False, True):
                check_split(dialect, pieces, case.tools, eager=eager, cut=case.cut)


THOUGHTFUL = ("react_en", "react_zh", "toolbench", "ms_agent")
READINGS = [MarkedThoughts("Thought:", named=named, one_line=line) for named in (0, 1) for line in (0, 1)]


@dataclass
class Thoughtful:
    """A dialect whose marked thoughts are read as reasoning."""

    name: str
    thoughts: MarkedThoughts

    def parser(self, tools: Any, eager: bool = False, opened: bool = False) -> StreamParser:
        dialect = dialects.load(self.name)
        assert isinstance(dialect, ReactDialect)
        return dialect.thoughtful_parser(tools, eager, opened, self.thoughts)


@pytest.mark.parametrize("case", CASES, ids=[case.trouble for case in CASES])
def test_thoughts_as_reasoning_leave_the_calls_and_every_word(case: Case) -> None:
    for name in set(case.dialects).intersection(THOUGHTFUL):
        plain = dialects.load(name).parse(case.text, case.tools, cut=case.cut)
        for thoughts in READINGS:
            dialect: Any = Thoughtful(name, thoughts)
            pieces = [[case.text], list(case.text), [case.text[n : n + 3] for n in range(0, len(case.text), 3)]]
            turns = [check_split(dialect, each, case.tools, cut=case.cut) for each in pieces]
            assert turns[0].calls == plain.calls, (name, thoughts)
            said = " ".join(filter(None, (turns[0].thought, turns[0].content))).split()
            assert not Counter((plain.content or "").split()) - Counter(said), (name, thoughts)


@pytest.mark.parametrize("thoughts", READINGS)
def test_thoughts_as_reasoning_do_not_depend_on_the_pieces(thoughts: MarkedThoughts) -> None:
    words = (
        "Thought:", " I look.", "\n", "\n\n", " ", "```", "~~~json", "Action: get_weather", "Action:",
        "Action Input: {}",
        'Action Input: {"city": "Oslo"}', "Final Answer:", "Observation:", "Question: x", "<think>", "</think>", "**",
        "I now know the final answer", "Finish", "{", "…",
    )  # fmt: skip
    chance = random.Random(str(thoughts))
    dialect: Any = Thoughtful("react_en", thoughts)
    for _ in range(500):
        text = "".join(chance.choices(words, k=chance.randint(1, 12)))
        cuts = sorted(chance.sample(range(1, len(text) + 1), min(len(text), chance.randint(0, 6))))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        for cut in (False, True):
            turn = check_split(dialect, pieces, None, eager=chance.random() < 0.3, cut=cut)
            assert (
                cut
                or turn.content
                or turn.calls
                or not (turn.thought or "").removeprefix("Thought: ")
                or ("<think>" in text)
            )


def _seen(call: ToolCall | MalformedCall) -> tuple[str, object]:
    if isinstance(call, ToolCall):
        return call.name, json.loads(call.arguments)
    return "malformed", call.name


def _wanted(call: tuple[str, object] | Bad) -> tuple[str, object]:
    return ("malformed", call.name) if isinstance(call, Bad) else call
