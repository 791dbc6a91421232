"""What the chart `serving` promises: who gets in, where its pods go, that streams outlive a worker's end.

Commands out of the rendered pods run here as processes, against a sidecar.
"""

import base64
import copy
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from callwright.cli.crd import ray_serve_env
from callwright.controller.rollout import SERVE_CONFIG
from callwright.server.config import RAY_SERVE_ENV, ServerConfig
from callwright.server.draining import STOP_SECONDS
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Engine, Served, Text
from manifests import CHARTS, SERVING, Object, only, problems, render, values_of

RAY_STOPS_SECONDS = 30
"""More than `ray start --block` takes to end Ray's processes."""


def cluster_of(made: list[Object]) -> Object:
    found: Object = only(made, "RayService")["spec"]["rayClusterConfig"]
    return found


def worker_of(made: list[Object]) -> Object:
    found: Object = cluster_of(made)["workerGroupSpecs"][0]["template"]
    return found


@pytest.fixture
def production() -> list[Object]:
    return render("serving", values_of(CHARTS / "serving/ci/production-values.yaml"))


@pytest.fixture
def hold() -> Iterator[threading.Event]:
    """The engine's answers wait for it."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def sidecar(hold: threading.Event) -> Iterator[Served]:
    with (
        Served(Engine(lambda _: Text(["Hello!"], hold=hold))) as upstream,
        Served(create_app(SidecarConfig(upstream=upstream.url, dialects={"*": "hermes"}))) as served,
    ):
        yield served


def chat(url: str) -> bytes:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        whole: bytes = answer.read()
    return whole


def run(command: list[str], *, at: str, instead_of: str = "http://127.0.0.1:8100") -> "subprocess.Popen[bytes]":
    """Run a container's command here, against the server `at`."""
    words = [word.replace(instead_of, at) for word in command]
    assert words != command
    assert words[0] == "python"
    return subprocess.Popen([sys.executable, *words[1:]])


