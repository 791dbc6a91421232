"""The charts installed, upgraded, rolled back and uninstalled by Helm in a real API server, which knows no newer kinds.

Shown besides: an upgrade of the serving keeps the version that the controller has put there, and meets no conflict.
"""

import secrets
import shutil
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

import kube
from callsmith.controller import serving
from callsmith.controller.cluster import CONFIG_MAP, FINE_TUNE, RAY_SERVICE, Cluster, Kind
from callsmith.controller.promotion import hand_over

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENT = Kind("apps/v1", "deployments")
SERVICE = Kind("v1", "services")
Object = dict[str, Any]


@pytest.fixture
def cluster(apiserver: kube.ApiServer) -> Cluster:
    return kube.connect(apiserver.kubeconfig)


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    return kube.make_namespace(cluster, f"charts-{secrets.token_hex(3)}")


@pytest.fixture
def releases(apiserver: kube.ApiServer, namespace: str) -> helm.Config:
    return helm.Config(kubeconfig_path=apiserver.kubeconfig, namespace=namespace)


def for_old_server(chart: str, folder: Path) -> Path:
    """The chart without its demand for a newer Kubernetes; what that is needed for, the open schema takes."""
    copy = shutil.copytree(ROOT / "charts" / chart, folder / chart)
    metadata = yaml.safe_load((copy / "Chart.yaml").read_text())
    metadata.pop("kubeVersion", None)
    (copy / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    return copy


def test_controller_chart_lives(releases: helm.Config, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    chart = for_old_server("callsmith", tmp_path)
    # This server can't apply CEL rules; the CRD itself is applied in the controller's tests.
    values: Object = {"store": {"url": "s3://b"}, "crds": {"enabled": False}, "controller": {"namespaces": [namespace]}}

    def image() -> str:
        found = cluster.get(DEPLOYMENT, namespace, "release-callsmith")
        assert found is not None
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    releases.install(chart, "release", values)
    assert image() == "callsmith-controller:0.1.0"
    releases.upgrade(chart, "release", values | {"images": {"tag": "0.2.0"}})
    assert image() == "callsmith-controller:0.2.0"
    releases.rollback("release", version=1)
    assert image() == "callsmith-controller:0.1.0"
    releases.uninstall("release")
    assert cluster.get(DEPLOYMENT, namespace, "release-callsmith") is None


def test_finetune_chart_lives(releases: helm.Config, cluster: Cluster, namespace: str) -> None:
    values = yaml.safe_load((ROOT / "charts/finetune/ci/inline-values.yaml").read_text())
    releases.install(ROOT / "charts/finetune", "weather", values)
    found = cluster.get(FINE_TUNE, namespace, "weather")
    assert found is not None
    assert found["spec"]["cluster"]["mounts"] == [{"path": "/dataset", "configMap": "weather-dataset"}]
    assert cluster.get(CONFIG_MAP, namespace, "weather-dataset") is not None
    values["spec"]["train"]["steps"] = 20
    releases.upgrade(ROOT / "charts/finetune", "weather", values)
    changed = cluster.get(FINE_TUNE, namespace, "weather")
    assert changed is not None
    assert changed["metadata"]["generation"] == found["metadata"]["generation"] + 1
    releases.uninstall("weather")
    assert cluster.get(FINE_TUNE, namespace, "weather") is None


def test_upgrade_of_serving_keeps_the_promoted_version(
    releases: helm.Config, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    chart = for_old_server("serving", tmp_path)
    values: Object = {
        "model": {"name": "assistant"},
        "store": {"url": "s3://callsmith"},
        "podDisruptionBudget": {"enabled": False},  # policy/v1 is newer than this server
    }

    def served() -> Object:
        found = cluster.get(RAY_SERVICE, namespace, "release-serving")
        assert found is not None
        (application,) = yaml.safe_load(found["spec"]["serveConfigV2"])["applications"]
        args: Object = application["args"]
        return args

    releases.install(chart, "release", values)
    assert served()["models"][0]["version"] == "promoted"
    assert cluster.get(SERVICE, namespace, "release-serving") is not None

    found = cluster.get(RAY_SERVICE, namespace, "release-serving")
    assert found is not None
    text = serving.set_version(found["spec"]["serveConfigV2"], model="assistant", version="assistant-0123abcd")
    hand_over(cluster, found, text)  # as the controller does it
    releases.upgrade(chart, "release", values | {"serve": {"targetOngoingRequests": 8}})
    assert served()["models"][0]["version"] == "assistant-0123abcd"
    assert served()["targetOngoingRequests"] == 8

    pinned = values | {"model": {"name": "assistant", "version": "assistant-4567cdef"}}
    releases.upgrade(chart, "release", pinned)
    assert served()["models"][0]["version"] == "assistant-4567cdef"
