"""What a run says when the cluster refuses it, in the words of who refused, and what it leaves behind when it ends."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from kubectl import Namespace, finetune

import kube

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("callwright")]


def message(namespace: Namespace, name: str) -> str:
    status = (namespace.get("finetune", name) or {}).get("status", {})
    return f"{status.get('phase')}: {status.get('message')}"


def said(namespace: Namespace, name: str, words: str, *, seconds: float = 240) -> None:
    """Wait until the document's status holds these words."""

    def found() -> str:
        return f"{words!r}; got {message(namespace, name)!r}\n{namespace.state()}"

    kube.wait_until(lambda: words in message(namespace, name), what=found, seconds=seconds)


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("no-gpu", {"resources": {"gpusPerWorker": 1}}, "Insufficient nvidia.com/gpu"),
        ("too-large", {"resources": {"cpusPerWorker": 500}}, "Insufficient cpu"),
        (
            "no-such-node",
            {"resources": {"nodeSelector": {"pool": "none"}}},
            "node affinity/selector",
        ),
        ("no-secret", {"cluster": {"secret": "gone"}}, 'secret "gone" not found'),
        (
            "no-config-map",
            {"cluster": {"mounts": [{"path": "/dataset", "configMap": "gone"}]}},
            'configmap "gone" not found',
        ),
    ],
)
def test_a_pod_that_cannot_start_is_told(namespace: Namespace, name: str, spec: dict[str, Any], words: str) -> None:
    namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, name, **spec))
    try:
        said(namespace, name, words)
    finally:
        namespace.kubectl("delete", "finetune", name, "--timeout=60s")


def test_an_image_that_is_missing_is_told(namespace: Namespace, chart: Any) -> None:
    missing = ["--reuse-values", "--set", "images.trainer.repository=callwright-nowhere"]
    namespace.helm("upgrade", "callwright", str(chart), *missing, "--wait")
    namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, "no-image"))
    try:
        said(namespace, "no-image", "localhost/callwright-nowhere")
    finally:
        namespace.kubectl("delete", "finetune", "no-image", "--timeout=60s")
        namespace.helm("rollback", "callwright", "--wait")


@pytest.mark.parametrize("part", ["prepare", "head", "workers"])
def test_a_pod_that_pod_security_refuses_is_told(namespace: Namespace, chart: Any, part: str) -> None:
    """The installation's own template of the part asks for what the namespace's standard forbids."""
    forbidden = json.dumps({part: {"spec": {"hostNetwork": True}}})
    own = ["--reuse-values", "--set-json", f"runs.templates={forbidden}"]
    namespace.helm("upgrade", "callwright", str(chart), *own, "--wait")
    namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, "refused"))
    try:
        said(namespace, "refused", 'violates PodSecurity "restricted:latest": host namespaces')
    finally:
        namespace.kubectl("delete", "finetune", "refused", "--timeout=60s")
        namespace.helm("rollback", "callwright", "--wait")


def test_a_full_quota_is_told(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "none-left", "--hard=requests.memory=1Gi")
    namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, "no-quota"))
    try:
        said(namespace, "no-quota", "exceeded quota: none-left", seconds=30)
    finally:
        namespace.kubectl("delete", "finetune", "no-quota", "--timeout=60s")
        namespace.kubectl("delete", "quota", "none-left")


def seconds_until_gone(namespace: Namespace, begin: Callable[[], object]) -> float:
    """How long the pods with the GPUs stay after `begin`."""
    begin()
    began = time.monotonic()
    workers = ("pods", "-l", "callwright.io/stage=train,ray.io/node-type=worker")
    kube.wait_until(lambda: not namespace.names(*workers), what="the training's workers gone", seconds=60)
    return time.monotonic() - began


@pytest.mark.parametrize("what", ["gone", "without-weights"])
def test_an_input_that_is_missing_is_told_before_anything_else_is_asked_for(namespace: Namespace, what: str) -> None:
    """Nor is it tried again."""
    gone = finetune(namespace, "gone", base={"model": f"s3://callwright/bases/{what}"})
    namespace.kubectl("apply", "-f", "-", stdin=gone)
    try:
        said(namespace, "gone", "Failed: prepare failed")
        assert f"bases/{what}" in message(namespace, "gone")
        assert not namespace.names("rayjobs")
        [job] = namespace.get("jobs", "-l", "callwright.io/finetune=gone")["items"]
        assert job["status"]["failed"] == 1
    finally:
        namespace.kubectl("delete", "finetune", "gone", "--timeout=60s")


def test_a_training_that_fails_says_why_and_gives_its_pods_back(namespace: Namespace, figures: dict[str, Any]) -> None:
    broken = finetune(namespace, "broken", base={"model": "s3://callwright/bases/without-a-layer"})
    namespace.kubectl("apply", "-f", "-", stdin=broken)
    try:
        gone = seconds_until_gone(namespace, lambda: said(namespace, "broken", "Failed: train failed", seconds=600))
        figures["seconds until a failed training's workers are gone"] = round(gone)
        assert "lacks model.layers.1" in message(namespace, "broken")
        assert gone <= 30
    finally:
        namespace.kubectl("delete", "finetune", "broken", "--timeout=60s")


def test_a_training_that_is_cancelled_gives_its_pods_back(namespace: Namespace, figures: dict[str, Any]) -> None:
    namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, "endless", train={"steps": 1_000_000}))
    kube.wait_until(lambda: "progress" in json.dumps(status(namespace, "endless")), what="a first step", seconds=300)
    gone = seconds_until_gone(namespace, lambda: namespace.kubectl("delete", "finetune", "endless", "--timeout=60s"))
    figures["seconds until a cancelled training's workers are gone"] = round(gone)
    assert gone <= 30


def test_documents_can_be_deleted_when_the_chart_is_gone(namespace: Namespace) -> None:
    namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, "left", resources={"cpusPerWorker": 500}))
    said(namespace, "left", "Insufficient cpu")
    namespace.helm("uninstall", "callwright", "--wait", "--timeout", "2m")
    namespace.kubectl("delete", "finetune", "left", "--timeout=20s")
    kube.wait_until(lambda: not namespace.names("rayjobs"), what="its run gone")


def status(namespace: Namespace, name: str) -> dict[str, Any]:
    found: dict[str, Any] = namespace.get("finetune", name).get("status", {})
    return {key: value for key, value in found.items() if value}
