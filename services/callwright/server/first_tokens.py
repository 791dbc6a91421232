"""`FirstTokens`: how long the first tokens of an engine's answers take of late, by vLLM's own statistics."""

import math
import time
from collections import deque
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

_WINDOW_SECONDS = 30.0
_SHARE = 0.9


class FirstTokens(StatLoggerBase):  # type: ignore[misc]  # vLLM's types are not read
    """One of vLLM's loggers of statistics. It makes itself: an instance is its own factory."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, float]] = deque()
        self._waiting_since: float | None = None

    def __call__(self, vllm_config: object, engine_index: int = 0) -> "FirstTokens":
        """Return itself, for vLLM, which asks for a logger for each engine."""
        return self

    def record(
        self, scheduler_stats: SchedulerStats | None, iteration_stats: IterationStats | None, *rest: Any, **more: Any
    ) -> None:
        """Take a step's statistics."""
        now = time.monotonic()
        first = iteration_stats.time_to_first_tokens_iter if iteration_stats is not None else ()
        self._taken.extend((now, seconds) for seconds in first)
        if scheduler_stats is not None:
            waits = scheduler_stats.num_waiting_reqs > 0
            if not waits:
                self._waiting_since = None
            elif first or self._waiting_since is None:
                self._waiting_since = now

    def log_engine_initialized(self) -> None:
        """Do nothing."""

    def seconds(self) -> float:
        """Return the time within which nine of ten first tokens of the last half minute came, or, where that is longer,
        for which requests have waited while none came; 0 where nobody asks.
        """
        now = time.monotonic()
        while self._taken and now - self._taken[0][0] > _WINDOW_SECONDS:
            self._taken.popleft()
        taken = sorted(seconds for _, seconds in self._taken)
        waited = 0.0 if self._waiting_since is None else now - self._waiting_since
        return max(waited, taken[math.ceil(_SHARE * len(taken)) - 1] if taken else 0.0)
