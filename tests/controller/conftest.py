"""The API server with the kinds that the controller works with."""

import re
import secrets
from pathlib import Path

import helm_python as helm
import pytest
import yaml
from cast import Play
from turns import world_of

import kube
from callwright.controller.cluster import Cluster, Kind
from callwright.controller.config import ControllerConfig, Images
from callwright.controller.look import World
from callwright.store import Store
from kube import connect

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    "Role": Kind("rbac.authorization.k8s.io/v1", "roles"),
    "ClusterRole": Kind("rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": Kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", namespaced=False),
    "RoleBinding": Kind("rbac.authorization.k8s.io/v1", "rolebindings"),
}


@pytest.fixture(scope="session")
def apiserver(shared: Path) -> kube.ApiServer:
    return kube.serving(ROOT, shared)


@pytest.fixture(scope="session")
def cluster(apiserver: kube.ApiServer) -> Cluster:
    return connect(apiserver.kubeconfig)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-") + f"-{secrets.token_hex(3)}"
    return kube.make_namespace(cluster, name)


@pytest.fixture
def play(cluster: Cluster, namespace: str) -> Play:
    return Play(cluster, namespace)


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
    values = {"store": {"url": "s3://unused"}, "controller": {"namespaces": list(watched)}, "crds": {"enabled": False}}
    with helm.Chart.load(ROOT / "charts/callwright") as chart:
        rendered = chart.render(values, name="callwright", namespace=namespace)
    for template in ("serviceaccount", "rbac"):
        for manifest in yaml.safe_load_all(rendered[f"callwright/templates/controller/{template}.yaml"]):
            cluster.apply(KINDS[manifest["kind"]], manifest)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"namespace": namespace}}
    answer = cluster.create(Kind("v1", "serviceaccounts/callwright/token"), request | {"spec": {}})
    assert answer is not None
    return apiserver.kubeconfig_for(namespace, answer["status"]["token"])


@pytest.fixture
def config(watched: tuple[str, ...], store: Store) -> ControllerConfig:
    rooms = ("trainer", "merger", "evaluator", "server", "sidecar")
    images = {room: f"registry.example/callwright-{room}:1.0" for room in rooms}
    return ControllerConfig(store=store.url, images=Images(**images), namespaces=watched, poll_seconds=0.3)


@pytest.fixture
def world(kubeconfig: Path, store: Store) -> World:
    """What the controller looks at, under its chart's role."""
    return world_of(connect(kubeconfig), store)
