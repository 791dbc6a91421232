"""`Services`: what all requests of an application share."""

from dataclasses import dataclass

from callwright.sidecar.admission import Gate, Paths
from callwright.sidecar.budget import Budget
from callwright.sidecar.canary import Canaries
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.keys import Keys
from callwright.sidecar.models import Models
from callwright.sidecar.record import Ledger
from callwright.sidecar.telemetry import Metrics, Tracing
from callwright.sidecar.upstream import Upstream
from callwright.sidecar.waiting_calls import WaitingCalls
from callwright.sidecar.worker import Worker


@dataclass(frozen=True)
class Services:
    """What all requests share."""

    config: SidecarConfig
    upstream: Upstream
    canaries: Canaries
    waiting: WaitingCalls
    models: Models
    gate: Gate
    budget: Budget
    keys: Keys
    paths: Paths
    metrics: Metrics
    ledger: Ledger
    tracing: Tracing | None
    worker: Worker
