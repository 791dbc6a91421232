"""From a FineTune document to the Kubernetes objects of its run: a pure function, no clock, no cluster.

Owns names, labels, commands and pod templates. Does not know what exists, nor in which order the objects are made.
"""

import math
import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from callsmith.controller.config import ControllerConfig, PodSize
from callsmith.spec import API_VERSION, FineTune

Manifest = dict[str, Any]

FINE_TUNE_LABEL = "callsmith.io/finetune"
RUN_LABEL = "callsmith.io/run"
STAGE_LABEL = "callsmith.io/stage"
SPEC_FOLDER = "/etc/callsmith"
DATA_FOLDER = "/data"
_SCRATCH = "/scratch"
_UID = 65532
_SIDECAR_PORT, _SERVE_PORT = 8100, 8000
BASE_ID = "base"
"""Model id of the base in the evaluation's engine."""
_BASE_FOLDER = f"{_SCRATCH}/base"
# The engine takes a folder: a base from the hub or a store is brought there before it starts.
_BRING_BASE = f"""
import pathlib, sys
from callsmith.store import resolve_base
found = resolve_base(sys.argv[1], sys.argv[2] or None, pathlib.Path("{_SCRATCH}/cache"))
link = pathlib.Path("{_BASE_FOLDER}")
link.unlink(missing_ok=True)
link.symlink_to(found.absolute())
""".strip()
# An engine that keeps crashing would be restarted for ever: the pod fails when it is not up in time.
_WAIT = """
import sys, time, urllib.request
deadline = time.monotonic() + float(sys.argv[2])
while True:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5)
        break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"no answer from {sys.argv[1]} in {sys.argv[2]} s: {error}; see the log of the container `engine`")
        time.sleep(2)
""".strip()


@dataclass(frozen=True)
class Run:
    """One run of a document: what to do, where, and under which names."""

    finetune: FineTune
    namespace: str
    uid: str
    name: str
    attempt: int
    config: ControllerConfig

    @property
    def store(self) -> str:
        """URL of the run's store."""
        return self.finetune.spec.store or self.config.store

    @property
    def version(self) -> str:
        """Version under which the merged model is published: the run's own name, so that a rerun publishes the same."""
        return self.name

    def child(self, stage: str) -> str:
        """Name of the object of `stage`; a new attempt has new names, so nothing waits for deletions."""
        return f"{self.name}-{stage}" if self.attempt == 0 else f"{self.name}-{stage}-{self.attempt}"

    def labels(self, stage: str) -> dict[str, str]:
        """Labels of an object and its pods: the user's own first, which Kueue's queue name is among."""
        return self.finetune.metadata.labels | {
            "app.kubernetes.io/name": "callsmith",
            "app.kubernetes.io/component": stage,
            "app.kubernetes.io/managed-by": "callsmith",
            FINE_TUNE_LABEL: self.finetune.metadata.name,
            RUN_LABEL: self.name,
            STAGE_LABEL: stage,
        }


def config_map(run: Run) -> Manifest:
    """The document, and the evaluation engine's configuration, as the pods read them from `/etc/callsmith`."""
    document = run.finetune.model_dump(mode="json", by_alias=True, exclude_none=True)
    data = {"finetune.yaml": _yaml(document), "server.yaml": _yaml(server_config(run))}
    return _object(run, "v1", "ConfigMap", stage="spec") | {"data": data}


def server_config(run: Run) -> Manifest:
    """`callsmith.server`'s configuration for the engine that the evaluation measures: the candidate, and the base."""
    spec = run.finetune.spec
    engine = spec.deploy.engine.model_dump(mode="json", by_alias=True, exclude_none=True)
    models = [
        {"id": run.finetune.model_name, "name": run.finetune.model_name, "version": run.version, "engine": engine}
    ]
    if spec.evaluate.compare_base:
        models.append({"id": BASE_ID, "path": _BASE_FOLDER, "engine": engine})
    return {
        "models": models,
        "store": run.store,
        "port": _SERVE_PORT,
        "cacheDir": f"{_SCRATCH}/cache",
        "device": "gpu" if spec.resources.gpus_per_worker else "cpu",
    }


