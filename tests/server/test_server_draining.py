"""A node that goes: its replica moves where there is room, and ends in time where the whole cluster goes."""

import faulthandler
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster

from callwright.server import draining
from ray_nodes import cluster_of

pytestmark = pytest.mark.timeout(600)
NO_SIDECAR = "http://127.0.0.1:1/metrics"


@serve.deployment(ray_actor_options={"num_cpus": 1}, graceful_shutdown_timeout_s=3)
class Model:
    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()


def node(cluster: Cluster, node_id: str) -> draining.Node:
    (raylet,) = (each for each in draining.raylets() if f"--node_id={node_id}" in each.cmdline())
    return draining.Node(cluster.address, raylet)


def move_and_leave() -> None:
    """On a head that takes no replica and two workers with room for one each."""
    faulthandler.dump_traceback_later(150, exit=True)
    with cluster_of(0, 1, 1) as cluster:
        ray.init(address=cluster.address, logging_level="error")
        serve.start(proxy_location="Disabled")
        model: Any = serve.run(Model.bind())
        first = model.node.remote().result()
        draining.leave(node(cluster, first), NO_SIDECAR, drain_seconds=3, replacement_seconds=60, linger_seconds=0)
        second = model.node.remote().result()
        assert second != first

        draining.HEAD_SECONDS = 5.0
        worker, head = node(cluster, second), node(cluster, cluster.head_node.node_id)
        leaving = threading.Thread(target=draining.leave, args=(worker, NO_SIDECAR, 3, 600))
        leaving.start()
        draining.leave_last(head, "", drain_seconds=120)
        assert not worker.is_serving()
        leaving.join(timeout=30)
        assert not leaving.is_alive()
        ray.shutdown()


@pytest.mark.e2e
@pytest.mark.slow
def test_a_replica_moves_before_its_node_goes_and_ends_where_all_nodes_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # an earlier Ray leaves this, and more in its process
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(move_and_leave).result()


class Clock:
    """Stands for `time`; whoever sleeps makes it go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Going(draining.Node):
    """A node with a replica until some time, which its head may leave together with it."""

    def __init__(self, clock: Clock, serves_seconds: float, *, with_head: bool) -> None:
        self._clock, self._until, self._with_head = clock, clock.now + serves_seconds, with_head

    def drain(self, seconds: float) -> None:
        pass

    def is_head_draining(self) -> bool:
        return self._with_head

    def is_serving(self) -> bool:
        return self._clock.now < self._until


@pytest.mark.parametrize(
    ("serves_seconds", "with_head", "stays"), [(0, False, 10), (60, False, 68), (60, True, 60), (1000, False, 255)]
)
def test_a_worker_outlasts_what_nodes_take_to_hear_that_it_goes(
    serves_seconds: float, with_head: bool, stays: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a replica, too; not where the whole cluster goes, and not beyond the time that its pod has."""
    clock = Clock()
    monkeypatch.setattr(draining, "time", clock)
    draining.leave(Going(clock, serves_seconds, with_head=with_head), NO_SIDECAR, 120, 120)
    assert clock.now - 1000 == pytest.approx(stays, abs=2)
