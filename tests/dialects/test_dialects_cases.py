"""The table of written cases, whole and in pieces, in every dialect that each is written for."""

import json

import every_case
import pytest
from dialect_cases import CASES, Bad, Case
from laws import check_split

from callwright import dialects
from callwright.dialects import MalformedCall, ToolCall

MISTRAL = ("mistral", "mistral_v11", "mistral_v3")
PYTHONIC = ("pythonic", "lfm2", "olmo3")


def test_table_is_large_and_covers_every_dialect() -> None:
    assert len(CASES) >= 150
    assert len({(case.trouble, case.text) for case in CASES}) == len(CASES)
    assert {name for case in CASES for name in case.dialects} == set(dialects.TEXT_NAMES)


def test_every_native_dialect_has_cases() -> None:
    known = {name for case in every_case.CASES for name in case.dialects}
    assert known == set(dialects.NAMES)
    for formats in (("qwen_xml",), ("gemma",), ("functiongemma",), ("llama_json",), MISTRAL, PYTHONIC):
        assert sum(not set(formats).isdisjoint(case.dialects) for case in every_case.CASES) >= 40, formats


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


def _seen(call: ToolCall | MalformedCall) -> tuple[str, object]:
    if isinstance(call, ToolCall):
        return call.name, json.loads(call.arguments)
    return "malformed", call.name


def _wanted(call: tuple[str, object] | Bad) -> tuple[str, object]:
    return ("malformed", call.name) if isinstance(call, Bad) else call
