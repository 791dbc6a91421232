"""The API server with the kinds that the controller works with."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sidecar_pods import Sidecars

import kube
import manifests
from callwright.controller.app import Controller
from callwright.controller.cluster import Cluster, Kind
from callwright.controller.config import ControllerConfig
from callwright.controller.metrics import Metrics
from callwright.controller.reconcile import Reconciler
from callwright.controller.run_store import RunStore
from callwright.store import Store
from cast import Play, config_of, reconciler_of
from kube import apiserver, cluster, connect, garbage_collector, namespace

__all__ = ["apiserver", "cluster", "garbage_collector", "namespace"]


@pytest.fixture
def play(cluster: Cluster, namespace: str, store: Store) -> Play:
    return Play(cluster, namespace, store)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"file://{tmp_path}/store")


@pytest.fixture
def watched(namespace: str) -> tuple[str, ...]:
    """The namespaces that the controller watches."""
    return (namespace,)


@pytest.fixture
def kubeconfig(apiserver: kube.ApiServer, cluster: Cluster, namespace: str, watched: tuple[str, ...]) -> Path:
    """Speaks as the chart's service account with the chart's role, and may nothing else."""
    where = {"namespaces": list(watched)} if watched else {"clusterWide": True}
    values = {"store": {"url": "s3://unused"}, "controller": where, "crds": {"enabled": False}}
    for manifest in manifests.render("callwright", values, release="callwright", namespace=namespace):
        if manifest["kind"] == "ServiceAccount" or manifest["apiVersion"].startswith("rbac."):
            cluster.apply(kube.kind_of(manifest), manifest)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"namespace": namespace}}
    answer = cluster.create(Kind("v1", "serviceaccounts/callwright/token"), request | {"spec": {}})
    assert answer is not None
    return apiserver.kubeconfig_for(namespace, answer["status"]["token"])


@pytest.fixture
def config(watched: tuple[str, ...], store: Store, namespace: str) -> ControllerConfig:
    return config_of(store.url, namespace=namespace, namespaces=watched, poll_seconds=0.3)


@pytest.fixture
def reconciler(kubeconfig: Path, store: Store, namespace: str) -> Reconciler:
    """The controller's work, under its chart's role."""
    return reconciler_of(connect(kubeconfig), store, namespace)


@pytest.fixture
def open_store() -> Callable[[str, Path | None], RunStore]:
    return RunStore.open


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def controller(
    kubeconfig: Path,
    config: ControllerConfig,
    open_store: Callable[[str, Path | None], RunStore],
    metrics: Metrics,
) -> Iterator[None]:
    """The controller in a thread of its own, under the service account and role of the chart."""
    reconciler = Reconciler(connect(kubeconfig), config, open_store)
    stop = threading.Event()
    made = Controller(reconciler, metrics)
    running = threading.Thread(target=made.run, args=[stop], name="controller")
    running.start()
    yield
    assert made.healthy()
    stop.set()
    running.join(60)
    assert not running.is_alive()


@pytest.fixture
def sidecars(play: Play) -> Iterator[Sidecars]:
    made = Sidecars(play)
    made.add()
    made.add()
    yield made
    made.fall_silent()
