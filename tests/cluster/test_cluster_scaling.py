"""A served version on a real cluster that comes and goes: no replica while nobody asks, two of which one is lost."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubectl import Namespace
from release import SERVED, Serving

import kube

pytestmark = pytest.mark.timeout(1200)
QUICKLY = (
    "serve.autoscaling.downscale_to_zero_delay_s=10", "serve.scaleUpSeconds=1", "serve.scaleDownSeconds=10",
    "serve.replacementSeconds=5", "serve.drainSeconds=20",
)  # fmt: skip


@pytest.fixture(scope="module")
def serving(
    namespace: Namespace, versions: None, figures: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    made = Serving(namespace, tmp_path_factory.mktemp("chart") / "serving", figures)
    made.helm("install", "model.version=v1", "serve.minReplicas=0", *QUICKLY)
    yield made
    made.uninstall()


def test_the_first_request_waits_for_a_replica(serving: Serving) -> None:
    """There is none, and no worker, while nobody asks; then there is one, and the request is held until it answers."""
    serving.wait_ready()
    kube.wait_until(lambda: not serving.workers(), what=serving.namespace.state, seconds=300)
    assert serving.serving_pods(), "nobody takes requests"
    began = time.monotonic()
    with serving.load("there is no replica", patience=600) as outcomes:
        kube.wait_until(lambda: bool(serving.workers()), what=serving.namespace.state, seconds=120)
        serving.figures["seconds from a request to a worker where there is none"] = round(time.monotonic() - began)
        serving.wait_answered()
        serving.figures["seconds that the first request waits for a replica"] = round(time.monotonic() - began)
    assert set(outcomes) == SERVED
    kube.wait_until(lambda: not serving.workers(), what=serving.namespace.state, seconds=300)


def test_a_lost_node_takes_only_its_own_requests(serving: Serving, lose: Callable[[str], None]) -> None:
    """Once Kubernetes has noticed, the replica on the other node answers everybody."""
    serving.upgrade("another number of replicas", "serve.minReplicas=2", "serve.scaleDownSeconds=600")
    serving.wait_ready()
    kube.wait_until(lambda: len(serving.serving_pods()) >= 2, what=serving.namespace.state, seconds=600)
    # Its head takes no requests any more, so it is another RayCluster; the one before stays for a minute.
    kube.wait_until(lambda: len(serving.clusters()) == 1, what=serving.namespace.state, seconds=300)
    [head] = serving.namespace.pods("-l", "ray.io/node-type=head")
    nodes = {worker["spec"]["nodeName"] for worker in serving.workers()} - {head["spec"]["nodeName"]}
    assert nodes, serving.namespace.state()
    with serving.load("a node is lost and Kubernetes has not noticed"):
        lose(nodes.pop())
    with serving.load("a node is lost") as outcomes:
        time.sleep(60)
    assert set(outcomes) == SERVED
