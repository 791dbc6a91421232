"""The charts installed, upgraded, rolled back and uninstalled by Helm in a real API server.

Shown besides: an upgrade of the serving keeps the version that the controller has put there, and meets no conflict.
"""

import concurrent.futures
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

import kube
from callwright.controller import rollout
from callwright.controller.cluster import CONFIG_MAP, FINE_TUNE, POD, RAY_SERVICE, Cluster, Kind
from callwright.controller.serving import with_canary
from manifests import VALUE_SETS, Object, values_of

ROOT = Path(__file__).resolve().parents[2]
TESTED = [ROOT / "charts" / name for name in (
    "callwright/ci/minimal-values.yaml", "finetune/ci/inline-values.yaml", "serving/ci/minimal-values.yaml",
)]  # fmt: skip
SERVICE_ACCOUNT = Kind("v1", "serviceaccounts")
SERVICE = Kind("v1", "services")


@pytest.fixture(scope="session")
def foreign_kinds(cluster: Cluster) -> None:
    """Other projects' kinds, open as they are not ours to check."""
    for group, kind in (
        ("monitoring.coreos.com", "ServiceMonitor"), ("monitoring.coreos.com", "PrometheusRule"),
        ("gateway.networking.k8s.io", "HTTPRoute"),
    ):  # fmt: skip
        plural = f"{kind.lower()}s"
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": f"{plural}.{group}",
                "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},  # asked of every *.k8s.io
            },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
        cluster.create(kube.CRD, definition)
    kube.wait_until(lambda: kube.established(cluster), what="CRDs established")


@pytest.fixture
def releases(apiserver: kube.ApiServer, namespace: str) -> helm.Config:
    return helm.Config(kubeconfig_path=apiserver.kubeconfig, namespace=namespace)


def objects(release: Any) -> list[Object]:
    return [made for made in yaml.safe_load_all(release["manifest"]) if made]


@pytest.mark.parametrize("path", VALUE_SETS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_value_sets_live(
    path: Path, releases: helm.Config, cluster: Cluster, namespace: str, foreign_kinds: None, charts: Path
) -> None:
    """Installed, upgraded, rolled back, uninstalled: every object is there, then as it was, then gone."""
    chart = charts / path.parts[-3]
    values = values_of(path)
    if path.parts[-3] == "callwright":
        values |= {"crds": {"enabled": False}}  # the session's, which other tests need
        for watched in values.get("controller", {}).get("namespaces", ()):
            kube.make_namespace(cluster, watched)
    labels = "labels" if path.parts[-3] == "finetune" else "commonLabels"

    def find(made: Object) -> Object | None:
        metadata = made["metadata"]
        return cluster.get(kube.kind_of(made), metadata.get("namespace", ""), metadata["name"])

    def teams(made: list[Object]) -> set[str | None]:
        found = [find(each) for each in made]
        assert all(found), [each["kind"] for each, there in zip(made, found, strict=True) if not there]
        return {each["metadata"]["labels"].get("team") for each in found if each and each["kind"] not in ("ConfigMap",)}

    made = objects(releases.install(chart, "assistant", values))
    before = teams(made)
    releases.upgrade(chart, "assistant", values | {labels: {"team": "moved"}})
    assert teams(made) == {"moved"}
    releases.rollback("assistant", version=1)
    assert teams(made) == before
    releases.uninstall("assistant")
    left = [each for each in made if find(each)]
    assert [each["kind"] for each in left if not each["metadata"].get("finalizers")] == []


@pytest.mark.parametrize("path", TESTED, ids=lambda path: path.parts[-3])
@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_helm_test_says_how_its_pod_ended(
    path: Path, phase: str, releases: helm.Config, cluster: Cluster, namespace: str, charts: Path
) -> None:
    """With the kubelet's part played: the pod is there, its service account before it, and how it ends counts."""
    values = values_of(path)
    values |= {"crds": {"enabled": False}} if path.parts[-3] == "callwright" else {}
    releases.install(charts / path.parts[-3], "assistant", values)
    seen: list[Object] = []

    def end() -> None:
        kube.wait_until(lambda: bool(cluster.find(POD, namespace)), what="the test's pod")
        (pod,) = cluster.find(POD, namespace)
        account = pod["spec"].get("serviceAccountName")
        seen.append(pod)
        if pod["spec"].get("automountServiceAccountToken", True):
            assert cluster.get(SERVICE_ACCOUNT, namespace, account), account
        cluster.merge(POD, namespace, pod["metadata"]["name"], {"status": {"phase": phase}}, subresource="status")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        kubelet = pool.submit(end)
        if phase == "Succeeded":
            releases.test("assistant", timeout=60)
        else:
            with pytest.raises(helm.HelmError):
                releases.test("assistant", timeout=60)
        kubelet.result()
    assert seen
    releases.uninstall("assistant")


def test_changed_spec_of_finetune_is_a_new_generation(releases: helm.Config, cluster: Cluster, namespace: str) -> None:
    values = values_of(ROOT / "charts/finetune/ci/inline-values.yaml")
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
    releases: helm.Config, cluster: Cluster, namespace: str, charts: Path
) -> None:
    chart = charts / "serving"
    values: Object = {
        "model": {"name": "assistant"},
        "store": {"url": "s3://callwright"},
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
    rollout.put_version(cluster, found, model="assistant", version="assistant-0123abcd", store="s3://callwright")
    releases.upgrade(chart, "release", values | {"serve": {"targetOngoingRequests": 8}})
    assert served()["models"][0]["version"] == "assistant-0123abcd"
    assert served()["targetOngoingRequests"] == 8

    found = cluster.get(RAY_SERVICE, namespace, "release-serving")
    assert found is not None
    tried = with_canary(found["spec"]["serveConfigV2"], model="assistant", version="assistant-89abcdef", weight=10)
    rollout._write(cluster, found, tried, {})
    releases.upgrade(chart, "release", values | {"serve": {"targetOngoingRequests": 9}})
    assert served()["models"][0]["version"] == "assistant-0123abcd", "what stands, and not the canary beside it"

    pinned = values | {"model": {"name": "assistant", "version": "assistant-4567cdef"}}
    releases.upgrade(chart, "release", pinned)
    assert served()["models"][0]["version"] == "assistant-4567cdef"
