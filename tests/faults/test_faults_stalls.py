"""No request and no answer holds the others up: the event loop has its turn, whatever is read and written."""

from collections.abc import Callable

import pytest
from stalls import measure

Figure = Callable[[str, object, object], None]
PROMISED = 0.05
"""Seconds of CPU between two turns of the loop."""
BOUND = 3 * PROMISED
"""For slower machines than the promise's."""


@pytest.mark.timeout(300)
def test_no_request_and_no_answer_holds_the_others_up(figure: Figure) -> None:
    stalls = measure()
    worst = sorted(stalls, key=lambda name: -stalls[name])
    for name in worst[:5]:
        figure(f"stall by {name}, ms", round(stalls[name] * 1000), f"at most {round(PROMISED * 1000)}")
    assert stalls[worst[0]] < BOUND, worst[0]
