"""`Context`: one run while it is reconciled, with everything that its stages and its promotion need."""

from dataclasses import dataclass

from callwright.controller import transitions
from callwright.controller.cluster import Cluster
from callwright.controller.desired import Run
from callwright.controller.run_store import RunStore
from callwright.spec.status import ConditionType, Phase, Status


@dataclass(frozen=True)
class Context:
    """One run, the API server and store that it lives in, and the time as Kubernetes writes it."""

    run: Run
    cluster: Cluster
    store: RunStore
    now: str

    def under_way(self, status: Status, kind: ConditionType, phase: Phase, reason: str, message: str = "") -> Status:
        """Return the status in `phase`, with the condition neither true nor false."""
        status = transitions.condition(status, kind, "Unknown", reason, message, now=self.now)
        return transitions.enter(status, phase, message, now=self.now)