def ray_job(run: Run) -> Manifest:
    """The training: a Ray cluster of its own, released when it ends."""
    stage, pods = "train", run.config.pods
    resources = run.finetune.spec.resources
    gpus = math.ceil(resources.gpus_per_worker)
    head = _pod(run, stage, [_container(run, "ray-head", run.config.images.trainer, pods.head)])
    head["spec"]["containers"][0]["ports"] = [
        {"name": "gcs", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client", "containerPort": 10001},
    ]
    size = PodSize(cpu=_number(resources.cpus_per_worker), memory=resources.memory_per_worker)
    worker = _pod(run, stage, [_container(run, "ray-worker", run.config.images.trainer, size, gpus=gpus)])
    worker["spec"] |= _placement(run)
    submitter = _pod(run, stage, [_container(run, "submitter", run.config.images.trainer, pods.submitter)])
    submitter["spec"]["restartPolicy"] = "Never"
    spec = {
        "entrypoint": shlex.join(_command("trainer", run)),
        "submissionMode": "K8sJobMode",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": pods.ttl_seconds_after_finished,
        "backoffLimit": pods.backoff_limit,
        "submitterPodTemplate": submitter,
        "rayClusterSpec": {
            "rayVersion": run.config.ray_version,
            "authOptions": {"mode": "token"},
            "headGroupSpec": {"rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"}, "template": head},
            "workerGroupSpecs": [
                {
                    "groupName": "gpu" if gpus else "cpu",
                    "replicas": resources.workers,
                    "minReplicas": resources.workers,
                    "maxReplicas": resources.workers,
                    "rayStartParams": {"num-cpus": str(math.ceil(resources.cpus_per_worker)), "num-gpus": str(gpus)},
                    "template": worker,
                }
            ],
        },
    }
    if run.finetune.spec.suspend:
        spec["suspend"] = True
    return _object(run, "ray.io/v1", "RayJob", stage=stage) | {"spec": spec}


def merge_job(run: Run) -> Manifest:
    """The merge: adapter and base become a published version."""
    size = run.config.pods.merge
    container = _container(run, "merge", run.config.images.merger, size) | {"command": _command("merger", run)}
    return _job(run, "merge", _pod(run, "merge", [container]))


