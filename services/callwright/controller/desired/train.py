"""The training as KubeRay's RayJob: a Ray cluster of its own, released when it ends."""

import math
import shlex
from decimal import Decimal

from callwright.controller.config import PodSize
from callwright.controller.desired import pods
from callwright.controller.desired.run import Manifest, Run
from callwright.run import REFUSALS

STAGE = "train"


def ray_job(run: Run) -> Manifest:
    """Head, workers, and the pod that submits the trainer and holds its log."""
    spec = {
        "entrypoint": shlex.join(run.command("trainer")),
        "submissionMode": "K8sJobMode",
        "shutdownAfterJobFinishes": True,
        # KubeRay deletes the Ray cluster, and with it gives the GPUs back, so long after the end; the submitter's pod,
        # which holds the log, stays with the RayJob.
        "ttlSecondsAfterFinished": 0,
        "backoffLimit": run.config.pods.backoff_limit,
        "activeDeadlineSeconds": run.config.pods.deadline_seconds.train,
        "submitterPodTemplate": _submitter(run),
        "rayClusterSpec": {
            "rayVersion": run.config.ray_version,
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
                "template": _head(run),
            },
            "workerGroupSpecs": [_workers(run)],
        },
    }
    if run.finetune.spec.suspend:
        spec["suspend"] = True
    return run.manifest("ray.io/v1", "RayJob", name=run.child(STAGE), stage=STAGE) | {"spec": spec}


def _head(run: Run) -> Manifest:
    container = pods.container(run, "ray-head", run.config.images.trainer, run.config.pods.head)
    container["env"].append({"name": REFUSALS, "value": "report"})  # the trainer's process is started here
    container["ports"] = [
        {"name": "gcs", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client", "containerPort": 10001},
    ]
    return pods.with_own(run, "head", pods.pod(run, STAGE, [container]))


def _submitter(run: Run) -> Manifest:
    container = pods.container(run, "submitter", run.config.images.trainer, run.config.pods.submitter)
    pod = pods.pod(run, STAGE, [container])
    pod["spec"]["restartPolicy"] = "Never"
    return pods.with_own(run, "submitter", pod)


def _workers(run: Run) -> Manifest:
    """Return the group of pods, each with a training worker or, with `gpusPerPod`, with several."""
    resources = run.finetune.spec.resources
    each = int(resources.gpus_per_pod / resources.gpus_per_worker) if resources.gpus_per_pod else 1
    gpus, cpus = math.ceil(resources.gpus_per_worker * each), resources.cpus_per_worker * each
    size = PodSize(cpu=_cpus(cpus), memory=_times(resources.memory_per_worker, each))
    container = pods.container(run, "ray-worker", run.config.images.trainer, size, gpus=gpus)
    if rdma := run.config.pods.rdma:
        container["resources"]["limits"][rdma.resource] = rdma.count
        container["securityContext"]["capabilities"] |= {"add": ["IPC_LOCK"]} if rdma.ipc_lock else {}
    pod = pods.pod(run, STAGE, [container])
    pod["spec"] |= pods.placement(run)
    replicas = resources.workers // each
    return {
        "groupName": "gpu" if gpus else "cpu",
        "replicas": replicas,
        "minReplicas": replicas,
        "maxReplicas": replicas,
        "rayStartParams": {"num-cpus": str(math.ceil(cpus)), "num-gpus": str(gpus)},
        "template": pods.with_own(run, "workers", pod),
    }


def _times(quantity: str, count: int) -> str:
    """Return so many times a quantity such as `1.5Gi`."""
    number = quantity.rstrip("".join(set(quantity) - set("0123456789.")))
    return f"{(Decimal(number) * count).normalize():f}{quantity[len(number) :]}" if count > 1 else quantity


def _cpus(value: float) -> str:
    """Return a count of CPUs as a quantity, to the millicore."""
    return str(int(value)) if value == int(value) else f"{round(value * 1000)}m"
