"""The controller's Prometheus metrics: its reconciliations, their time and failures, and the documents by phase.

A registry of its own for each controller, so that tests don't meet.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from callwright.controller.work_queue import Key

_FAILURES = ("Failed", "Rejected")


class Metrics:
    """Counters of one controller."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._phases: dict[Key, str] = {}
        labels, error = ("namespace", "phase"), ("error",)
        self._finetunes = Gauge(
            "callwright_finetunes", "FineTunes by namespace and phase.", labels, registry=self.registry
        )
        self._ended = Counter(
            "callwright_failed_runs", "Runs that have failed or were rejected, by namespace and phase.", labels,
            registry=self.registry,
        )  # fmt: skip
        self._waiting = Gauge(
            "callwright_held_up_finetunes", "1 for each FineTune that waits for somebody.", ("namespace", "name"),
            registry=self.registry,
        )  # fmt: skip
        self._counted: dict[Key, tuple[str | None, float]] = {}
        self._gpu_hours = Counter(
            "callwright_gpu_hours", "GPU-hours that pods of runs have held, by namespace and model.",
            ("namespace", "model"), registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "callwright_look_seconds", "Time of one look at one FineTune.", registry=self.registry
        )
        self._failures = Counter(
            "callwright_failed_looks",
            "Looks and watches that have failed and will be made again, by the error.",
            error,
            registry=self.registry,
        )

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time a reconciliation."""
        with self._seconds.time():
            yield

    def count_failed(self, error: Exception) -> None:
        """A look or a watch has failed of `error`."""
        self._failures.labels(type(error).__name__).inc()

    def see(self, key: Key, phase: str | None, *, held_up: bool = False) -> None:
        """The document at `key` is in `phase`, None when it is gone, and waits for somebody or does not."""
        if held_up:
            self._waiting.labels(*key).set(1)
        else:
            self._waiting.remove(*key)
        for failure in _FAILURES:
            self._ended.labels(key[0], failure)  # there before the first, so that a rise is seen
        before = self._phases.pop(key, None)
        if before and before != phase and phase in _FAILURES:
            self._ended.labels(key[0], phase).inc()
        if before:
            self._finetunes.labels(key[0], before).dec()
        if phase:
            self._phases[key] = phase
            self._finetunes.labels(key[0], phase).inc()

    def see_gpus(self, key: Key, model: str, run: str | None, hours: float, *, there: bool) -> None:
        """The run of the document at `key` has held its GPUs for so many hours; what was so at the first sight counts
        for another process.
        """
        counter = self._gpu_hours.labels(key[0], model)
        if key in self._counted:
            before_run, before = self._counted[key]
            counter.inc(max(0.0, hours - (before if before_run == run else 0.0)))
        if there:
            self._counted[key] = run, hours
        else:
            self._counted.pop(key, None)