def evaluation_job(run: Run) -> Manifest:
    """The evaluation: the engine and its sidecar as native sidecars, the evaluator beside them."""
    images, pods, model = run.config.images, run.config.pods, run.finetune.model_name
    spec = run.finetune.spec
    models = 2 if spec.evaluate.compare_base else 1
    gpus = models * spec.deploy.engine.tensor_parallel_size if spec.resources.gpus_per_worker else 0
    engine = _container(run, "engine", images.server, pods.engine, gpus=gpus) | {
        "command": ["python", "-m", "callsmith.server", "--config", f"{SPEC_FOLDER}/server.yaml"],
        "restartPolicy": "Always",
    }
    engine["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})
    sidecar = _container(run, "sidecar", images.sidecar, pods.evaluate) | {
        "command": [
            "python", "-m", "callsmith.sidecar", "--upstream", f"http://127.0.0.1:{_SERVE_PORT}",
            "--port", str(_SIDECAR_PORT), "--store", run.store, "--model", f"{model}={model}@{run.version}",
        ],
        "restartPolicy": "Always",
    }  # fmt: skip
    ready = f"http://127.0.0.1:{_SIDECAR_PORT}/readyz"
    wait = _container(run, "wait", images.sidecar, pods.evaluate) | {"command": ["python", "-c", _WAIT, ready, "1800"]}
    before = [engine, sidecar, wait]
    command = [*_command("evaluator", run), "--base-url", f"http://127.0.0.1:{_SIDECAR_PORT}/v1"]
    if spec.evaluate.compare_base:
        command += ["--base-id", BASE_ID]
        base = _container(run, "base", images.server, pods.evaluate)
        before.insert(0, base | {"command": ["python", "-c", _BRING_BASE, spec.base.model, spec.base.revision or ""]})
    evaluator = _container(run, "evaluate", images.evaluator, pods.evaluate) | {"command": command}
    pod = _pod(run, "evaluate", [evaluator])
    pod["spec"] |= {"initContainers": before} | _placement(run)
    pod["spec"]["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
    return _job(run, "evaluate", pod)


def _command(room: str, run: Run) -> list[str]:
    spec = f"{SPEC_FOLDER}/finetune.yaml"
    return [
        "python", "-m", f"callsmith.{room}",
        "--spec", spec, "--run", run.name, "--store", run.store, "--workdir", f"{_SCRATCH}/work",
    ]  # fmt: skip


def _object(run: Run, api_version: str, kind: str, *, stage: str) -> Manifest:
    owner = {
        "apiVersion": API_VERSION,
        "kind": "FineTune",
        "name": run.finetune.metadata.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    name = run.name if stage == "spec" else run.child(stage)
    metadata = {"name": name, "namespace": run.namespace, "labels": run.labels(stage), "ownerReferences": [owner]}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _job(run: Run, stage: str, pod: Manifest) -> Manifest:
    pod["spec"]["restartPolicy"] = "Never"  # a failed pod stays, with its log
    spec = {
        "backoffLimit": run.config.pods.backoff_limit,
        "ttlSecondsAfterFinished": run.config.pods.ttl_seconds_after_finished,
        "template": pod,
    }
    return _object(run, "batch/v1", "Job", stage=stage) | {"spec": spec}


def _pod(run: Run, stage: str, containers: list[Manifest]) -> Manifest:
    pods = run.config.pods
    volumes: list[Manifest] = [
        {"name": "spec", "configMap": {"name": run.name}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "scratch", "emptyDir": {"sizeLimit": pods.scratch}},
    ]
    if pods.claim:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": pods.claim}})
    for index, mount in enumerate(run.finetune.spec.cluster.mounts):
        origin: Manifest = (
            {"configMap": {"name": mount.config_map}}
            if mount.config_map
            else {"persistentVolumeClaim": {"claimName": mount.claim, "readOnly": True}}
        )
        volumes.append({"name": f"mount-{index}", **origin})
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": volumes,
    }
    if account := run.finetune.spec.cluster.service_account or pods.service_account:
        spec |= {"serviceAccountName": account}
    if run.config.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in run.config.images.pull_secrets]
    return {"metadata": {"labels": run.labels(stage)}, "spec": spec}


def _container(run: Run, name: str, image: str, size: PodSize, *, gpus: int = 0) -> Manifest:
    pods = run.config.pods
    mounts = [
        {"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "scratch", "mountPath": _SCRATCH},
    ]
    if pods.claim:
        mounts.append({"name": "data", "mountPath": DATA_FOLDER})
    for index, mount in enumerate(run.finetune.spec.cluster.mounts):
        mounts.append({"name": f"mount-{index}", "mountPath": mount.path, "readOnly": True})
    named = run.finetune.spec.cluster.secret
    secret: Manifest = {"secretRef": {"name": named} if named else {"name": pods.secret, "optional": True}}
    limits: dict[str, Any] = {"memory": size.memory}
    if gpus:
        limits["nvidia.com/gpu"] = gpus
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": run.config.images.pull_policy,
        "env": [
            {"name": "CALLSMITH_STORE", "value": run.store},
            {"name": "HOME", "value": _SCRATCH},
            {"name": "HF_HOME", "value": f"{_SCRATCH}/huggingface"},
        ],
        "envFrom": [secret],
        "workingDir": _SCRATCH,
        "resources": {"requests": {"cpu": size.cpu, "memory": size.memory}, "limits": limits},
        "volumeMounts": mounts,
        # The end of the log becomes the pod's termination message: the controller quotes it without reading logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _placement(run: Run) -> Manifest:
    resources = run.finetune.spec.resources
    placed: Manifest = {}
    if resources.node_selector:
        placed["nodeSelector"] = dict(resources.node_selector)
    if resources.tolerations:
        placed["tolerations"] = [
            toleration.model_dump(mode="json", by_alias=True, exclude_none=True) for toleration in resources.tolerations
        ]
    return placed


def _number(value: float) -> str:
    """A count of CPUs as a quantity, to the millicore."""
    return str(int(value)) if value == int(value) else f"{round(value * 1000)}m"


def _yaml(document: Manifest) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
