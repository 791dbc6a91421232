"""How often workers wait for each other to hear of a node that will be taken away."""

from types import SimpleNamespace

import pytest

from callwright.trainer import worker


@pytest.mark.parametrize(("step_seconds", "expected"), [(0.5, [1, 11, 21, 31]), (7.0, list(range(1, 41)))])
def test_workers_ask_about_as_often_as_ray_looks(
    monkeypatch: pytest.MonkeyPatch, step_seconds: float, expected: list[int]
) -> None:
    step, asked = 0, list[int]()
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: step * step_seconds))
    monkeypatch.setattr(worker.ray_train, "get_preemption_info", lambda: asked.append(step))
    monkeypatch.setattr(worker, "broadcast_from_rank_zero", lambda value: value)
    notices = worker._PreemptionNotices()
    for step in range(1, 41):
        assert notices() is False, step
    assert asked == expected
