"""Runs every law of the contract on every dialect, and fails when one of them was left out."""

import inspect
import pkgutil
from typing import get_args

import pytest
from contract import LAWS

from callwright import dialects
from callwright.errors import InvalidInput
from callwright.spec.model import DialectName

_ran: set[tuple[str, str]] = set()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_contract(name: str, law: str) -> None:
    LAWS[law](dialects.load(name))
    _ran.add((name, law))


def test_contract_ran_completely(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("keyword") or any("::" in argument for argument in request.config.args):
        pytest.skip("only a part of the contract was asked for")
    assert _ran == {(name, law) for name in dialects.TEXT_NAMES for law in LAWS}


def test_every_dialect_is_named_once_and_known_to_the_spec() -> None:
    assert {"native", *dialects.NAMES} == set(get_args(DialectName))
    assert [dialects.load(name).name for name in dialects.NAMES] == list(dialects.NAMES)
    written = {
        cls.name
        for module in pkgutil.iter_modules(dialects.__path__)
        for _, cls in inspect.getmembers(
            __import__(f"callwright.dialects.{module.name}", fromlist=["_"]), inspect.isclass
        )
        if hasattr(cls, "render") and isinstance(getattr(cls, "name", None), str)
    }
    assert written == set(dialects.NAMES)


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(InvalidInput, match=r"got 'react'; expected one of react_en, react_zh, toolbench, ms_agent"):
        dialects.load("react")
