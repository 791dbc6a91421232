"""The controller's Prometheus metrics: its reconciliations, their time and failures, and the documents by phase.

A registry of its own for each controller, so that tests don't meet. Knows nothing of kopf.
"""

from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Key = tuple[str, str]


class Metrics:
    """Counters of one controller."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._phases = _Phases()
        self.registry.register(self._phases)
        self._seconds = Histogram(
            "callwright_look_seconds", "Time of one look at one FineTune.", registry=self.registry
        )
        self._failures = Counter(
            "callwright_failed_looks",
            "Looks that will be made again soon, by the error.",
            ("error",),
            registry=self.registry,
        )

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time a reconciliation, and count it when it raises."""
        with self._seconds.time():
            try:
                yield
            except BaseException as error:
                self._failures.labels(type(error).__name__).inc()
                raise

    def see(self, key: Key, phase: str | None) -> None:
        """The document at `key` is in `phase`; None when it is gone."""
        if phase is None:
            self._phases.of.pop(key, None)
        else:
            self._phases.of[key] = phase


class _Phases(Collector):
    """How many documents are in each phase, at the time of the scrape."""

    def __init__(self) -> None:
        self.of: dict[Key, str] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "callwright_finetunes", "FineTunes by namespace and phase.", labels=("namespace", "phase")
        )
        counts = Tally((namespace, phase) for (namespace, _), phase in list(self.of.items()))
        for labels, count in counts.items():
            family.add_metric(labels, count)
        yield family
