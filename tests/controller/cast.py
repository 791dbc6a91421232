"""Those who act on a document besides the controller: the user, KubeRay, the Job controller, the kubelet, the stages.

Writes what those would write, and looks. Knows nothing of the controller's insides.
"""

import json
from dataclasses import dataclass
from typing import Any

import kube
from callwright.controller.cluster import FINE_TUNE, JOB, POD, RAY_JOB, Cluster, Kind
from callwright.store import BaseModelRef, FileEntry, Manifest, Store


@dataclass
class Play:
    """The cast, in one namespace."""

    cluster: Cluster
    namespace: str
    seconds: float = 40

    def document(self, name: str = "weather", **spec: Any) -> dict[str, Any]:
        base = {"base": {"model": "Qwen/Qwen2.5-7B-Instruct"}, "data": {"sources": [{"path": "s3://data/tools.jsonl"}]}}
        return {
            "apiVersion": "callwright.io/v1alpha1",
            "kind": "FineTune",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": base | spec,
        }

    def apply(self, document: dict[str, Any]) -> None:
        """As `kubectl apply` does it."""
        self.cluster.apply(FINE_TUNE, document)

    def change(self, name: str = "weather", **spec: Any) -> None:
        self.cluster.merge(FINE_TUNE, self.namespace, name, {"spec": spec})

    def status(self, name: str = "weather") -> dict[str, Any]:
        found = self.cluster.get(FINE_TUNE, self.namespace, name)
        return {} if found is None else found.get("status", {})

    def wait_for(self, phase: str, name: str = "weather") -> dict[str, Any]:
        """The status once it is in `phase`."""

        def reached() -> bool:
            return self.status(name).get("phase") == phase

        kube.wait_until(reached, what=lambda: f"phase {phase}, at {self.status(name)}", seconds=self.seconds)
        return self.status(name)

    def child(self, kind: Kind, stage: str, name: str = "weather") -> dict[str, Any]:
        """The object of a stage, once it is there."""
        labels = {"callwright.io/finetune": name, "callwright.io/stage": stage}
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [
                each for each in self.cluster.find(kind, self.namespace, labels=labels)
                if each["metadata"]["name"].startswith(self.status(name).get("run", "?"))
            ]  # fmt: skip
            return bool(found)

        kube.wait_until(there, what=lambda: f"{kind.plural} of {stage}, at {self.status(name)}", seconds=self.seconds)
        return max(found, key=lambda each: each["metadata"]["name"])

    def ray_job(self, deployment: str, job: str = "", *, name: str = "weather", **more: Any) -> None:
        """What KubeRay writes into a RayJob's status."""
        child = self.child(RAY_JOB, "train", name)
        status = {"jobDeploymentStatus": deployment, "jobStatus": job} | more
        self.cluster.merge(RAY_JOB, self.namespace, child["metadata"]["name"], {"status": status}, subresource="status")

    def job(
        self, stage: str, outcome: str = "Complete", reason: str = "", message: str = "", *, name: str = "weather"
    ) -> None:
        """What the Job controller writes when a Job has ended."""
        child = self.child(JOB, stage, name)
        condition = {"type": outcome, "status": "True", "reason": reason, "message": message}
        status = {"conditions": [condition], "failed": 3 if outcome == "Failed" else 0}
        self.cluster.merge(JOB, self.namespace, child["metadata"]["name"], {"status": status}, subresource="status")

    def failed_pod(self, kind: Kind, stage: str, *, container: str, log: str, code: int = 1) -> None:
        """A pod of the stage that ended badly, as the kubelet reports it under FallbackToLogsOnError."""
        child = self.child(kind, stage)
        name = f"{child['metadata']['name']}-x7k2p"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": child["metadata"]["labels"]},
            "spec": {"containers": [{"name": container, "image": "none"}]},
        }
        self.cluster.create(POD, pod)
        ended = {"exitCode": code, "reason": "Error", "message": log, "finishedAt": "2026-01-01T00:00:00Z"}
        state = {"name": container, "state": {"terminated": ended}, "ready": False, "restartCount": 0, "image": "none"}
        status = {"phase": "Failed", "containerStatuses": [state | {"imageID": ""}]}
        self.cluster.merge(POD, self.namespace, name, {"status": status}, subresource="status")


def publish(store: Store, model: str, version: str) -> None:
    """A version as the merge leaves it."""
    manifest = Manifest(
        name=model, version=version, dialect="ms_agent", base=BaseModelRef(model="m"), adapter_digest="0" * 64,
        files={"config.json": FileEntry(sha256="0" * 64, size=2)}, created_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    store.put_bytes(f"models/{model}/versions/{version}/config.json", b"{}")
    store.put_bytes(f"models/{model}/versions/{version}/manifest.json", manifest.model_dump_json().encode())


def evaluated(store: Store, run: str, *, passed: bool = True) -> None:
    """The record that the evaluator leaves."""
    measure = {"name": "minAccuracy", "got": 0.93, "allowed": 0.9 if passed else 0.95, "passed": passed}
    report = {"accuracy": 0.93, "gate": {"passed": passed, "measures": [measure]}}
    store.put_bytes(f"runs/{run}/evaluation.json", json.dumps(report).encode())


def trained(store: Store, run: str) -> None:
    """The report that the trainer leaves."""
    store.put_bytes(f"runs/{run}/report.json", json.dumps({"step": 120, "steps": 120, "loss": 0.42}).encode())


def train(play: Play, store: Store) -> str:
    """Plays the training to its end; returns the run's name."""
    run: str = play.wait_for("Training")["run"]
    trained(store, run)
    play.ray_job("Complete", "SUCCEEDED")
    return run


def merge(play: Play, store: Store) -> None:
    """Plays the merge to its end."""
    publish(store, "weather", play.wait_for("Merging")["run"])
    play.job("merge")


def evaluate(play: Play, store: Store, **how: Any) -> None:
    """Plays the evaluation to its end."""
    evaluated(store, play.wait_for("Evaluating")["run"], **how)
    play.job("evaluate")
