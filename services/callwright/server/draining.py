"""`python -m callwright.server.draining worker|head …`: what `preStop` does in a pod of a Ray cluster that serves.

A worker that is deleted is no endpoint of the Service any more, yet its replica answers the sidecars of other pods too.
So it tells Ray that its node will go: Serve starts a replica elsewhere where there is room, takes this one out of every
HAProxy and lets its streams end; the pod stays until then. A head that is deleted says so as well. By that the workers
that are deleted with it, as those of a whole cluster are, know that there is no elsewhere, and it stays until they are
gone.

Knows Ray's cluster, nothing of engines. Runs beside Ray's processes, whose environment names the cluster.
"""

import logging
import os
import time
from collections.abc import Iterator
from typing import Annotated

import psutil
import typer
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.exceptions import RayError

from callwright.server.lifecycle import is_busy

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
STOP_SECONDS = 15.0
"""How long Serve may take beyond what it is told to wait."""
HEAD_SECONDS = 20.0
"""How long a head waits for workers that are deleted with it to say so."""
LINGER_SECONDS = 10.0
"""How long a worker stays without a replica: the nodes take a while to hear that it is no endpoint any more, and where
no other pod is ready they send requests to it until one is. Its sidecar has replicas elsewhere answer."""
_NODE_ID = "--node_id="
_REASON = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")

app = typer.Typer(help=__doc__, add_completion=False)
Metrics = Annotated[str, typer.Option(help="URL of the metrics of the sidecar in this pod; none without one.")]
DrainSeconds = Annotated[float, typer.Option(help="How long streams may take to end.")]
ReplacementSeconds = Annotated[float, typer.Option(help="How long to go on serving until a replica elsewhere does.")]
LingerSeconds = Annotated[float, typer.Option(help="How long to stay once no replica is left.")]


class Node:
    """A node of the Ray cluster at `address`, by its raylet. Once the cluster's head has not answered it is not asked
    again.
    """

    def __init__(self, address: str, raylet: psutil.Process) -> None:
        self._gcs, self._raylet = GcsClient(address=address), raylet
        (self._node_id,) = (word.removeprefix(_NODE_ID) for word in raylet.cmdline() if word.startswith(_NODE_ID))
        self._lost = False

    def drain(self, seconds: float) -> None:
        """Say that this node will be gone in so many seconds. It may be said again, with another number."""
        self._draining()  # where nobody answers, what follows would end this process
        if not self._lost:
            deadline = int((time.time() + seconds) * 1000)
            self._gcs.drain_node(self._node_id, _REASON, "the pod is deleted", deadline)

    def is_head_draining(self) -> bool:
        return any(self._draining())

    def is_worker_draining(self) -> bool:
        return not all(self._draining())

    def is_serving(self) -> bool:
        """Return whether a replica runs or starts here that somebody will end: without a head nobody does."""
        try:
            names = [process.name() for process in self._raylet.children()]
        except psutil.NoSuchProcess:
            return False
        return not self._lost and any(name.startswith("ray::ServeReplica") for name in names)

    def _draining(self) -> list[bool]:
        """Return, for each node that drains and is alive, whether it is the head."""
        if self._lost:
            return []
        try:
            named = self._gcs.get_draining_nodes(timeout=_TIMEOUT_SECONDS)
            nodes = self._gcs.get_all_node_info(timeout=_TIMEOUT_SECONDS).items()
        except RayError as error:
            _log.warning("draining: the cluster's head does not answer: %s", error)
            self._lost = True
            return []
        alive = gcs_pb2.GcsNodeInfo.ALIVE
        return [node.is_head_node for id_, node in nodes if id_.hex() in named and node.state == alive]


@app.command("worker")
def leave_as_worker(
    metrics: Metrics,
    drain_seconds: DrainSeconds,
    replacement_seconds: ReplacementSeconds,
    linger_seconds: LingerSeconds = LINGER_SECONDS,
) -> None:
    """Return once no replica has been in this pod for a while and its sidecar has no request, or when the time is
    over.
    """
    leave(_here(), metrics, drain_seconds, replacement_seconds, linger_seconds)


@app.command("head")
def leave_as_head(drain_seconds: DrainSeconds, metrics: Metrics = "") -> None:
    """Return once no worker that drains is left and the sidecar, if there is one, has no request, or when the time is
    over. Where the head alone is deleted, no worker drains.
    """
    leave_last(_here(), metrics, drain_seconds)


def leave(
    node: Node | None,
    metrics: str,
    drain_seconds: float,
    replacement_seconds: float,
    linger_seconds: float = LINGER_SECONDS,
) -> None:
    """Have the replicas of `node` move elsewhere, or, with the head, end; and wait for them and for the sidecar."""
    together, served_at = False, time.monotonic()
    if node is not None:
        together = node.is_head_draining()
        node.drain(drain_seconds + (0 if together else replacement_seconds))
    for _ in _pauses(drain_seconds + replacement_seconds + STOP_SECONDS):
        if node is not None and node.is_serving():
            served_at = time.monotonic()
        elif time.monotonic() - served_at >= (0 if together else linger_seconds) and not is_busy(metrics):
            return
        if node is not None and not together and node.is_head_draining():
            together = True
            node.drain(drain_seconds)


def leave_last(node: Node | None, metrics: str, drain_seconds: float) -> None:
    """Tell the workers that the head goes too, and wait for those that do and for the sidecar."""
    if node is None:
        return
    node.drain(drain_seconds)
    together_until = time.monotonic() + HEAD_SECONDS
    for _ in _pauses(drain_seconds + STOP_SECONDS):
        if time.monotonic() < together_until or node.is_worker_draining():
            continue
        if not metrics or not is_busy(metrics):
            return


def raylets() -> Iterator[psutil.Process]:
    """Yield the processes of the Ray nodes on this machine."""
    for process in psutil.process_iter(["name", "status"]):
        if process.info["name"] == "raylet" and process.info["status"] != psutil.STATUS_ZOMBIE:
            yield process


def _here() -> Node | None:
    """Return this pod's node, unless Ray does not run here."""
    address, found = os.environ.get("RAY_ADDRESS"), list(raylets())
    return Node(address, found[0]) if address and len(found) == 1 else None


def _pauses(seconds: float) -> Iterator[None]:
    """Yield after each pause until so many seconds are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
        yield


if __name__ == "__main__":
    app()
