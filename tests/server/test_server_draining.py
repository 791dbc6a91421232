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

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
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
        draining.leave(node(cluster, first), NO_SIDECAR, drain_seconds=3, replacement_seconds=60)
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


@pytest.mark.slow
def test_a_replica_moves_before_its_node_goes_and_ends_where_all_nodes_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # an earlier Ray leaves this, and more in its process
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(move_and_leave).result()
