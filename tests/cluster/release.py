"""A release of charts/serving on a real cluster, and clients that ask it all the while."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubectl import HERE, ROOT, Namespace, bucket_store

import callwright
import kube
from callwright.store import Registry

SERVED = {"called", "streamed"}
"""What comes of all requests where nobody notices."""


class Serving:
    """A release of charts/serving, for the model `m`."""

    def __init__(self, namespace: Namespace, chart: Path, figures: dict[str, Any]) -> None:
        self.namespace, self.chart, self.figures = namespace, chart, figures
        # KubeRay gives a RayCluster that runs no more workers than it began with.
        self.values = ["model.name=m", "fullnameOverride=m", "serve.maxReplicas=2"]
        shutil.copytree(ROOT / "charts/serving", chart)

    def helm(self, verb: str, *values: str) -> None:
        """Install or upgrade; `values` are kept for what comes after."""
        self.values += values
        given = [word for value in self.values for word in ("--set", value)]
        self.namespace.helm(verb, "m", str(self.chart), "-f", str(HERE / "serving-values.yaml"), *given)

    def uninstall(self) -> None:
        """Before its namespace: KubeRay clears Redis by a Job, which a namespace that goes takes no more."""
        self.namespace.helm("uninstall", "m", "--wait", "--timeout", "2m")
        kube.wait_until(lambda: not self.clusters(), what="no RayCluster left", seconds=300)

    def clusters(self) -> list[str]:
        return self.namespace.names("rayclusters")

    def workers(self) -> list[dict[str, Any]]:
        """The worker pods, the oldest first."""
        found = self.namespace.pods("-l", "ray.io/node-type=worker")
        return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def serving_pods(self) -> list[str]:
        """Names of the pods to which the Service sends requests."""
        slices = self.namespace.get("endpointslices", "-l", "kubernetes.io/service-name=m")["items"]
        endpoints = [endpoint for each in slices for endpoint in each["endpoints"] or ()]
        return [each["targetRef"]["name"] for each in endpoints if each["conditions"]["ready"]]

    def wait_ready(self, seconds: float = 600) -> None:
        self.namespace.wait("condition=Ready", "rayservice/m", seconds=seconds)
        self.namespace.wait("condition=UpgradeInProgress=false", "rayservice/m", seconds=seconds)
        kube.wait_until(self._all_ready, what=self.namespace.state, seconds=seconds)

    def _all_ready(self) -> bool:
        """Whether all pods with a sidecar are ready, such as one that has no replica any more and goes before long."""
        ready = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        told = self.namespace.kubectl("get", "pods", "-l", "callwright.io/sidecar=true", "-o", ready).split()
        return bool(told) and set(told) == {"True"}

    def upgrade(self, what: str, *values: str) -> int:
        """Upgrade, and count the RayClusters that KubeRay makes of it beside the one that is there."""
        before = set(self.clusters())
        self.helm("upgrade", *values)
        deadline = time.monotonic() + 20  # KubeRay says nothing where it has nothing to do
        while time.monotonic() < deadline and set(self.clusters()) == before:
            time.sleep(0.5)
        made = len(set(self.clusters()) - before)
        self.figures[f"RayClusters made by {what}"] = made
        return made

    def config(self) -> str:
        """What Ray Serve is to run, the version of the model in it."""
        text: str = self.namespace.get("rayservice", "m")["spec"]["serveConfigV2"]
        return text

    def pointer(self) -> str | None:
        """The version of the model that is promoted."""
        with bucket_store(self.namespace) as store:
            return Registry(store).promoted("m")

    def train(self, document: str, name: str) -> str:
        """Apply a FineTune whose promotion waits for somebody, and return the version that it comes to."""
        self.namespace.kubectl("apply", "-f", "-", stdin=document)
        self.namespace.wait("jsonpath={.status.phase}=AwaitingPromotion", f"finetune/{name}", seconds=600)
        version: str = self.namespace.get("finetune", name)["status"]["version"]
        return version

    def promote(self, document: str) -> None:
        """Let the controller promote it."""
        self.namespace.kubectl("apply", "-f", "-", stdin=document.replace("promote: manual", "promote: auto"))

    def wait_answered(self, seconds: float = 600) -> None:
        """Wait until a request of the load has been answered."""
        ls = ("exec", "load", "--", "ls", "/tmp")
        kube.wait_until(lambda: "answered" in self.namespace.kubectl(*ls), what=self.namespace.state, seconds=seconds)

    @contextmanager
    def load(self, what: str, *, patience: int = 60) -> Iterator[Counter[str]]:
        """Ask for tool calls all the while, from a pod whose requests wait for so many seconds; what came of them is
        counted at the end.
        """
        kubectl, outcomes = self.namespace.kubectl, Counter[str]()
        image = f"localhost/callwright-evaluator:{callwright.__version__}"
        kubectl("create", "configmap", "load", f"--from-file={HERE / 'load.py'}")
        pod = (HERE / "load.yaml").read_text().replace("IMAGE", image).replace("PATIENCE", str(patience))
        kubectl("apply", "-f", "-", stdin=pod)
        try:
            self.namespace.wait("condition=Ready", "pod/load", seconds=60)
            yield outcomes
            kubectl("exec", "load", "--", "touch", "/tmp/stop")
            self.namespace.wait("jsonpath={.status.phase}=Succeeded", "pod/load", seconds=60 + patience)
            told = json.loads(kubectl("logs", "load"))
            outcomes.update(told["outcomes"])
            self.figures[f"requests while {what}"] = dict(outcomes)
            if told["failing seconds"]:
                self.figures[f"seconds of failed requests while {what}"] = told["failing seconds"]
        finally:
            kubectl("delete", "pod/load", "configmap/load", "--now")
