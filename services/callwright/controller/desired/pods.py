"""The common parts of every pod of a run (volumes, security, environment, placement), and the Job around a pod.

Knows nothing of stages.
"""

from typing import Any, Literal

from callwright.controller.config import PodPart, PodSize
from callwright.controller.desired.run import MAKES, SCRATCH_FOLDER, SPEC_FOLDER, Manifest, Run
from callwright.errors import InvalidInput
from callwright.machine import CPUS

DATA_FOLDER = "/data"
_UID = 65532
_COUNTED = [
    {"name": name, "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}}
    for name in (CPUS, "OMP_NUM_THREADS")
]
"""A container without a limit of CPUs sees all of the node's, and would start a process or thread for each."""


def job(run: Run, stage: Literal["prepare", "merge", "evaluate"], pod: Manifest) -> Manifest:
    """Return a Job of one pod that stays for a while when it has ended.

    It is tried again on new pods, unless trying again changes nothing; an eviction or a lost node is no try.
    """
    pod["spec"]["restartPolicy"] = "Never"  # a failed pod stays, with its log
    spec = {
        "backoffLimit": run.config.pods.backoff_limit,
        "activeDeadlineSeconds": getattr(run.config.pods.deadline_seconds, stage),
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [InvalidInput.exit_code]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "ttlSecondsAfterFinished": run.config.pods.ttl_seconds_after_finished,
        "template": with_own(run, stage, pod),
    }
    made = run.manifest("batch/v1", "Job", name=run.child(stage), stage=stage)
    if makes := run.makes(stage):
        made["metadata"]["annotations"] = {MAKES: makes}
    return made | {"spec": spec}


def pod(run: Run, stage: str, containers: list[Manifest]) -> Manifest:
    """Return a pod template that the restricted standard allows."""
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
    return {"metadata": {"labels": run.pod_labels(stage)}, "spec": spec}


def container(
    run: Run, name: str, image: str, size: PodSize, *, gpus: int = 0, command: list[str] | None = None
) -> Manifest:
    """Return a container of the run; KubeRay gives those of Ray their command, and Ray counts their CPUs."""
    pods = run.config.pods
    mounts = [
        {"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "scratch", "mountPath": SCRATCH_FOLDER},
    ]
    if pods.claim:
        mounts.append({"name": "data", "mountPath": DATA_FOLDER})
    for index, mount in enumerate(run.finetune.spec.cluster.mounts):
        mounts.append({"name": f"mount-{index}", "mountPath": mount.path, "readOnly": True})
    named = run.finetune.spec.cluster.secret
    secret: Manifest = {"secretRef": {"name": named} if named else {"name": pods.secret, "optional": True}}
    limits: dict[str, Any] = {"memory": size.memory}
    if gpus:
        limits[pods.gpu_resource] = gpus
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": run.config.images.pull_policy,
        **({"command": command} if command else {}),
        "env": [
            {"name": "CALLWRIGHT_STORE", "value": run.store},
            {"name": "HOME", "value": SCRATCH_FOLDER},
            {"name": "HF_HOME", "value": f"{SCRATCH_FOLDER}/huggingface"},
            *(_COUNTED if command else []),
        ],
        "envFrom": [secret],
        "workingDir": SCRATCH_FOLDER,
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


def with_own(run: Run, part: PodPart, pod: Manifest) -> Manifest:
    """Return the pod template under what the installation has of its own for it."""
    merged: Manifest = _merged(pod, run.config.pods.templates.get(part, {}))
    return merged


def _merged(ours: Any, own: Any, key: str = "") -> Any:
    """Return mappings merged key by key, containers name by name, and other lists of named things with own entries in
    the place of ours; of anything else `own`.
    """
    if isinstance(ours, dict) and isinstance(own, dict):
        return ours | {name: _merged(ours.get(name), value, name) for name, value in own.items()}
    if isinstance(ours, list) and isinstance(own, list) and all(map(_name, [*ours, *own])):
        there = {_name(each): each for each in ours}
        for each in own:
            is_container = key in ("containers", "initContainers")
            there[_name(each)] = _merged(there.get(_name(each)), each) if is_container else each
        return [*there.values()]
    return own


def _name(entry: object) -> str:
    """Return what tells an entry of a list apart; empty where nothing does."""
    return str(entry.get("mountPath") or entry.get("name") or "") if isinstance(entry, dict) else ""


def placement(run: Run) -> Manifest:
    """Node selector and tolerations, as the document says."""
    resources = run.finetune.spec.resources
    placed: Manifest = {}
    if resources.node_selector:
        placed["nodeSelector"] = dict(resources.node_selector)
    if resources.tolerations:
        placed["tolerations"] = [
            toleration.model_dump(mode="json", by_alias=True, exclude_none=True) for toleration in resources.tolerations
        ]
    return placed
