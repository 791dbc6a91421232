"""The charts as Helm itself renders them: every value set against the real schemas and the rules for pods.

Also: closed and documented values, refusals of contradictions, and configurations that our own rooms read.
"""

import json
import re
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from prometheus_client import generate_latest

import manifests
from callwright import spec
from callwright.controller.config import Allowed, ControllerConfig, Rdma
from callwright.controller.metrics import Metrics as ControllerMetrics
from callwright.server.config import ServerConfig
from callwright.sidecar.admission import Gate
from callwright.sidecar.budget import Budget
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.telemetry import Metrics as SidecarMetrics
from callwright.spec import chart_values
from manifests import CHARTS, SERVING, VALUE_SETS, Object, only, render, values_of

SPEC: Object = {"base": {"model": "m"}, "data": {"sources": [{"path": "p"}]}}
FINETUNE: Object = {"spec": SPEC}


@pytest.mark.parametrize("path", VALUE_SETS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_value_sets_render_to_valid_objects(path: Path, shared: Path) -> None:
    made = render(path.parts[-3], values_of(path))
    assert made
    for each in made:
        name = f"{each['kind']} {each['metadata']['name']}"
        assert manifests.problems(each, kuberay=shared / "crds/kuberay") == [], name
        for where, pod in manifests.pods(each):
            assert manifests.unsafe(pod) == [], f"{name}{where}"
        if each["kind"] not in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"):
            assert "namespace" in each["metadata"], name
        assert {"app.kubernetes.io/managed-by", "helm.sh/chart"} <= set(each["metadata"]["labels"]), name


@pytest.mark.parametrize("chart", ["callwright", "finetune", "serving"])
def test_lint_finds_nothing(chart: str, charts: Path) -> None:
    for path in sorted((CHARTS / chart / "ci").glob("*.yaml")):
        found = helm.lint(charts / chart, values_of(path))
        assert [each for each in found["messages"] if each["severity"] in ("WARNING", "ERROR", 2, 3)] == []


FOREIGN = re.compile(
    r"global|kuberay-operator|Base\.templateArguments|(controller|head|workers)\.affinity\.\w+|networkPolicy\.egress\[\]|Engine\.extra"
    r"|(runs\.templates\.\w+|(head|workers)\.podTemplate)\.(metadata|spec)|sidecar\.container|cluster\.resources|env\[\]\.valueFrom|volumes\[\]|volumeMounts\[\]"
)
"""Values of other charts, which close their own, and shapes that only Kubernetes or vLLM knows whole."""


@pytest.mark.parametrize("chart", ["callwright", "finetune", "serving"])
def test_values_are_closed(chart: str) -> None:
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())

    def walk(node: Object, path: str) -> None:
        if FOREIGN.fullmatch(path):
            return
        if node.get("type") == "object":
            assert node.get("additionalProperties", True) is not True, f"{path} is open"
        for name, child in (node.get("properties", {}) | node.get("$defs", {})).items():
            walk(child, f"{path}.{name}".removeprefix("."))
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                walk(node[key], f"{path}[]")
        for child in node.get("anyOf", ()):
            walk(child, path)

    walk(schema, "")


@pytest.mark.parametrize("chart", ["callwright", "finetune", "serving"])
def test_values_are_documented_and_in_the_schema(chart: str) -> None:
    text = (CHARTS / chart / "values.yaml").read_text()
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    said = chart_values.comments(text)

    def walk(node: Object, value: Any, path: tuple[str, ...]) -> None:
        if path in said:
            return
        assert isinstance(value, dict), f"{'.'.join(path)} has no comment in values.yaml"
        assert set(node["properties"]) - {"global"} == set(value), path
        for key, child in value.items():
            walk(node["properties"][key], child, (*path, key))

    walk(schema, yaml.safe_load(text), ())


