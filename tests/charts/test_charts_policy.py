"""The rules that every pod of ours is held to, held to what they are for; and that no chart makes a Secret."""

import copy
from pathlib import Path
from typing import Any

import pytest

import manifests
from manifests import CHARTS, VALUE_SETS, Object, only, render, values_of


@pytest.fixture(scope="module")
def safe() -> Object:
    """A pod of the charts that breaks no rule."""
    values = values_of(CHARTS / "callwright/ci/minimal-values.yaml")
    pod: Object = only(render("callwright", values), "Deployment")["spec"]["template"]["spec"]
    assert manifests.unsafe(pod) == []
    return pod


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("securityContext", "runAsNonRoot"), False, "may run as root"),
        (("securityContext", "runAsUser"), 0, "may run as root"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "has no seccomp profile"),
        (("hostNetwork",), True, "shares the host's namespaces"),
        (("hostPID",), True, "shares the host's namespaces"),
        (("volumes",), [{"name": "host", "hostPath": {"path": "/"}}], "mounts a host path"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "may gain privileges"),
        (("containers", 0, "securityContext", "privileged"), True, "may gain privileges"),
        (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False, "writes to its root file system"),
        (("containers", 0, "securityContext", "capabilities"), {"add": ["NET_ADMIN"]}, "keeps capabilities"),
        (("containers", 0, "securityContext", "runAsUser"), 0, "may run as root"),
        (("containers", 0, "securityContext", "runAsNonRoot"), False, "may run as root"),
        (("containers", 0, "securityContext", "seccompProfile"), {"type": "Unconfined"}, "has no seccomp profile"),
        (("containers", 0, "resources"), {"requests": {"cpu": "1", "memory": "1Gi"}}, "no memory limit"),
        (("containers", 0, "ports"), [{"containerPort": 80}], "has an unnamed port"),
        (("containers", 0, "image"), "callwright-controller", "has no tag"),
        (("containers", 0, "image"), "registry:5000/callwright-controller", "has no tag"),
        (("containers", 0, "image"), "callwright-controller:latest", "has no tag"),
        (("containers", 0, "volumeMounts"), [{"name": "nowhere", "mountPath": "/a"}], "mounts {'nowhere'}"),
    ],
)
def test_rules_for_pods_catch_what_they_are_for(safe: Object, path: tuple[Any, ...], value: Any, said: str) -> None:
    pod = copy.deepcopy(safe)
    at: Any = pod
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    assert any(said in fault for fault in manifests.unsafe(pod))


@pytest.mark.parametrize("path", VALUE_SETS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_secrets_are_named_and_never_made(path: Path) -> None:
    made = render(path.parts[-3], values_of(path))
    assert "Secret" not in {each["kind"] for each in made}
