"""`Context`: one run while it is reconciled, with everything that its stages and its promotion need."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from callwright.controller import observed, transitions
from callwright.controller.cluster import Cluster
from callwright.controller.desired import Run
from callwright.controller.run_store import RunStore
from callwright.spec.status import ConditionType, Phase, Status

_WARNING_AGE = timedelta(minutes=20)  # the Job controller tries again every ten


@dataclass(frozen=True)
class Context:
    """One run, the API server and store that it lives in, and the time as Kubernetes writes it."""

    run: Run
    cluster: Cluster
    store: RunStore
    now: str

    def warning(self, *names: str) -> str:
        """Return the newest warning of late about the objects of these names, of whatever kind."""
        told = [event for name in names for event in self.cluster.warnings(self.run.namespace, name)]
        since = datetime.fromisoformat(self.now) - _WARNING_AGE  # an older one may be over
        return observed.newest_warning(told, since=since.isoformat())

    def under_way(self, status: Status, kind: ConditionType, phase: Phase, reason: str, message: str = "") -> Status:
        """Return the status in `phase`, with the condition neither true nor false."""
        status = transitions.condition(status, kind, "Unknown", reason, message, now=self.now)
        return transitions.enter(status, phase, message, now=self.now)
