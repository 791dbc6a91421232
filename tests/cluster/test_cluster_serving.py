"""A served version on a real cluster, upgraded and struck: how many RayClusters are made, how many requests fail."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubectl import HERE, Namespace, bucket_store, finetune
from release import SERVED, Serving

import kube
from callwright.store import FileEntry, Registry, Store

pytestmark = pytest.mark.timeout(1200)
UNSEEN = pytest.mark.xfail(
    reason="not yet seen without any failed request, where other work leaves two nodes a share of two cores: an engine "
    "then takes minutes to start, and a head longer than Ray waits for it; bench/results/cluster.json says how many"
)


@pytest.fixture(scope="module")
def serving(
    namespace: Namespace, versions: None, figures: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    made = Serving(namespace, tmp_path_factory.mktemp("chart") / "serving", figures)
    # A machine that has much else to do takes three minutes to start an engine; a replica that moves goes on serving so
    # long.
    made.helm("install", "model.version=v1", "serve.surgePercent=100", "serve.replacementSeconds=240")
    made.wait_ready()
    yield made
    made.uninstall()


def test_another_version_of_the_chart_makes_no_second_cluster(serving: Serving) -> None:
    path = serving.chart / "Chart.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"version": "0.1.99"}))
    assert serving.upgrade("another version of the chart") == 0


def test_another_version_of_the_model_makes_no_second_cluster(serving: Serving) -> None:
    try:
        assert serving.upgrade("another model.version", "model.version=v2") == 0
    finally:
        serving.wait_ready()


def test_a_new_cluster_takes_over_without_a_refused_request(serving: Serving) -> None:
    with serving.load("a new RayCluster takes over") as outcomes:
        serving.upgrade("another flag of the sidecar", "sidecar.flags.max-concurrent=100")
        serving.wait_ready()
    assert set(outcomes) == SERVED


@pytest.mark.usefixtures("callwright")
def test_a_promotion_reaches_clients_in_place(serving: Serving) -> None:
    before = serving.clusters()
    with serving.load("a promotion") as outcomes:
        document = finetune(serving.namespace, "m", deploy={"service": "m"})
        serving.namespace.kubectl("apply", "-f", "-", stdin=document)
        serving.namespace.wait("jsonpath={.status.phase}=Promoted", "finetune/m", seconds=600)
        serving.wait_ready()
    version = serving.namespace.get("finetune", "m")["status"]["version"]
    assert version in serving.namespace.get("rayservice", "m")["spec"]["serveConfigV2"]
    assert serving.clusters() == before
    assert set(outcomes) == SERVED


@pytest.mark.xfail(
    reason='issue "Serving": KubeRay told RUNNING of the version before, longer than the ten seconds after which the '
    "controller believes it, as a loop of Serve's took 12: promoted, and never started"
)
@pytest.mark.usefixtures("callwright")
def test_a_version_whose_engine_does_not_start_is_taken_back_unseen(serving: Serving) -> None:
    before, config, pointer = serving.clusters(), serving.config(), serving.pointer()
    deploy, train = {"model": "m", "service": "m"}, {"steps": 9}
    document = finetune(serving.namespace, "broken", deploy=deploy, train=train, evaluate={"promote": "manual"})
    version = serving.train(document, "broken")
    with bucket_store(serving.namespace) as store:
        break_engine(store, version)
    with serving.load("a version whose engine does not start is promoted") as outcomes:
        serving.promote(document)
        serving.namespace.wait("jsonpath={.status.phase}=Failed", "finetune/broken", seconds=600)
        serving.wait_ready()
    status = serving.namespace.get("finetune", "broken")["status"]
    assert f"RayService m does not take version {version}" in status["message"], status
    assert (serving.clusters(), serving.config(), serving.pointer()) == (before, config, pointer)
    assert set(outcomes) == SERVED


def break_engine(store: Store, version: str) -> None:
    """Publish the version once more, of an architecture that no engine knows."""
    folder = f"models/m/versions/{version}"
    config = json.dumps(json.loads(store.get_bytes(f"{folder}/config.json")) | {"architectures": ["Nothing"]}).encode()
    manifest = Registry(store).manifest("m", version)
    files = manifest.files | {"config.json": FileEntry.of(config)}
    store.put_bytes(f"{folder}/config.json", config)
    store.put_bytes(f"{folder}/manifest.json", manifest.model_copy(update={"files": files}).model_dump_json().encode())


def drain(serving: Serving, worker: dict[str, Any]) -> None:
    """Drain the node of the worker of its pods, as an upgrade of the node does."""
    node, kubectl = worker["spec"]["nodeName"], serving.namespace.kubectl
    try:
        kubectl("drain", node, "--pod-selector=ray.io/node-type=worker", "--delete-emptydir-data", "--timeout=600s")
    finally:
        kubectl("uncordon", node)


@UNSEEN
def test_a_drained_node_is_not_noticed_by_clients(serving: Serving) -> None:
    """The only replica goes on until there is one elsewhere, for which the surge has room."""
    (worker,) = serving.workers()
    began = time.monotonic()
    with serving.load("the node of the only replica is drained") as outcomes:
        drain(serving, worker)
        serving.wait_ready()
    serving.figures["seconds until the node of the only replica is drained"] = round(time.monotonic() - began)
    assert set(outcomes) == SERVED


@UNSEEN
def test_a_lost_head_is_not_noticed_by_clients(serving: Serving) -> None:
    """With Redis, in which the next head finds the cluster."""
    serving.namespace.kubectl("apply", "-f", str(HERE / "redis.yaml"))
    serving.namespace.wait("condition=Available", "deployment/redis", seconds=60)
    redis = "ray.gcsFaultTolerance.redisAddress=redis:6379"
    assert serving.upgrade("Redis for its head", redis) == 1
    serving.wait_ready()
    before = {worker["metadata"]["uid"] for worker in serving.workers()}
    with serving.load("the head is lost") as outcomes:
        serving.namespace.kubectl("delete", "pod", "-l", "ray.io/node-type=head", "--timeout=180s")
        serving.namespace.wait("condition=Ready", "pod", "-l", "ray.io/node-type=head", seconds=240)
        serving.wait_ready()
        time.sleep(60)  # workers that had lost their head would be gone by now
    assert {worker["metadata"]["uid"] for worker in serving.workers()} == before
    assert set(outcomes) == SERVED


@UNSEEN
def test_a_drained_node_of_several_cuts_no_stream(serving: Serving) -> None:
    """Nor those that came through the other pods to its replica."""
    assert serving.upgrade("another number of replicas", "serve.minReplicas=2") == 0
    kube.wait_until(lambda: len(serving.serving_pods()) == 2, what="two replicas", seconds=240)
    with serving.load("the node of one of two replicas is drained") as outcomes:
        gone = serving.serving_pods()[-1]
        drain(serving, serving.namespace.get("pod", gone))
        kube.wait_until(lambda: len(set(serving.serving_pods()) - {gone}) == 2, what="two replicas", seconds=240)
    assert set(outcomes) == SERVED


def test_a_lost_store_is_not_noticed_by_clients(serving: Serving) -> None:
    with serving.load("the store is lost") as outcomes:
        serving.namespace.kubectl("delete", "deployment/store", "--timeout=60s")
        time.sleep(30)  # what the sidecar knows of the store grows old
    assert set(outcomes) == SERVED
