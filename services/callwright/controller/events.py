"""Kubernetes Events for what happened to a document: one per change of phase, told once however often it is seen."""

import hashlib
from typing import Any

from callwright.controller.cluster import EVENT, Cluster
from callwright.spec import API_VERSION
from callwright.spec.status import Status

_BAD = frozenset({"Failed", "Rejected"})
_MESSAGE_LENGTH = 1000


def tell(cluster: Cluster, body: dict[str, Any], before: Status, after: Status, *, now: str) -> None:
    """Record that the phase changed; the name is derived from what happened, so a repeated look records it once."""
    if before.phase == after.phase and before.run == after.run and before.attempt == after.attempt:
        return
    metadata = body["metadata"]
    what = (metadata["uid"], after.run, after.attempt, before.phase, after.phase, after.observed_generation)
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "type": "Warning" if after.phase in _BAD else "Normal",
        "reason": after.phase,
        "message": (after.message or f"run {after.run}: {after.phase}")[:_MESSAGE_LENGTH],
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "FineTune",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "source": {"component": "callwright"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    cluster.create(EVENT, event)
