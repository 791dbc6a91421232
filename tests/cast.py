"""Those who act on a document besides the controller: the user, KubeRay, the Job controller, the kubelet, the stages.

Writes what those would write, and looks. Knows nothing of the controller's insides.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

import kube
from callwright import spec
from callwright.controller.cluster import FINE_TUNE, JOB, POD, RAY_JOB, RAY_SERVICE, Cluster, Kind
from callwright.controller.config import ControllerConfig, Images
from callwright.controller.reconcile import Reconciler
from callwright.evaluator.gate import decide
from callwright.evaluator.measures import measure
from callwright.evaluator.report import Report
from callwright.store import Store
from versions import publish_version

Object = dict[str, Any]
SERVICE = "assistant"
RAY_CLUSTER = "assistant-x7k2p"
"""Ray cluster of the service."""
NOW = "2026-01-01T00:00:00Z"


def job_status(outcome: str, reason: str = "", message: str = "") -> Object:
    """The status of a Job that has ended, `Complete` or `Failed`, as the Job controller writes it."""
    first = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[outcome]
    why = {"status": "True", "reason": reason, "message": message, "lastTransitionTime": NOW}
    ended = {"completionTime": NOW} if outcome == "Complete" else {"failed": 3}
    return {"conditions": [{"type": first} | why, {"type": outcome} | why], "startTime": NOW} | ended


_SUCCEEDED = {
    "prepare": (JOB, job_status("Complete")),
    "train": (RAY_JOB, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}),
    "merge": (JOB, job_status("Complete")),
    "evaluate": (JOB, job_status("Complete")),
}


def config_of(store: str, **settings: Any) -> ControllerConfig:
    rooms = ("trainer", "merger", "evaluator", "server", "sidecar")
    images = Images(**{room: f"registry.example/callwright-{room}:1.0" for room in rooms})
    return ControllerConfig(store=store, images=images, ray_version="2.0.0", **settings)


def reconciler_of(cluster: Cluster, store: Store, namespace: str) -> Reconciler:
    """Of a release in `namespace`, which watches all."""
    return Reconciler(cluster, config_of(store.url, namespace=namespace))


@dataclass
class Play:
    """The cast, in one namespace and with one store."""

    cluster: Cluster
    namespace: str
    store: Store
    seconds: float = 40

    # --- the user ---

    def document(self, name: str = "weather", **parts: Any) -> Object:
        base = {
            "base": {"model": "Qwen/Qwen2.5-7B-Instruct"},
            "data": {"sources": [{"path": "hf://datasets/owner/tools/tools.jsonl"}]},
        }
        return {
            "apiVersion": "callwright.io/v1alpha1",
            "kind": "FineTune",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": base | parts,
        }

    def apply(self, document: Object) -> None:
        """As `kubectl apply` does it."""
        self.cluster.apply(FINE_TUNE, document)

    def parsed(self, name: str = "weather") -> spec.FineTune:
        """The document as it is on the cluster."""
        found = self.cluster.get(FINE_TUNE, self.namespace, name) or {}
        return spec.FineTune.model_validate({key: found[key] for key in ("apiVersion", "kind", "metadata", "spec")})

    def change(self, name: str = "weather", **parts: Any) -> None:
        self.cluster.merge(FINE_TUNE, self.namespace, name, {"spec": parts})

    def status(self, name: str = "weather") -> Object:
        found = self.cluster.get(FINE_TUNE, self.namespace, name)
        return {} if found is None else found.get("status", {})

    def look(self, reconciler: Reconciler, name: str = "weather") -> None:
        """Have the controller look at a document that it has not seen yet, and do the first thing for it."""
        reconciler.reconcile(self.namespace, name)
        reconciler.reconcile(self.namespace, name)

    def wait_for(self, phase: str, name: str = "weather") -> Object:
        """The status once it is in `phase`."""
        self.wait_until(lambda: self.status(name).get("phase") == phase, f"phase {phase}", name)
        return self.status(name)

    def wait_until(self, holds: Any, what: str, name: str = "weather") -> None:
        kube.wait_until(holds, what=lambda: f"{what}, at {self.status(name)}", seconds=self.seconds)

    # --- KubeRay, the Job controller, the kubelet ---

    def child(self, kind: Kind, stage: str, name: str = "weather") -> Object:
        """The object of a stage, once it is there."""
        labels = {"callwright.io/finetune": name, "callwright.io/stage": stage}

        def found() -> list[Object]:
            run = self.status(name).get("run", "?")
            there = self.cluster.find(kind, self.namespace, labels=labels)
            return [each for each in there if each["metadata"]["name"].startswith(run)]

        self.wait_until(lambda: bool(found()), f"{kind.plural} of {stage}", name)
        return max(found(), key=lambda each: str(each["metadata"]["name"]))

    def report(self, kind: Kind, name: str, status: Object) -> None:
        """Write an object's status."""
        self.cluster.merge(kind, self.namespace, name, {"status": status}, subresource="status")

    def ray_job(self, deployment: str, job: str = "", *, name: str = "weather", **more: Any) -> None:
        """What KubeRay writes into a RayJob's status."""
        status = {"jobDeploymentStatus": deployment, "jobStatus": job} | more
        self.report(RAY_JOB, self.child(RAY_JOB, "train", name)["metadata"]["name"], status)

    def job(
        self, stage: str, outcome: str = "Complete", reason: str = "", message: str = "", *, name: str = "weather"
    ) -> None:
        """What the Job controller writes when a Job has ended."""
        self.report(JOB, self.child(JOB, stage, name)["metadata"]["name"], job_status(outcome, reason, message))

    def pod(self, kind: Kind, stage: str, *, container: str, state: Object) -> None:
        """A pod of the stage, with its container's state as the kubelet reports it."""
        metadata = self.child(kind, stage)["metadata"]
        named = {"name": f"{metadata['name']}-x7k2p", "namespace": self.namespace, "labels": metadata["labels"]}
        spec = {"containers": [{"name": container, "image": "none"}]}
        self.cluster.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": spec})
        seen = {"name": container, "state": state, "ready": False, "restartCount": 0, "image": "none", "imageID": ""}
        self.report(POD, named["name"], {"containerStatuses": [seen]})

    def failed_pod(self, kind: Kind, stage: str, *, container: str, log: str, code: int = 1) -> None:
        """A pod that ended badly, under FallbackToLogsOnError."""
        ended = {"exitCode": code, "reason": "Error", "message": log, "finishedAt": "2026-01-01T00:00:00Z"}
        self.pod(kind, stage, container=container, state={"terminated": ended})

    # --- a RayService ---

    def install_service(self, *models: str, store: str = "") -> None:
        """A RayService that serves these models of a store, as Helm installs it."""
        entries = [{"id": model, "name": model, "version": ""} for model in models]
        application = {
            "name": "llm",
            "import_path": "callwright.server.app:build",
            "args": {"store": store, "models": entries},
        }
        head = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", "image": "none"}]}}}
        service = {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {"name": SERVICE, "namespace": self.namespace},
            "spec": {
                "serveConfigV2": yaml.safe_dump({"applications": [application]}),
                "rayClusterConfig": {"headGroupSpec": head},
            },
        }
        self.cluster.apply(RAY_SERVICE, service, manager="helm")

    def service(self) -> Object:
        found = self.cluster.get(RAY_SERVICE, self.namespace, SERVICE)
        assert found is not None
        return found

    def served(self) -> list[str]:
        """The version of each model that the RayService is to serve, a canary's left out."""
        applications = yaml.safe_load(self.service()["spec"]["serveConfigV2"])["applications"]
        (application,) = (each for each in applications if "canaryWeight" not in each["args"])
        return [str(model["version"]) for model in application["args"]["models"]]

    def rolled_out(self, status: str = "RUNNING", message: str = "", *, since: str = NOW) -> None:
        """What KubeRay writes when it has given Serve the configuration; it stands since a while ago."""
        service = self.service()
        applications = yaml.safe_load(service["spec"].get("serveConfigV2", "{}")).get("applications", ())
        told = {app["name"]: {"status": status, "message": message} for app in applications}
        active = {"applicationStatuses": told, "rayClusterName": RAY_CLUSTER}
        written = {"observedGeneration": service["metadata"]["generation"], "activeServiceStatus": active}
        written["lastUpdateTime"] = since
        if service.get("status") != written:
            self.report(RAY_SERVICE, SERVICE, written)

    # --- the stages ---

    def prepared(self, run: str) -> None:
        """The record that the preparation leaves."""
        self.store.put_bytes(f"runs/{run}/prepared.json", json.dumps({"rows": 1200, "tokens": 345678}).encode())

    def trained(self, run: str, *, step: int = 120, loss: float = 0.42) -> None:
        """The report that the trainer leaves."""
        report = {"step": step, "steps": 120, "loss": loss}
        self.store.put_bytes(f"runs/{run}/report.json", json.dumps(report).encode())

    def completed(self, run: str) -> None:
        """What the trainer leaves at its end."""
        report = {"status": "completed", "step": 120, "steps": 120, "loss": 0.42}
        self.store.put_bytes(f"runs/{run}/adapter/adapter_config.json", b"{}")
        self.store.put_bytes(f"runs/{run}/report.json", json.dumps(report).encode())

    def refused(self, run: str, why: str) -> None:
        """The report of a trainer that can't do what is asked for, however often it is tried."""
        self.store.put_bytes(f"runs/{run}/report.json", json.dumps({"status": "refused", "message": why}).encode())

    def publish(self, model: str, version: str, **fields: Any) -> None:
        """A version as the merge leaves it."""
        publish_version(self.store, version, {"config.json": b"{}"}, name=model, **fields)

    def evaluated(self, run: str, *, name: str = "weather") -> None:
        """The record that the evaluator leaves, of an accuracy of 0.93."""
        document = self.parsed(name)
        total = measure([]).model_copy(update={"requests": 100, "calls_due": 100, "accuracy": 0.93})
        report = Report(model="m", base_url="u", dialect=None, created_at=NOW, seconds=1, total=total, sets={})
        found = {
            "accuracy": 0.93,
            "reports": {"candidate": report.model_dump(mode="json")},
            "gate": decide(document.spec.evaluate.gate, report).model_dump(mode="json"),
            "measurement": spec.measurement(document, spec.version_name(document, run)),
        }
        self.store.put_bytes(f"runs/{run}/evaluation.json", json.dumps(found).encode())

    # --- all of them, beside a controller that runs by itself ---

    def prepare(self, name: str = "weather") -> str:
        """Plays the preparation to its end; returns the run's name once it trains."""
        self.prepared(self.wait_for("Preparing", name)["run"])
        self.job("prepare", name=name)
        return str(self.wait_for("Training", name)["run"])

    def train(self) -> str:
        """Plays the training to its end, and before it the preparation; returns the run's name."""
        self.wait_until(lambda: self.status().get("phase") in ("Preparing", "Training"), "a run")
        run = self.prepare() if self.status()["phase"] == "Preparing" else str(self.status()["run"])
        self.trained(run)
        self.ray_job("Complete", "SUCCEEDED")
        return run

    def merge(self, **fields: Any) -> None:
        """Plays the merge to its end; `fields` stand in the version's manifest."""
        self.publish("weather", self.wait_for("Merging")["run"], **fields)
        self.job("merge")

    def evaluate(self) -> None:
        """Plays the evaluation to its end."""
        self.evaluated(self.wait_for("Evaluating")["run"])
        self.job("evaluate")

    def finish(self) -> str:
        """Plays all of them; returns the run's name."""
        run = self.train()
        self.merge()
        self.evaluate()
        return run

    # --- all of them, in turn with a controller that is called: quick, and each step is seen ---

    def live(
        self, reconciler: Reconciler, name: str = "weather", *, until: str = "Promoted", but: str = "", model: str = ""
    ) -> Object:
        """Reconcile and let the others act, in turn, until the phase is reached; nobody acts on the stage `but`.

        `model` is the document's, where it is not its name.
        """
        for _ in range(40):
            reconciler.reconcile(self.namespace, name)
            if self.status(name).get("phase") == until:
                return self.status(name)
            self.turn(name, model=model, but=but)
        pytest.fail(f"not {until} after 40 turns: {self.status(name)}")

    def turn(self, name: str = "weather", *, model: str = "", but: str = "") -> None:
        """What has been started comes to its end, with what it leaves in the store."""
        run = str(self.status(name).get("run"))
        for stage, (kind, status) in _SUCCEEDED.items():
            labels = {"callwright.io/run": run, "callwright.io/stage": stage}
            for child in self.cluster.find(kind, self.namespace, labels=labels):
                if stage == but or child.get("status", {}).keys() & status.keys():
                    continue
                if stage == "prepare":
                    self.prepared(run)
                if stage == "merge":
                    self.publish(model or name, spec.version_name(self.parsed(name), run))
                if stage == "evaluate":
                    self.evaluated(run, name=name)
                self.report(kind, child["metadata"]["name"], status)
        if but != "deploy" and self.cluster.get(RAY_SERVICE, self.namespace, SERVICE):
            self.rolled_out()
