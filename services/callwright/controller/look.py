"""`World` and `Look`: what one look at a document looks at, and the steps that every part of it takes.

Knows nothing of stages, and nothing of kopf.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from callwright.controller import transitions
from callwright.controller.cluster import Cluster
from callwright.controller.config import ControllerConfig
from callwright.controller.desired import Run
from callwright.controller.reports import RunReports
from callwright.spec import FineTune
from callwright.spec.status import ConditionType, Phase, Status

Object = dict[str, Any]


@dataclass(frozen=True)
class World:
    """What a look looks at."""

    cluster: Cluster
    config: ControllerConfig
    open_reports: Callable[[str], RunReports]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def timestamp(self) -> str:
        """The time as Kubernetes writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Look:
    """One look at one run."""

    world: World
    run: Run
    reports: RunReports

    @property
    def now(self) -> str:
        """The time as Kubernetes writes it."""
        return self.world.timestamp

    @property
    def cluster(self) -> Cluster:
        """The API server."""
        return self.world.cluster

    @property
    def finetune(self) -> FineTune:
        """The document."""
        return self.run.finetune

    def under_way(self, status: Status, kind: ConditionType, phase: Phase, reason: str, message: str = "") -> Status:
        """The status in `phase`, with the condition neither true nor false."""
        status = transitions.condition(status, kind, "Unknown", reason, message, now=self.now)
        return transitions.enter(status, phase, message, now=self.now)
