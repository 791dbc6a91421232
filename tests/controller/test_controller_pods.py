"""What the manifests say really runs: a small demo from conversations to a served tool call, by the manifests alone.

The controller looks, under its chart's role and with its chart's configuration; every object that it sends to the API
server is run as it is written, commands, environment, files, volumes and addresses: RayJob and
RayService on Ray clusters, Jobs with their native sidecars. Played are KubeRay's and the Job controller's statuses.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cast import Play

import kube
from callwright.controller.cluster import CONFIG_MAP, RAY_SERVICE, Cluster, Kind
from callwright.controller.config import ControllerConfig
from callwright.controller.reconcile import Reconciler
from callwright.controller.run_store import RunStore
from callwright.demo.corpus import Corpus, Sizes, write_corpus
from callwright.demo.document import write_document
from callwright.demo.tools import SEEN
from callwright.store import Registry, Store
from kuberay import cluster_env, ray_cluster
from manifests import CHARTS, render, values_of
from pods import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
CLAIM = "callwright-data"
SIZES = Sizes(conversations=60, replay=20, seen=3, wordings=1, unseen=1, general=2)


def rendered(chart: str, values_file: str, namespace: str, **values: Any) -> dict[str, dict[str, Any]]:
    """The chart's objects by kind, of those that stand once, as Helm renders them with a value set of its own."""
    given = values_of(CHARTS / chart / "ci" / values_file) | values
    return {made["kind"]: made for made in render(chart, given, release="assistant", namespace=namespace)}


@pytest.fixture
def machine(tmp_path: Path, cluster: Cluster, namespace: str) -> Iterator[Machine]:
    def find(kind: str, name: str) -> dict[str, Any] | None:
        return cluster.get(CONFIG_MAP, namespace, name) if kind == "ConfigMap" else None

    with Machine(tmp_path / "machine", find) as made:
        yield made


@pytest.fixture
def store(machine: Machine) -> Store:
    """What the pods see as `file:///data/store`."""
    return Store.open((machine.folder / "claims" / CLAIM / "store").as_uri())


class Sending(Cluster):
    """The API server, and what was sent to it: one of this age drops the fields that it does not know."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster._api)
        self.sent: dict[tuple[str, str], dict[str, Any]] = {}

    def apply(self, kind: Kind, manifest: dict[str, Any], **how: Any) -> dict[str, Any]:
        self.sent[manifest["kind"], manifest["metadata"]["name"]] = manifest
        return super().apply(kind, manifest, **how)

    def create(self, kind: Kind, manifest: dict[str, Any], **how: Any) -> dict[str, Any] | None:
        self.sent[manifest["kind"], manifest["metadata"]["name"]] = manifest
        return super().create(kind, manifest, **how)


@pytest.fixture
def controller(kubeconfig: Path) -> Sending:
    """The API server as the controller's service account may see it."""
    return Sending(kube.connect(kubeconfig))


@pytest.fixture
def reconciler(controller: Sending, namespace: str, store: Store) -> Reconciler:
    config = rendered("callwright", "claim-values.yaml", namespace)["ConfigMap"]["data"]["controller.yaml"]
    made = ControllerConfig.model_validate(yaml.safe_load(config))
    assert (made.store, made.pods.claim) == ("file:///data/store", CLAIM)
    return Reconciler(controller, made, lambda url: RunStore(store))


def corpus_map(folder: Path, namespace: str) -> tuple[Corpus, dict[str, Any]]:
    corpus = write_corpus(folder, sizes=SIZES)
    data = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    return corpus, {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corpus", "namespace": namespace}, "data": data,
    }  # fmt: skip


