"""Examines whether runs can be carried out on a cluster, and says what mends what is missing.

Looks at the API server, kinds, operators, roles, GPUs and the store. Changes nothing: of the store it tries the writes
that a promotion needs on a key of its own, and deletes it.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from callwright.controller.cluster import Cluster, Forbidden, Kind, KindMissing, Object
from callwright.errors import CallwrightError, Conflict, without_secrets
from callwright.store import Store

_OLDEST = (1, 29)
"""Native sidecar containers, in the evaluation's pods."""
_OLDEST_KUEUE = "v1beta2"
_OLDEST_KUBERAY = (1, 5, 1)
"""A Ray cluster's `authOptions`, which an older one does not know."""
_DEPLOYMENT = Kind("apps/v1", "deployments")
_NODE = Kind("v1", "nodes", namespaced=False)
_MAY_I = Kind("authorization.k8s.io/v1", "selfsubjectaccessreviews", namespaced=False)
_INSTALL = "helm upgrade --install callwright charts/callwright -n callwright --create-namespace --set store.url=s3://…"
_KUBERAY = (
    "helm upgrade callwright charts/callwright -n callwright --reset-then-reuse-values "
    "--set kuberay-operator.enabled=true"
)
_KUEUE = (
    "if runs shall wait in queues: helm install kueue -n kueue-system --create-namespace "
    "https://github.com/kubernetes-sigs/kueue/releases/download/v0.15.0/kueue-0.15.0.tgz"
)
_DEVICE_PLUGIN = (
    "for NVIDIA's, whose driver is on the nodes: helm upgrade --install nvdp nvidia-device-plugin "
    "--repo https://nvidia.github.io/k8s-device-plugin -n nvidia-device-plugin --create-namespace"
)
_ASK = "ask an administrator to run `callwright doctor`"
_NAME = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    what: str
    found: str
    mend: str = ""
    """The command, or what to do; empty where all is well."""
    needed: bool = True
    """Whether nothing works without."""

    @property
    def failed(self) -> bool:
        """Whether something is missing that is needed."""
        return bool(self.mend) and self.needed


def examine(cluster: Cluster, namespace: str, *, store: str | None) -> Iterator[Finding]:
    """Yield what is found, one thing after another; `namespace` is where the runs are."""
    yield _api_server(cluster)
    yield _kind(cluster, "callwright.io/v1alpha1", "finetunes", mend=_INSTALL)
    yield _operator(cluster, "controller", {_NAME: "callwright", "app.kubernetes.io/component": "controller"}, _INSTALL)
    for plural in ("rayjobs", "rayservices"):
        yield _kind(cluster, "ray.io/v1", plural, mend=_KUBERAY)
    yield _operator(cluster, "KubeRay operator", {_NAME: "kuberay-operator"}, _KUBERAY, oldest=_OLDEST_KUBERAY)
    yield _kind(cluster, f"kueue.x-k8s.io/{_OLDEST_KUEUE}", "workloads", mend=_KUEUE, needed=False)
    yield _operator(cluster, "Kueue", {_NAME: "kueue"}, _KUEUE, needed=False)
    for verb, group, resource in (
        ("create", "callwright.io", "finetunes"), ("list", "", "pods"), ("get", "", "pods/log"),
    ):  # fmt: skip
        yield _right(cluster, namespace, verb, group, resource)
    yield _gpus(cluster)
    if store:
        yield from _store(store)


def _api_server(cluster: Cluster) -> Finding:
    version = str(cluster.version().get("gitVersion", ""))
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    old = numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST
    return Finding(
        "Kubernetes", version or "unknown", "upgrade it to 1.29 or newer: kubeadm upgrade plan" if old else ""
    )


def _kind(cluster: Cluster, api: str, plural: str, *, mend: str, needed: bool = True) -> Finding:
    try:
        found = plural in cluster.resources(api)
    except KindMissing:
        found = False
    return Finding(f"kind {plural}.{api}", "served" if found else "missing", "" if found else mend, needed)


