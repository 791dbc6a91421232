"""The table of written cases, whole and in pieces, in every dialect that each is written for."""

import json

import llama_cases
import mistral_cases
import pytest
import pythonic_cases
import qwen_xml_cases
from dialect_cases import CASES, Bad, Case
from laws import check_split

from callwright import dialects
from callwright.dialects import MalformedCall, ToolCall


def test_table_is_large_and_covers_every_dialect() -> None:
    assert len(CASES) >= 150
    assert len({(case.trouble, case.text) for case in CASES}) == len(CASES)
    assert {name for case in CASES for name in case.dialects} == set(dialects.TEXT_NAMES)


ALL_CASES = [*CASES, *qwen_xml_cases.CASES, *llama_cases.CASES, *mistral_cases.CASES, *pythonic_cases.CASES]


@pytest.mark.parametrize("case", ALL_CASES, ids=[case.trouble for case in ALL_CASES])
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


def _seen(call: ToolCall | MalformedCall) -> tuple[str, object]:
    if isinstance(call, ToolCall):
        return call.name, json.loads(call.arguments)
    return "malformed", call.name


def _wanted(call: tuple[str, object] | Bad) -> tuple[str, object]:
    return ("malformed", call.name) if isinstance(call, Bad) else call
