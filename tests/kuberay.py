"""KubeRay's part in miniature: a Ray cluster in pods from a cluster specification, a job in it, applications on it.

Gives head, workers and submitter the commands that KubeRay gives them. Knows nothing of the API server.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from pods import Machine, Object, Pod

_DASHBOARD = 8265
_TOKEN = "0123456789abcdef0123456789abcdef"


class RayCluster:
    """A running Ray cluster: its head and its workers, each in a pod."""

    def __init__(self, head: Pod, workers: list[Pod], token: str) -> None:
        self.head, self.workers, self.token = head, workers, token

    @property
    def dashboard(self) -> str:
        """URL of the head's dashboard in the machine's network."""
        return f"http://{self.head.address}:{_DASHBOARD}"

    def submit(self, submitter: Pod, entrypoint: str) -> None:
        """Run `entrypoint` as a Ray job from the submitter's pod, to its end. Raises with its log when it fails."""
        submitter.run("submitter", ["ray", "job", "submit", "--address", self.dashboard, "--", *entrypoint.split()])

    def deploy(self, text: str, *, seconds: float = 180) -> None:
        """Put a `serveConfigV2` and wait until every application runs."""
        url, deadline = f"{self.dashboard}/api/serve/applications/", time.monotonic() + seconds
        put = self.head.fetch(url, self.token, "PUT", json.dumps(yaml.safe_load(text)))
        assert put.returncode == 0, put.stderr
        while True:
            asked = self.head.fetch(url, self.token)
            found: dict[str, Any] = json.loads(asked.stdout)["applications"] if asked.returncode == 0 else {}
            statuses = [each["status"] for each in found.values()]
            if statuses and set(statuses) == {"RUNNING"}:
                return
            if "DEPLOY_FAILED" in statuses or time.monotonic() > deadline:
                pytest.fail(f"not served: {json.dumps(found, indent=1)[-3000:]}{asked.stderr}")
            time.sleep(0.2)


@contextlib.contextmanager
def ray_cluster(machine: Machine, name: str, spec: Object) -> Iterator[RayCluster]:
    """The cluster of a RayJob's `rayClusterSpec` or a RayService's `rayClusterConfig`."""
    token = _TOKEN if spec.get("authOptions", {}).get("mode") == "token" else ""
    env = cluster_env(spec)
    with contextlib.ExitStack() as stack:
        head = stack.enter_context(machine.pod(f"{name}-head", spec["headGroupSpec"]["template"], env=env))
        head.run_init()
        head.start("ray-head", ["ray", "start", "--head", "--block", *_start(head, spec["headGroupSpec"])])
        head.wait_http(_DASHBOARD, "/api/gcs_healthz", container="ray-head")
        workers = []
        for group in spec["workerGroupSpecs"]:
            for index in range(group["replicas"]):
                pod = stack.enter_context(
                    machine.pod(f"{name}-{group['groupName']}-{index}", group["template"], env=env)
                )
                pod.run_init()
                address = f"--address={head.address}:6379"
                pod.start("ray-worker", ["ray", "start", "--block", address, *_start(pod, group)])
                workers.append(pod)
        yield RayCluster(head, workers, token)


def cluster_env(spec: Object) -> dict[str, str]:
    """What KubeRay adds to the environment of every container of a cluster and of its submitter."""
    if spec.get("authOptions", {}).get("mode") == "token":
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _TOKEN}
    return {}


def _start(pod: Pod, group: Object) -> list[str]:
    given = [f"--{key}={value}" for key, value in group["rayStartParams"].items()]
    return [*given, f"--node-ip-address={pod.address}", "--dashboard-agent-listen-port=52365"]