def _operator(
    cluster: Cluster,
    what: str,
    labels: dict[str, str],
    mend: str,
    *,
    needed: bool = True,
    oldest: tuple[int, ...] = (),
) -> Finding:
    try:
        deployments = cluster.find(_DEPLOYMENT, None, labels=labels)
    except Forbidden:
        return Finding(what, "unknown: your role lists no Deployments", _ASK, needed=False)
    if not deployments:
        return Finding(what, "not installed", mend, needed)
    ready = [each for each in deployments if each.get("status", {}).get("readyReplicas")]
    if not ready:
        metadata = deployments[0]["metadata"]
        look = f"kubectl describe deployment {metadata['name']} -n {metadata['namespace']}"
        return Finding(what, f"{_image(deployments[0])}, no pod of it is ready", look, needed)
    places = ", ".join(f"{_image(each)} in {each['metadata']['namespace']}" for each in ready)
    for each in ready:
        if _is_older(_image(each), oldest):
            return Finding(what, places, _upgrade(each["metadata"], ".".join(map(str, oldest))), needed)
    return Finding(what, places)


def _upgrade(metadata: Object, oldest: str) -> str:
    """Return the command that brings KubeRay's operator, installed by its own chart, to the oldest version that will
    do.
    """
    release = metadata.get("labels", {}).get("app.kubernetes.io/instance", metadata["name"])
    chart = "kuberay-operator --repo https://ray-project.github.io/kuberay-helm/"
    return f"helm upgrade {release} {chart} -n {metadata['namespace']} --version {oldest}"


def _is_older(image: str, oldest: tuple[int, ...]) -> bool:
    """Return whether an image's tag is a version before `oldest`; one that is no version may be any."""
    tag = re.search(r":v?(\d+)\.(\d+)\.(\d+)", image)
    return tag is not None and tuple(map(int, tag.groups())) < oldest


def _image(deployment: Object) -> str:
    image: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return image.rsplit("/", 1)[-1]


def _right(cluster: Cluster, namespace: str, verb: str, group: str, resource: str) -> Finding:
    name, _, sub = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": name, "subresource": sub, "namespace": namespace}
    review = {"apiVersion": _MAY_I.api, "kind": "SelfSubjectAccessReview", "metadata": {}}
    answer = cluster.create(_MAY_I, review | {"spec": {"resourceAttributes": asked}}) or {}
    allowed = answer.get("status", {}).get("allowed", False)
    grant = f"kubectl create rolebinding NAME-edit -n {namespace} --clusterrole=edit --user=NAME"
    what = f"may you {verb} {resource} in {namespace}"
    return Finding(what, "yes" if allowed else "no", "" if allowed else grant)


def _gpus(cluster: Cluster) -> Finding:
    try:
        nodes = cluster.find(_NODE, None)
    except Forbidden:
        return Finding("GPUs", "unknown: your role lists no nodes", _ASK, needed=False)
    counted: dict[str, int] = {}
    for node in nodes:
        for resource, count in node.get("status", {}).get("allocatable", {}).items():
            if resource.endswith("/gpu"):
                counted[resource] = counted.get(resource, 0) + int(count)
    if not any(counted.values()):
        return Finding("GPUs", f"none on {len(nodes)} nodes", _DEVICE_PLUGIN, needed=False)
    return Finding("GPUs", ", ".join(f"{count} {resource}" for resource, count in sorted(counted.items())))


def _store(url: str) -> Iterator[Finding]:
    """Yield what the credentials here may do in the store: what a promotion needs."""
    where = without_secrets(url)
    mend = (
        "give these credentials list, get, put and delete below it, on a server that heeds If-Match and If-None-Match; "
        f"then: callwright doctor --store {where}"
    )
    try:
        store = Store.open(url, patience_seconds=10)
        store.list("models")
        yield Finding(f"list in {where}", "works")
        key = f"doctor/{secrets.token_hex(8)}"
        etag = store.put_bytes(key, b"1", if_absent=True)
        try:
            yield _refused(store, f"put if absent in {where}", key, mend, if_absent=True)
            store.put_bytes(key, b"2", if_match=etag)
            yield _refused(store, f"put if unchanged in {where}", key, mend, if_match=etag)
        finally:
            store.delete_keys([key])
    except CallwrightError as error:
        yield Finding(f"store {where}", str(error), mend)


def _refused(
    store: Store, what: str, key: str, mend: str, *, if_match: str | None = None, if_absent: bool = False
) -> Finding:
    """Try the write whose condition does not hold."""
    try:
        store.put_bytes(key, b"3", if_match=if_match, if_absent=if_absent)
    except Conflict:
        return Finding(what, "works")
    return Finding(what, "the store writes all the same: two promotions could undo one another", mend)
