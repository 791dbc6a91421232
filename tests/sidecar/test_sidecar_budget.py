"""What requests hold together is bounded, and given back."""

import pytest

from callwright.errors import InvalidInput
from callwright.sidecar.budget import Budget, Held
from callwright.sidecar.config import check
from callwright.sidecar.errors import Overloaded


def test_who_finds_no_room_gives_back_what_it_held_at_once() -> None:
    budget = Budget(100)
    one, other = Held(budget), Held(budget)
    one.keep(60)
    other.keep(40)
    with pytest.raises(Overloaded, match="100 bytes"):
        other.add(1)
    assert budget.held == 60
    one.add(40)
    one.keep(10)
    assert budget.held == 10
    one.close()
    assert budget.held == 0


def test_the_largest_body_must_fit() -> None:
    with pytest.raises(InvalidInput) as refused:
        check({"max_body_bytes": 64 * 1024**2})
    assert "max_held_bytes: got 134217728; expected 268435456 or more" in "\n".join(refused.value.problems)
