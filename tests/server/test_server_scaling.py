"""How many replicas are wanted by the time that first tokens take, and what an engine's statistics say of that."""

from typing import Any

import pytest
from ray.serve.config import AutoscalingConfig, AutoscalingContext
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from callwright.server import first_tokens
from callwright.server.first_tokens import FirstTokens
from callwright.server.scaling import FIRST_TOKEN_SECONDS, FirstTokenPolicy


def context(running: int, requests: float, told: list[float] | None) -> AutoscalingContext:
    metrics = None if told is None else {FIRST_TOKEN_SECONDS: {str(n): each for n, each in enumerate(told)}}
    nothing: dict[str, Any] = dict.fromkeys(
        ("deployment_id", "deployment_name", "app_name", "last_scale_up_time", "last_scale_down_time", "current_time")
    )
    return AutoscalingContext(
        **nothing, current_num_replicas=running, target_num_replicas=running, running_replicas=[],
        total_num_requests=requests, total_queued_requests=0, aggregated_metrics=metrics, raw_metrics=None,  # type: ignore[arg-type]
        capacity_adjusted_min_replicas=1, capacity_adjusted_max_replicas=9, policy_state={},
        config=AutoscalingConfig(target_ongoing_requests=10, max_replicas=9),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("running", "requests", "told", "wanted"),
    [
        (2, 20, None, 2),  # an engine without statistics
        (2, 20, [0.1, 0.1], 2),
        (2, 10, [0.1, 0.1], 1),
        (2, 10, [1.5, 1.5], 2),  # one alone would be too slow
        (2, 10, [3.0, 3.0], 3),
        (2, 10, [90.0, 90.0], 4),  # those that start first have to help
        (2, 60, [3.0, 3.0], 6),
        (4, 40, [9.0, 0.1, 0.1, 0.1], 5),
        (0, 1, [], 1),
    ],
)
def test_replicas_wanted(running: int, requests: float, told: list[float] | None, wanted: float) -> None:
    found, _ = FirstTokenPolicy(target_seconds=2.0)(context(running, requests, told))
    assert found == pytest.approx(wanted, rel=0.17)


class Engine:
    """An engine's statistics, at times of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(first_tokens.time, "monotonic", lambda: self.now)
        self.told = FirstTokens()

    def step(self, *taken: float, waiting: int = 0, after: float = 1.0) -> float:
        self.now += after
        iteration = IterationStats()
        iteration.time_to_first_tokens_iter = [*taken]
        self.told.record(SchedulerStats(num_waiting_reqs=waiting), iteration)
        return self.told.seconds()


def test_nine_of_ten_first_tokens_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch)
    assert engine.told.seconds() == 0
    assert engine.step(*([0.2] * 18), 5.0, 5.0) == 0.2
    assert engine.step(5.0) == 5.0
    assert engine.step(0.1, after=31) == 0.1
    assert engine.step(after=31) == 0


def test_a_queue_that_stands_is_told_before_a_token_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch)
    assert engine.step(0.2, waiting=3) == 0.2
    assert engine.step(waiting=3, after=20) == 20
    engine.now += 5
    assert engine.told.seconds() == 25
    assert engine.step(25.0, waiting=2) == 25
    assert engine.step(waiting=2, after=31) == 31
    assert engine.step() == 0


def test_a_queue_that_moves_is_as_slow_as_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch)
    assert [engine.step(0.3, waiting=1) for _ in range(40)] == [0.3] * 40