def test_worker_ends_once_its_sidecar_has_answered(sidecar: Served, hold: threading.Event) -> None:
    (container,) = worker_of(render("serving", SERVING))["spec"]["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(chat, sidecar.url)
        while b"callwright_active_requests 1.0" not in urllib.request.urlopen(f"{sidecar.url}/metrics").read():
            assert not answer.done()
        with run([*command, "--linger-seconds=0"], at=sidecar.url) as waiting:
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(timeout=3.5)  # it has looked once and goes on waiting
            hold.set()
            assert b"Hello!" in answer.result()
            assert waiting.wait(timeout=60) == 0


def test_worker_with_an_idle_sidecar_or_none_ends_at_once(sidecar: Served) -> None:
    pod = worker_of(render("serving", SERVING))["spec"]
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    ending = [run([*command, "--linger-seconds=0"], at=url) for url in (sidecar.url, "http://127.0.0.1:1")]
    assert [process.wait(timeout=60) for process in ending] == [0, 0]


@pytest.mark.parametrize(
    "serve", [{}, {"drainSeconds": 0, "replacementSeconds": 0}, {"minReplicas": 0, "drainSeconds": 900}]
)
def test_a_pod_may_take_as_long_to_end_as_what_it_waits_for(serve: Object) -> None:
    """Serve's time for its streams, and before it the replacement's; then Serve's, Ray's and the sidecar's own ends."""
    made = render("serving", SERVING | {"serve": serve})
    drain, replacement = serve.get("drainSeconds", 120), serve.get("replacementSeconds", 120)
    (application,) = yaml.safe_load(only(made, "RayService")["spec"]["serveConfigV2"])["applications"]
    assert application["args"]["drainSeconds"] == drain
    head, worker = cluster_of(made)["headGroupSpec"]["template"]["spec"], worker_of(made)["spec"]
    for pod, waited in ((head, drain), (worker, drain + replacement)):
        (ray,) = pod["containers"]
        words = dict(word.split("=") for word in ray["lifecycle"]["preStop"]["exec"]["command"] if "=" in word)
        assert float(words["--drain-seconds"]) + float(words.get("--replacement-seconds", 0)) == waited
        assert ("--metrics" in words) is bool(pod.get("initContainers"))
        assert pod["terminationGracePeriodSeconds"] >= waited + STOP_SECONDS + RAY_STOPS_SECONDS
        (proxy,) = (each for each in ray["env"] if each["name"] == "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S")
        assert float(proxy["value"]) > drain + replacement


@pytest.mark.parametrize(("model", "code"), [("m", 0), ("other", 1)])
def test_helm_test_asks_the_service_for_its_model(sidecar: Served, model: str, code: int) -> None:
    (container,) = only(render("serving", SERVING | {"model": {"name": model}}), "Pod")["spec"]["containers"]
    assert container["command"][-1] == model
    with run(container["command"], at=sidecar.url, instead_of="http://release-serving:80") as asking:
        assert asking.wait(timeout=60) == code


def test_clients_reach_the_sidecar_only_and_ray_its_own_pods(production: list[Object]) -> None:
    policy = only(production, "NetworkPolicy")["spec"]
    opened = {port["port"]: rule.get("from") for rule in policy["ingress"] for port in rule.get("ports", ())}
    clients = {"namespaceSelector": {"matchLabels": {"clients": "yes"}}}
    monitors = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    to_sidecar = [rule["from"] for rule in policy["ingress"] if {"port": 8100} in rule.get("ports", ())]
    (controller,) = to_sidecar.pop(1)
    controllers = only(render("callwright", {"store": {"url": "s3://callwright"}}), "Deployment")["spec"]["template"]
    assert controller["podSelector"]["matchLabels"].items() <= controllers["metadata"]["labels"].items()
    assert to_sidecar == [[clients], [monitors]]
    assert set(opened) == {8100, 8265, 8080, 9101, 44217}
    (ray,) = [rule for rule in policy["ingress"] if "ports" not in rule]
    (peer,) = ray["from"]
    labels = worker_of(production)["metadata"]["labels"].items()
    assert peer["podSelector"]["matchLabels"].items() <= labels
    assert policy["podSelector"]["matchLabels"].items() <= labels
    everybody = only(render("serving", SERVING), "NetworkPolicy")["spec"]["ingress"]
    assert [port for rule in everybody if "from" not in rule for port in rule["ports"]] == [{"port": 8100}]


def test_pods_go_where_they_must_also_where_a_namespace_denies_by_default(production: list[Object]) -> None:
    policy = only(production, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"][1:] == [{}]
    bound = [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]
    policy = only(render("serving", SERVING | {"networkPolicy": {"egress": bound}}), "NetworkPolicy")["spec"]
    assert policy["egress"][1:] == bound
    test = only(production, "Pod")["metadata"]["labels"].items()
    assert policy["podSelector"]["matchLabels"].keys() <= dict(test).keys(), "`helm test` is one of them"


def test_another_version_of_the_chart_is_no_reason_for_another_ray_cluster(production: list[Object]) -> None:
    """KubeRay starts a second RayCluster where a pod's template differs."""
    assert "serving-" in only(production, "RayService")["metadata"]["labels"]["helm.sh/chart"]
    cluster = cluster_of(production)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        labels = group["template"]["metadata"]["labels"]
        assert not labels.keys() & {"helm.sh/chart", "app.kubernetes.io/version"}


def test_with_git_ops_the_chart_leaves_to_the_controller_what_it_would_write_itself() -> None:
    ours, theirs = (only(render("serving", SERVING | {"gitOps": on}), "RayService") for on in (False, True))
    annotations = theirs["metadata"].pop("annotations")
    assert annotations == {SERVE_CONFIG: ours["spec"].pop("serveConfigV2")}
    assert theirs["metadata"]["labels"].pop(SERVE_CONFIG), "by which the controller finds it"
    assert theirs == ours


def ray_cluster_hash(values: Object) -> str:
    """What KubeRay compares: the RayCluster without what the autoscaler changes, as JSON, by SHA-1."""
    cluster = copy.deepcopy(cluster_of(render("serving", values)))
    for group in cluster["workerGroupSpecs"]:
        for key in ("replicas", "minReplicas", "maxReplicas"):
            group.pop(key)
    digest = hashlib.sha1(json.dumps(cluster, sort_keys=True).encode(), usedforsecurity=False).digest()
    return base64.b32hexencode(digest).decode()


OTHER: dict[str, Any] = {
    "model.adapters": [{"id": "a", "path": "run:a", "dialect": "hermes"}],
    "model.engine.dtype": "float16",
    "model.engine.tensorParallelSize": 4,
    "store.url": "s3://other",
    "images.pullPolicy": "Always",
    "images.server.digest": "sha256:" + "0" * 64,
    "images.sidecar.digest": "sha256:" + "0" * 64,
    "serve.device": "cpu",
    "serve.minReplicas": 0,
    "serve.targetFirstTokenSeconds": 2.5,
    "serve.autoscaling": {"upscaling_factor": 2},
    "ray.version": "9.9.9",
    "ray.upgradeStrategy": "None",
    "ray.gcsFaultTolerance": {"redisAddress": "redis:6379"},
    "env": [{"name": "A", "value": "b"}],
    "volumes": [{"name": "a", "emptyDir": {}}],
    "volumeMounts": [{"name": "tmp", "mountPath": "/a"}],
    "head.podTemplate": {"spec": {"hostNetwork": True}},
    "workers.podTemplate": {"spec": {"hostNetwork": True}},
    "workers.cache.size": "9Gi",
    "workers.cache.hostPath": "/a",
    "workers.spread": "",
    "service.type": "LoadBalancer",
    "httpRoute.timeout": "9s",
    "metrics.serviceMonitor.interval": "9s",
    "metrics.rules.malformedRate": 0.9,
    "metrics.rules.errorRate": 0.9,
}
"""Another value, where one cannot be made from the value that is there."""
for _each in ("head.resources", "head.autoscalerResources", "sidecar.resources"):
    OTHER[_each] = {"requests": {"cpu": 9}}
for _each in ("head.tolerations", "workers.tolerations"):
    OTHER[_each] = [{"operator": "Exists"}]
for _each in ("head.affinity", "workers.affinity"):
    OTHER[_each] = {"podAntiAffinity": {}}
for _each in ("clients", "monitors", "operators", "controllers", "egress"):
    OTHER[f"networkPolicy.{_each}"] = []
OTHER["httpRoute.parentRefs"] = [{"name": "other"}]


def leaves(values: Object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the chart that stands by itself in its table, by its name."""
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value and name not in OTHER and key not in ("labels", "annotations"):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def changed(values: Object, name: str, value: Any) -> Object:
    made = copy.deepcopy(values)
    *path, last = name.split(".")
    inner = made
    for key in path:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return made


def another(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return "9Gi" if value.endswith("Gi") else "x"
        case list():
            return ["x"]
        case None:
            return 9
    return {"x": "y"}


def test_what_makes_another_ray_cluster_is_what_the_readme_says() -> None:
    """Every value of the chart is changed, in the least and in a full installation."""
    text = (CHARTS / "serving/README.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"is done by a change of:(.*?)In place go:(.*?)\n- ", text, re.DOTALL)
    another_cluster, in_place = (re.findall(r"`([a-z][\w.]*)`", each) for each in said)
    installed = [SERVING, values_of(CHARTS / "serving/ci/production-values.yaml")]
    before = [ray_cluster_hash(values) for values in installed]
    names = dict(leaves(values_of(CHARTS / "serving/values.yaml"))) | {"model.engine.tensorParallelSize": 1}
    names["model.engine.dtype"] = names.pop("model.engine")
    for name, value in names.items():
        rules = [rule for rule in (*another_cluster, *in_place) if f"{name}.".startswith(f"{rule}.")]
        assert rules, f"the README does not say what a change of {name} does"
        made = False
        for values, hashed in zip(installed, before, strict=True):
            try:
                made |= ray_cluster_hash(changed(values, name, another(name, value))) != hashed
            except helm.HelmError as error:
                if not re.search("is needed with|service.nodePort", str(error)):
                    raise
        assert made is (max(rules, key=len) in another_cluster), name


@pytest.mark.parametrize("pods", ["head", "workers"])
def test_a_pod_takes_whatever_a_pod_may_have(pods: str) -> None:
    """As `kubectl patch` merges it: things with a name one by one, other lists as a whole."""
    name = "ray-head" if pods == "head" else "ray-worker"
    patch = {
        "metadata": {"labels": {"team": "a"}},
        "spec": {
            "hostNetwork": True,
            "tolerations": [{"operator": "Exists"}],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}],
            "securityContext": {"fsGroup": 1000},
            "volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}, {"name": "more", "emptyDir": {}}],
            "containers": [
                {
                    "name": name,
                    "env": [{"name": "HOME", "value": "/home"}, {"name": "A", "value": "1"}],
                    "ports": [{"containerPort": 9101, "name": "proxy"}],
                    "resources": {"claims": [{"name": "gpu"}]},
                },
                {"name": "logs", "image": "logs:1"},
            ],
        },
    }
    values = SERVING | {
        "serve": {"minReplicas": 0},
        pods: {"podTemplate": patch},
        "sidecar": {"container": {"env": [{"name": "B", "value": "2"}]}},
    }
    before, after = (
        (cluster_of(made)["headGroupSpec"]["template"] if pods == "head" else worker_of(made))
        for made in (render("serving", SERVING | {"serve": {"minReplicas": 0}}), render("serving", values))
    )
    wanted = copy.deepcopy(before)
    wanted["metadata"]["labels"]["team"] = "a"
    spec = wanted["spec"]
    spec |= {key: patch["spec"][key] for key in ("hostNetwork", "tolerations", "resourceClaims")}
    spec["securityContext"]["fsGroup"] = 1000
    (tmp,) = (each for each in spec["volumes"] if each["name"] == "tmp")
    tmp["emptyDir"] = {"medium": "Memory"}
    spec["volumes"].append({"name": "more", "emptyDir": {}})
    (ray,) = spec["containers"]
    (home,) = (each for each in ray["env"] if each["name"] == "HOME")
    home["value"] = "/home"
    ray["env"].append({"name": "A", "value": "1"})
    (port,) = (each for each in ray["ports"] if each["containerPort"] == 9101)
    port["name"] = "proxy"
    ray["resources"]["claims"] = [{"name": "gpu"}]
    spec["containers"].append({"name": "logs", "image": "logs:1"})
    spec["initContainers"][0]["env"] = [{"name": "B", "value": "2"}]
    assert after == wanted
    other = "workers" if pods == "head" else "head"
    assert "team" not in json.dumps(cluster_of(render("serving", values | {pods: {}, other: {}})))


@pytest.mark.parametrize(("start", "silent"), [(1800, "1800"), (60, "600")])
def test_a_request_waits_for_a_worker_as_long_as_it_may_start(start: int, silent: str) -> None:
    """The sidecar bounds streams by the lesser of both flags, and whole answers by the second."""
    made = render("serving", SERVING | {"serve": {"minReplicas": 0, "startSeconds": start}})
    command = cluster_of(made)["headGroupSpec"]["template"]["spec"]["initContainers"][0]["command"]
    assert {f"--first-token-seconds={start}", f"--silent-seconds={silent}"} <= set(command)


@pytest.mark.parametrize(("least", "asks_the_engine"), [(0, False), (1, True)])
def test_no_probe_asks_an_engine_whose_replicas_may_all_go(least: int, asks_the_engine: bool) -> None:
    """To ask is to want one: a replica that has gone would be there again before its worker goes."""
    pod = worker_of(render("serving", SERVING | {"serve": {"minReplicas": least}}))["spec"]
    asked = {each["readinessProbe"]["httpGet"]["path"] for each in (*pod["initContainers"], *pod["containers"])}
    assert ("/readyz" in asked) is asks_the_engine


def test_helm_test_is_let_in_where_clients_are_named(production: list[Object]) -> None:
    labels = only(production, "Pod")["metadata"]["labels"].items()
    rules = only(production, "NetworkPolicy")["spec"]["ingress"]
    peers = [peer for rule in rules if "ports" not in rule for peer in rule["from"]]
    assert any(peer["podSelector"]["matchLabels"].items() <= labels for peer in peers)


def test_nothing_but_gpu_workers_asks_for_gpus_and_they_go_when_nobody_asks(production: list[Object]) -> None:
    cluster = cluster_of(production)
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    head = cluster["headGroupSpec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in json.dumps(head)
    assert [each["name"] for each in head["initContainers"]] == ["sidecar"]
    (group,) = cluster["workerGroupSpecs"]
    # Eight replicas, and a quarter more while a new version takes over.
    assert (group["minReplicas"], group["maxReplicas"]) == (0, 10)
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert group["template"]["spec"]["nodeSelector"] == {"accelerator": "h100"}


def test_a_lost_head_finds_its_state_where_the_operator_says(shared: Path) -> None:
    password = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}
    options: Object = {"redisAddress": "redis:6379", "redisPassword": password}
    made = render("serving", SERVING | {"ray": {"gcsFaultTolerance": options}})
    assert cluster_of(made)["gcsFaultToleranceOptions"] == options
    assert problems(only(made, "RayService"), kuberay=shared / "crds/kuberay") == []
    assert "gcsFaultToleranceOptions" not in cluster_of(render("serving", SERVING))
    shared_state = {"ray": {"gcsFaultTolerance": options | {"externalStorageNamespace": "a"}}}
    with pytest.raises(helm.HelmError, match="the next RayCluster would take the state"):
        render("serving", SERVING | shared_state)


def test_autoscaling_settings_reach_the_server() -> None:
    given = {"look_back_period_s": 60, "policy": {"policy_function": "a.b:c"}}
    values = SERVING | {"serve": {"autoscaling": given, "targetFirstTokenSeconds": 2.5}}
    made = only(render("serving", values), "RayService")
    (application,) = yaml.safe_load(made["spec"]["serveConfigV2"])["applications"]
    config = ServerConfig.model_validate(application["args"])
    assert (config.autoscaling, config.target_first_token_seconds) == (given, 2.5)


def test_ray_asks_for_a_token_unless_told_otherwise() -> None:
    assert cluster_of(render("serving", SERVING))["authOptions"] == {"mode": "token"}
    assert "authOptions" not in cluster_of(render("serving", SERVING | {"ray": {"tokenAuth": False}}))


def test_drains_and_spread_count_the_workers_only(production: list[Object]) -> None:
    budget = only(production, "PodDisruptionBudget")["spec"]
    (spread,) = worker_of(production)["spec"]["topologySpreadConstraints"]
    wanted = {
        "app.kubernetes.io/instance": "release",
        "callwright.io/serving": "assistant",
        "ray.io/node-type": "worker",
    }
    assert budget["selector"]["matchLabels"] == spread["labelSelector"]["matchLabels"] == wanted
    assert spread["whenUnsatisfiable"] == "DoNotSchedule"


@pytest.mark.parametrize(
    ("values", "stay"),
    [
        ({}, 0),
        ({"serve": {"minReplicas": 0, "maxReplicas": 4}}, 0),
        ({"serve": {"minReplicas": 3, "maxReplicas": 4}}, 2),
        ({"serve": {"minReplicas": 3, "maxReplicas": 4}, "podDisruptionBudget": {"minAvailable": 0}}, 0),
        ({"podDisruptionBudget": {"minAvailable": 5}}, 5),
    ],
)
def test_a_budget_counts_the_pods_that_must_stay(values: Object, stay: int) -> None:
    """Kubernetes cannot count what may go of a RayCluster's pods, and lets none go."""
    budget = only(render("serving", SERVING | values), "PodDisruptionBudget")["spec"]
    assert (budget["minAvailable"], "maxUnavailable" in budget) == (stay, False)


def test_pods_take_what_a_cluster_asks_of_them() -> None:
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    values = {
        "serviceAccount": {"create": True, "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"}},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy"}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
        "head": {"affinity": affinity, "priorityClassName": "high", "podAnnotations": {"note": "head"}},
        "workers": {"affinity": affinity, "runtimeClassName": "nvidia"},
        "ray": {"upgradeStrategy": "None"},
    }
    made = render("serving", SERVING | values)
    account = only(made, "ServiceAccount")["metadata"]
    assert only(made, "RayService")["spec"]["upgradeStrategy"] == {"type": "None"}
    for pod in (cluster_of(made)["headGroupSpec"]["template"], worker_of(made)):
        spec = pod["spec"]
        assert (spec["serviceAccountName"], spec["affinity"]) == (account["name"], affinity)
        assert values["env"][0] in spec["containers"][0]["env"]
        assert values["volumes"][0] in spec["volumes"]
        assert values["volumeMounts"][0] in spec["containers"][0]["volumeMounts"]
    assert worker_of(made)["spec"]["runtimeClassName"] == "nvidia"
    head = cluster_of(made)["headGroupSpec"]["template"]
    assert (head["spec"]["priorityClassName"], head["metadata"]["annotations"]) == ("high", {"note": "head"})
    assert "serviceAccountName" not in worker_of(render("serving", SERVING))["spec"]


def test_streams_may_run_for_an_hour_through_either_door(production: list[Object]) -> None:
    annotations = only(production, "Ingress")["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    (rule,) = only(production, "HTTPRoute")["spec"]["rules"]
    assert rule["timeouts"] == {"request": "3600s", "backendRequest": "3600s"}
    service = only([each for each in production if each["metadata"]["name"] == "assistant"], "Service")
    (path,) = only(production, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    (port,) = service["spec"]["ports"]
    assert path["backend"]["service"] == {"name": "assistant", "port": {"name": port["name"]}}
    assert rule["backendRefs"] == [{"name": "assistant", "port": port["port"]}]


def test_keys_are_files_of_a_secret(production: list[Object]) -> None:
    pod = worker_of(production)["spec"]
    (sidecar,) = pod["initContainers"]
    assert "--api-keys-file=/etc/callwright/keys/api-keys" in sidecar["command"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "api-keys"]
    assert volume["secret"]["secretName"] == "api-keys"
    assert {"name": "api-keys", "mountPath": "/etc/callwright/keys", "readOnly": True} in sidecar["volumeMounts"]
    (ray,) = pod["containers"]
    assert "api-keys" not in {each["name"] for each in ray["volumeMounts"]}


def _cache(objects: list[Object]) -> tuple[Object, Object, Object]:
    """The server's settings, the volume of its cache, and what its container asks for."""
    (application,) = yaml.safe_load(only(objects, "RayService")["spec"]["serveConfigV2"])["applications"]
    pod = worker_of(objects)["spec"]
    (ray,) = pod["containers"]
    (mount,) = [each for each in ray["volumeMounts"] if application["args"]["cacheDir"].startswith(each["mountPath"])]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert "readOnly" not in mount
    return application["args"], volume, ray["resources"]["requests"]


@pytest.mark.parametrize(
    ("size", "most_bytes"),
    [
        ("100Gi", 102005473280),
        ("1.5Ti", 1566804069580),
        ("80G", 76000000000),
        ("4e10", 38000000000),
        ("1E", 95 * 10**16),
    ],
)
def test_versions_are_fetched_to_the_nodes_own_disk_which_is_asked_for_and_bounded(size: str, most_bytes: int) -> None:
    arguments, volume, requests = _cache(render("serving", SERVING | {"workers": {"cache": {"size": size}}}))
    assert volume == {"name": "cache", "emptyDir": {"sizeLimit": size}}
    assert requests["ephemeral-storage"] == size
    assert ServerConfig.model_validate(arguments).cache_bytes == most_bytes


@pytest.mark.parametrize(
    ("named", "source"),
    [
        ({"claim": "versions"}, {"persistentVolumeClaim": {"claimName": "versions"}}),
        ({"hostPath": "/var/lib/callwright"}, {"hostPath": {"path": "/var/lib/callwright", "type": "Directory"}}),
    ],
    ids=["claim", "hostPath"],
)
def test_versions_are_kept_on_a_claim_or_in_a_folder_of_the_node(named: Object, source: Object) -> None:
    arguments, volume, requests = _cache(render("serving", SERVING | {"workers": {"cache": named}}))
    assert volume == {"name": "cache"} | source
    assert "ephemeral-storage" not in requests
    assert arguments["cacheBytes"] == "40802189312"


def test_a_cache_in_two_places_is_refused() -> None:
    with pytest.raises(helm.HelmError, match=r"workers\.cache has a claim and a hostPath; expected one of them"):
        render("serving", SERVING | {"workers": {"cache": {"claim": "a", "hostPath": "/b"}}})


def test_dashboard_shows_what_the_sidecar_counts(production: list[Object], sidecar: Served) -> None:
    (board,) = [each for each in production if each["metadata"]["name"] == "assistant-dashboard"]
    panels = json.loads(board["data"]["callwright-serving.json"])["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    counted = urllib.request.urlopen(f"{sidecar.url}/metrics").read().decode()
    known = {line.split()[2] for line in counted.splitlines() if line.startswith("# TYPE")}
    names = {word for word in asked.replace("(", " ").replace("{", " ").split() if word.startswith("callwright_")}
    assert {"callwright_breaker", "callwright_requests_total", "callwright_foreign_tokens_total"} <= names
    assert names <= known | {f"{name}_bucket" for name in known} | {f"{name}_total" for name in known}
    vllm = importlib.util.find_spec("vllm")
    assert vllm is not None
    assert vllm.origin is not None
    loggers = Path(vllm.origin).with_name("v1") / "metrics/loggers.py"
    told = re.findall(r'name="vllm:(\w+)"', loggers.read_text(encoding="utf-8"))
    shown = set(re.findall(r"ray_vllm_\w+", asked))
    assert {"ray_vllm_num_requests_waiting"} <= shown <= {f"ray_vllm_{name}" for name in told}, "as Ray exports them"


def test_ray_lets_requests_in_as_on_one_machine(production: list[Object]) -> None:
    written = (CHARTS / "serving/files/ray-serve-env.yaml").read_text(encoding="utf-8")
    assert written == ray_serve_env(), "run `make crd`"
    for template in (cluster_of(production)["headGroupSpec"]["template"], worker_of(production)):
        (ray,) = template["spec"]["containers"]
        assert RAY_SERVE_ENV.items() <= {each["name"]: each.get("value") for each in ray["env"]}.items()


@pytest.mark.parametrize("replicas", [0, 1])
def test_ray_s_autoscaler_alone_has_a_token_of_the_api_server(replicas: int) -> None:
    made = render("serving", SERVING | {"serve": {"minReplicas": replicas}})
    head, worker = cluster_of(made)["headGroupSpec"]["template"]["spec"], worker_of(made)["spec"]
    assert head["automountServiceAccountToken"] is False
    assert worker["automountServiceAccountToken"] is False
    (volume,) = (each for each in head["volumes"] if "projected" in each)
    assert [path for source in volume["projected"]["sources"] for path in source] == [
        "serviceAccountToken", "configMap", "downwardAPI",
    ]  # fmt: skip
    (mount,) = (
        each for each in cluster_of(made)["autoscalerOptions"]["volumeMounts"] if each["name"] == volume["name"]
    )
    assert (mount["mountPath"], mount["readOnly"]) == ("/var/run/secrets/kubernetes.io/serviceaccount", True)
    containers = [
        *head["containers"],
        *head.get("initContainers", ()),
        *worker["containers"],
        *worker["initContainers"],
    ]
    assert not any(each["name"] == volume["name"] for made in containers for each in made["volumeMounts"])