def document(folder: Path, corpus: Corpus, namespace: str) -> dict[str, Any]:
    """The demo's document with the corpus mounted, few steps, and the RayService to bring the version into."""
    text = write_document(folder / "finetune.yaml", corpus, steps=2).read_text(encoding="utf-8")
    made: dict[str, Any] = yaml.safe_load(text.replace(str(corpus.folder), "/dataset"))
    made["metadata"]["namespace"] = namespace
    made["spec"]["resources"] = {"workers": 1}
    made["spec"]["cluster"] = {"mounts": [{"path": "/dataset", "configMap": "corpus"}]}
    made["spec"]["deploy"]["service"] = "assistant"
    made["spec"]["evaluate"] |= {"maxTokens": 8, "gate": {"maxForgetting": 100}}
    return made


def run_ray_job(machine: Machine, job: dict[str, Any]) -> None:
    spec = job["spec"]["rayClusterSpec"]
    with (
        ray_cluster(machine, "train", spec) as ray,
        machine.pod("submitter", job["spec"]["submitterPodTemplate"], env=cluster_env(spec)) as submitter,
    ):
        ray.submit(submitter, job["spec"]["entrypoint"])


def run_job(machine: Machine, job: dict[str, Any]) -> None:
    template = job["spec"]["template"]
    with machine.pod(job["metadata"]["name"], template) as pod:
        pod.run_init()
        for container in template["spec"]["containers"]:
            pod.run(container["name"])


def test_the_demo_goes_through_by_the_manifests_alone(
    machine: Machine, controller: Sending, reconciler: Reconciler, play: Play, store: Store, tmp_path: Path
) -> None:
    def look() -> dict[str, Any]:
        reconciler.reconcile(play.namespace, "demo")
        return play.status("demo")

    corpus, config_map = corpus_map(tmp_path / "corpus", play.namespace)
    play.cluster.apply(CONFIG_MAP, config_map)
    service = rendered(
        "serving", "cpu-values.yaml", play.namespace, fullnameOverride="assistant",
        model={"name": "demo", "engine": {"dtype": "float32", "maxModelLen": 2048}},
    )["RayService"]  # fmt: skip
    play.cluster.apply(RAY_SERVICE, service)
    play.apply(document(tmp_path, corpus, play.namespace))
    run = look()["run"]

    run_ray_job(machine, controller.sent["RayJob", f"{run}-train"])
    play.ray_job("Complete", "SUCCEEDED", name="demo")
    status = look()
    assert (status["phase"], status["progress"]) == ("Merging", "2/2")
    run_job(machine, controller.sent["Job", f"{run}-merge"])
    play.job("merge", name="demo")
    assert look()["version"] == run
    run_job(machine, controller.sent["Job", f"{run}-evaluate"])
    play.job("evaluate", name="demo")
    status = look()
    assert status["phase"] == "Deploying", status
    assert Registry(store).promoted("demo") == run
    evaluation = json.loads(store.get_bytes(f"runs/{run}/evaluation.json"))
    assert list(evaluation["reports"]) == ["base", "candidate"]
    got = {each["name"]: each["got"] for each in evaluation["gate"]["measures"]}
    assert got["maxForgetting"] is not None

    taken = play.cluster.get(RAY_SERVICE, play.namespace, "assistant")
    assert taken is not None
    with ray_cluster(machine, "serve", taken["spec"]["rayClusterConfig"]) as ray:
        ray.deploy(taken["spec"]["serveConfigV2"])
        (worker,) = ray.workers
        worker.wait_http(8100, "/readyz", container="sidecar")
        answer = worker.fetch(f"http://{worker.address}:8100/v1/chat/completions", "", "POST", json.dumps(request()))
        assert answer.returncode == 0, answer.stderr + worker.log("sidecar")
        (call,) = json.loads(answer.stdout)["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert set(json.loads(call["function"]["arguments"])) == {"city"}


def request() -> dict[str, Any]:
    return {
        "model": "demo",
        "messages": [{"role": "user", "content": "What is the weather in Bergen?"}],
        "tools": [tool.schema for tool in SEEN[:3]],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "max_tokens": 96,
        "temperature": 0,
    }
