"""No request and no answer holds the others up: what is long is computed beside the event loop, or in slices."""

from collections.abc import Callable

import pytest
from stalls import measure

Figure = Callable[[str, object, object], None]
MOST_LINES = 200_000
"""Lines of Python in one step of the loop; `bench/stalls.py` says how long that takes."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_request_and_no_answer_holds_the_others_up(figure: Figure) -> None:
    steps = measure("lines")
    worst = sorted(steps, key=lambda name: -steps[name])
    for name in worst[:5]:
        figure(f"step of the event loop by {name}, lines of Python", round(steps[name]), f"at most {MOST_LINES}")
    assert steps[worst[0]] <= MOST_LINES, worst[0]