@pytest.mark.parametrize(
    ("chart", "values", "said"),
    [
        ("callwright", {}, "store.url is needed"),
        ("callwright", {"store": {"url": "file:///data/store"}}, "needs runs.claim"),
        ("callwright", {"store": {"url": "file:///tmp"}, "runs": {"claim": "c"}}, "not on the claim"),
        (
            "callwright",
            {"store": {"url": "s3://b"}, "serviceAccount": {"create": False}},
            "serviceAccount.name is needed",
        ),
        ("callwright", {"store": {"url": "s3://b"}, "images": {"tag": "latest"}}, "tag"),
        ("callwright", {"store": {"url": "s3://b"}, "replicas": 2}, "replicas"),
        (
            "callwright",
            {"store": {"url": "s3://b"}, "controller": {"clusterWide": True, "namespaces": ["a"]}},
            "exclude each other",
        ),
        ("callwright", {"store": {"url": "s3://b"}, "runs": {"allowed": {"mountRoots": ["/usr"]}}}, "mountRoots"),
        (
            "callwright",
            {"store": {"url": "s3://b"}, "runs": {"allowed": {"mountRoots": ["/mnt/../usr"]}}},
            "mountRoots",
        ),
        ("callwright", {"store": {"url": "s3://b"}, "runs": {"allowed": {"stores": ["file:///etc"]}}}, "stores"),
        ("callwright", {"store": {"url": "s3://b"}, "runs": {"allowed": {"stores": ["memory://m"]}}}, "stores"),
        (
            "callwright",
            {"store": {"url": "gs://b", "existingSecret": "s"}, "objectStore": {"enabled": True}},
            "s3://BUCKET",
        ),
        ("callwright", {"store": {"url": "s3://b"}, "objectStore": {"enabled": True}}, "needs store.existingSecret"),
        ("callwright", {"store": {"url": "s3://b"}, "commonLabels": {"app.kubernetes.io/name": "a"}}, "io/name"),
        ("serving", {}, "model.name is needed"),
        ("serving", {"model": {"name": "a"}}, "store.url is needed"),
        ("serving", SERVING | {"serve": {"minReplicas": 3, "maxReplicas": 2}}, "is above serve.maxReplicas"),
        ("serving", SERVING | {"ingress": {"enabled": True}}, "ingress.host is needed"),
        ("serving", SERVING | {"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is needed"),
        ("serving", SERVING | {"fullnameOverride": "7b"}, "starts with a letter"),
        ("serving", SERVING | {"service": {"nodePort": 30100}}, "expected NodePort"),
        ("serving", SERVING | {"model": {"name": "a", "engine": {"maxLen": 4}}}, "maxLen"),
        ("serving", SERVING | {"sidecar": {"flags": {"port": 1}}}, "port"),
        ("serving", SERVING | {"commonLabels": {"callwright.io/serving": "a"}}, "io/serving"),
        ("finetune", {}, "base"),
        ("finetune", FINETUNE | {"dataset": {"claim": "a", "configMap": "b"}}, "exclude each other"),
        ("finetune", FINETUNE | {"existingSecret": "a", "spec": SPEC | {"cluster": {"secret": "b"}}}, "keep one"),
        ("finetune", {"spec": {"base": {"model": "m"}, "data": {"sources": []}}}, "sources"),
        (
            "finetune",
            {"spec": SPEC | {"lora": {"r": 8}}},
            "lora",
        ),
    ],
)
def test_contradictions_and_unknown_values_are_refused(chart: str, values: Object, said: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(said)):
        render(chart, values)


def test_finetune_refuses_a_source_that_is_not_there() -> None:
    values = values_of(CHARTS / "finetune/ci/inline-values.yaml")
    values["spec"]["data"]["sources"] = [{"path": "/dataset/other.jsonl"}]
    with pytest.raises(helm.HelmError, match=r"dataset\.files has tools\.jsonl"):
        render("finetune", values)


@pytest.mark.parametrize("path", sorted((CHARTS / "callwright/ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_controller_reads_its_configuration(path: Path) -> None:
    text = only(render("callwright", values_of(path)), "ConfigMap")["data"]["controller.yaml"]
    config = ControllerConfig.model_validate(yaml.safe_load(text))
    assert config.images.trainer.partition(":")[2]


def test_the_controller_is_told_of_rdma_and_of_the_preparation() -> None:
    runs = {
        "rdma": {"resource": "rdma/hca", "count": 2, "ipcLock": False},
        "prepare": {"cpu": "8", "memory": "32Gi"},
        "deadlineSeconds": {"prepare": 600},
        "templates": {"prepare": {"spec": {"nodeSelector": {"pool": "cpu"}}}},
    }
    values = {"store": {"url": "s3://b"}, "runs": runs}
    text = only(render("callwright", values), "ConfigMap")["data"]["controller.yaml"]
    pods = ControllerConfig.model_validate(yaml.safe_load(text)).pods
    assert pods.rdma == Rdma(resource="rdma/hca", count=2, ipc_lock=False)
    assert (pods.prepare.cpu, pods.prepare.memory, pods.deadline_seconds.prepare) == ("8", "32Gi", 600)
    assert pods.templates["prepare"] == {"spec": {"nodeSelector": {"pool": "cpu"}}}
    with pytest.raises(helm.HelmError, match="resource"):
        render("callwright", {"store": {"url": "s3://b"}, "runs": {"rdma": {"count": 2}}})


@pytest.mark.parametrize("path", sorted((CHARTS / "finetune/ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_finetune_is_a_document(path: Path) -> None:
    values = values_of(path)
    document = spec.parse(yaml.safe_dump(only(render("finetune", values), "FineTune")))
    (mount,) = document.spec.cluster.mounts
    assert mount.path == "/dataset"
    if "queue" in values:
        assert document.metadata.labels["kueue.x-k8s.io/queue-name"] == values["queue"]


@pytest.mark.parametrize("path", sorted((CHARTS / "serving/ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_rooms_read_what_serving_tells_them(path: Path) -> None:
    service = only(render("serving", values_of(path)), "RayService")["spec"]
    (application,) = yaml.safe_load(service["serveConfigV2"])["applications"]
    config = ServerConfig.model_validate(application["args"])
    assert application["import_path"] == "callwright.server.app:build"
    (group,) = service["rayClusterConfig"]["workerGroupSpecs"]
    gpus = config.models[0].engine.tensor_parallel_size if config.device == "gpu" else 0
    assert group["rayStartParams"]["num-gpus"] == str(gpus)
    assert float(group["rayStartParams"]["num-cpus"]) == config.cpus
    assert group["maxReplicas"] >= config.max_replicas
    sidecar = group["template"]["spec"]["initContainers"][0]
    assert sidecar["restartPolicy"] == "Always"
    pairs = [flag.removeprefix("--").split("=", 1) for flag in sidecar["command"][3:]]
    flags = {name: value for name, value in pairs if name not in ("model", "dialect")}
    assert (flags.pop("host"), flags.pop("port")) == ("0.0.0.0", "8100")
    known = {name.replace("_", "-") for name in SidecarConfig.model_fields}
    assert set(flags) <= known
    SidecarConfig.model_validate({name.replace("-", "_"): value for name, value in flags.items()})


def test_service_reaches_the_sidecars_of_workers_and_of_the_head_without_workers() -> None:
    for least, head_has_one in ((1, False), (0, True)):
        made = render("serving", SERVING | {"serve": {"minReplicas": least}})
        wanted = only(made, "Service")["spec"]["selector"].items()
        cluster = only(made, "RayService")["spec"]["rayClusterConfig"]
        worker, head = cluster["workerGroupSpecs"][0]["template"], cluster["headGroupSpec"]["template"]
        assert wanted <= worker["metadata"]["labels"].items()
        assert (wanted <= head["metadata"]["labels"].items()) is head_has_one
        assert [each["name"] for each in head["spec"].get("initContainers", ())] == (
            ["sidecar"] if head_has_one else []
        )


def test_a_pinned_version_reaches_the_server_and_no_pod() -> None:
    """Another version in a pod's template would make KubeRay start a second RayCluster; the sidecar learns it from
    the replica."""
    pods = []
    for version in ("v7", "v8"):
        made = render("serving", SERVING | {"model": {"name": "assistant", "id": "chat", "version": version}})
        service = only(made, "RayService")["spec"]
        assert yaml.safe_load(service["serveConfigV2"])["applications"][0]["args"]["models"][0]["version"] == version
        pods.append(service["rayClusterConfig"])
    assert pods[0] == pods[1]
    command = pods[0]["workerGroupSpecs"][0]["template"]["spec"]["initContainers"][0]["command"]
    assert "--model=chat=assistant" in command


def test_crd_can_be_left_out_or_let_go() -> None:
    values: Object = {"store": {"url": "s3://b"}}
    kept = only(render("callwright", values), "CustomResourceDefinition")
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    let_go = only(render("callwright", values | {"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in let_go["metadata"]
    kinds = {each["kind"] for each in render("callwright", values | {"crds": {"enabled": False}})}
    assert "CustomResourceDefinition" not in kinds


@pytest.mark.parametrize(
    ("chart", "values"), [("callwright", "tryout"), ("finetune", "inline"), ("serving", "minimal")]
)
def test_names_stay_short_under_a_long_release(chart: str, values: str) -> None:
    given = values_of(CHARTS / chart / f"ci/{values}-values.yaml")
    made = render(chart, given, release=f"r{'0123456789' * 5}ab"[: 52 if chart == "finetune" else 53])
    for each in made:
        limit = {"RayService": 47, "StatefulSet": 52, "CustomResourceDefinition": 253, "ClusterRole": 253}.get(
            each["kind"], 63
        )
        assert len(each["metadata"]["name"]) <= limit, each["kind"]
        assert not each["metadata"]["name"].endswith("-")


def test_operator_comes_along_only_when_asked_for(charts: Path) -> None:
    values: Object = {"store": {"url": "s3://b"}}
    for enabled in (False, True):
        operator = {"kuberay-operator": {"enabled": enabled, "batch": "yes"}}
        made = render("callwright", values | operator, folder=charts)
        found = [each for each in made if each["metadata"]["name"] == "operator"]
        assert [each["data"]["batch"] for each in found] == ["yes"] * enabled


def test_object_store_serves_the_bucket_of_the_store() -> None:
    made = render("callwright", values_of(CHARTS / "callwright/ci/tryout-values.yaml"))
    store = only(made, "StatefulSet")["spec"]
    (container,) = store["template"]["spec"]["containers"]
    assert "-bucket=callwright" in container["args"]
    assert {each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"] if "valueFrom" in each} == {
        "callwright-run"
    }
    labels = store["template"]["metadata"]["labels"].items()
    reached = [each["metadata"]["name"] for each in made if each["kind"] == "Service" and selects(each, labels)]
    assert reached == ["release-callwright-store"]


def test_monitoring_reaches_every_pod() -> None:
    made = render("serving", SERVING | {"metrics": {"serviceMonitor": {"enabled": True}}})
    monitor = only(made, "ServiceMonitor")["spec"]
    services = [each for each in made if each["kind"] == "Service"]
    wanted = monitor["selector"]["matchLabels"].items()
    (watched,) = [each for each in services if wanted <= each["metadata"]["labels"].items()]
    assert {each["port"] for each in monitor["endpoints"]} == {each["name"] for each in watched["spec"]["ports"]}
    cluster, named = only(made, "RayService")["spec"]["rayClusterConfig"], set[str]()
    for pod in (cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]):
        assert selects(watched, pod["metadata"]["labels"].items())
        containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
        ports = {port["name"] for each in containers for port in each["ports"]}
        assert {"metrics", "haproxy"} <= ports, "Ray's own, with vLLM's, and those of the node's proxy"
        named |= ports
    assert {each["targetPort"] for each in watched["spec"]["ports"]} <= named, "sidecars and the head's autoscaler too"


ALERTS = {
    "callwright": {"RunFailed", "RunHeldUp", "LooksFail", "StoreAway"},
    "serving": {"MalformedCalls", "SlowFirstToken", "Errors", "NoEngine"},
}


@pytest.mark.parametrize("chart", ALERTS)
def test_alerts_ask_for_metrics_that_there_are_and_say_what_to_do(chart: str) -> None:
    values: Object = {"callwright": {"store": {"url": "s3://b"}}, "serving": SERVING}[chart]
    made = only(render(chart, values | {"metrics": {"rules": {"enabled": True}}}), "PrometheusRule")
    (group,) = made["spec"]["groups"]
    controller, sidecar = generate_latest(ControllerMetrics().registry), SidecarMetrics(Gate(1, 1), Budget(1)).text()
    exposed = (controller if chart == "callwright" else sidecar).decode()
    for rule in group["rules"]:
        asked = set(re.findall(r"callwright_[a-z_]+", rule["expr"]))
        assert asked, rule["alert"]
        assert [name for name in asked if name.removesuffix("_bucket") not in exposed] == []
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert {"summary", "runbook"} == rule["annotations"].keys()
        assert "{{" not in rule["annotations"]["runbook"]
    assert {f"Callwright{name}" for name in ALERTS[chart]} <= {rule["alert"] for rule in group["rules"]}


@pytest.mark.parametrize("least", [0, 1])
def test_no_replica_is_an_alert_unless_all_may_go(least: int) -> None:
    made = render("serving", SERVING | {"serve": {"minReplicas": least}, "metrics": {"rules": {"enabled": True}}})
    (group,) = only(made, "PrometheusRule")["spec"]["groups"]
    (rule,) = [each for each in group["rules"] if each["alert"] == "CallwrightNoEngine"]
    assert ("absent(" in rule["expr"]) is bool(least)


def test_who_may_edit_a_namespace_may_edit_its_documents() -> None:
    made = [each for each in render("callwright", {"store": {"url": "s3://b"}}) if each["kind"] == "ClusterRole"]
    granted = {
        role: set(rule["verbs"])
        for each in made
        for role in ("view", "edit", "admin")
        if each["metadata"]["labels"].get(f"rbac.authorization.k8s.io/aggregate-to-{role}") == "true"
        for rule in each["rules"]
    }
    assert granted["view"] == {"get", "list", "watch"}
    assert granted["edit"] == granted["admin"] >= {"create", "patch", "delete"}


def selects(service: Object, labels: Any) -> bool:
    return bool(service["spec"]["selector"].items() <= labels)


def test_selectors_hold_no_labels_of_the_user() -> None:
    values: Object = {
        "store": {"url": "s3://b"},
        "commonLabels": {"team": "a"},
        "controller": {"podLabels": {"tier": "b"}},
    }
    deployment = only(render("callwright", values), "Deployment")
    assert not {"team", "tier"} & set(deployment["spec"]["selector"]["matchLabels"])
    assert {"team", "tier"} <= set(deployment["spec"]["template"]["metadata"]["labels"])


def test_the_controller_watches_its_own_namespace_unless_told_otherwise() -> None:
    values: Object = {"store": {"url": "s3://b"}, "rbac": {"aggregate": False}}

    def seen(controller: Object) -> tuple[set[tuple[str, str]], list[str]]:
        made = render("callwright", values | {"controller": controller}, namespace="team-a")
        roles = {(each["kind"], each["metadata"].get("namespace", "")) for each in made if "Role" in each["kind"]}
        return roles, yaml.safe_load(only(made, "ConfigMap")["data"]["controller.yaml"])["namespaces"]

    assert seen({}) == ({("Role", "team-a"), ("RoleBinding", "team-a")}, ["team-a"])
    assert seen({"namespaces": ["b"]}) == ({("Role", "b"), ("RoleBinding", "b")}, ["b"])
    assert seen({"clusterWide": True}) == ({("ClusterRole", ""), ("ClusterRoleBinding", "")}, [])


def test_what_documents_may_name_reaches_the_controller() -> None:
    values: Object = {"store": {"url": "s3://b"}}

    def allowed(runs: Object) -> Allowed:
        text = only(render("callwright", values | {"runs": runs}), "ConfigMap")["data"]["controller.yaml"]
        return ControllerConfig.model_validate(yaml.safe_load(text)).allowed

    assert allowed({}) == Allowed(), "the chart's default is the controller's"
    opened: Object = {"secrets": ["keys"], "stores": ["s3://other"], "mountRoots": ["/mnt/corpora"], "claims": []}
    given = allowed({"allowed": opened})
    assert (given.secrets, given.stores, given.mount_roots, given.claims) == (
        ("keys",), ("s3://other",), ("/mnt/corpora",), (),
    )  # fmt: skip
    assert given.engine_options == Allowed().engine_options
    assert allowed({"allowed": None}) == Allowed(), "as where an earlier release's values are used again"


def test_a_tenant_s_secret_is_where_the_controller_looks_for_it() -> None:
    """And in no environment, where it would be another tenant's, too."""
    made = render("callwright", values_of(CHARTS / "callwright/ci/namespaced-values.yaml"), namespace="release")
    config = ControllerConfig.model_validate(yaml.safe_load(only(made, "ConfigMap")["data"]["controller.yaml"]))
    pod = only(made, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    (volume,) = [each for each in pod["volumes"] if each["name"] == mounts[config.tenants["team-a"].credentials or ""]]
    assert volume["secret"]["secretName"] == "team-a-store"
    assert container["envFrom"] == [{"secretRef": {"name": "store-credentials"}}]
    assert (config.namespace, config.tenants["team-b"].credentials) == ("release", None)
    of_a, of_b = config.of("team-a"), config.of("team-b")
    assert (of_a.store, of_a.pods.secret, of_a.pods.service_account) == ("s3://team-a", "team-a-run", "team-a")
    assert (of_b.store, of_b.pods.secret, of_b.pods.service_account) == (config.store, "callwright-run", "runs")
    assert (of_a.allowed.stores, of_a.allowed.claims, of_b.allowed.claims) == (("s3://shared/corpora",), ("*",), ())


def test_there_is_one_controller_at_a_time() -> None:
    deployment = only(render("callwright", {"store": {"url": "s3://b"}}), "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
