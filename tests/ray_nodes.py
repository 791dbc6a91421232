"""A Ray cluster of several real nodes on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from ray._private import ray_constants
from ray.cluster_utils import Cluster


@contextmanager
def cluster_of(*cpus: int) -> Iterator[Cluster]:
    """A cluster whose nodes, the head first, have so many CPUs each."""
    quick = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 0, "health_check_failure_threshold": 10}
    small = {"object_store_memory": 80_000_000, "include_dashboard": False}
    # A local Ray before it, in this process, has said that this machine has no cluster.
    is_cluster = patch.object(ray_constants, "ENABLE_RAY_CLUSTER", True)
    with patch.dict(os.environ, {"RAY_AUTH_MODE": "disabled"}), is_cluster:
        head = {**small, "num_cpus": cpus[0], "_system_config": quick}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for each in cpus[1:]:
                cluster.add_node(**small, num_cpus=each)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()
