"""The controller with many documents on a real API server: time to the first look at a change and until its run's
first Job is there, memory, requests.

`python bench/controller.py [DOCUMENTS] [CHANGED]` on the cluster of KUBECONFIG, which has KubeRay's kinds. All
documents are promoted; those changed get another training at once. Where nodes of kwok are (`type: kwok`), the
preparations end there, and where KubeRay's operator runs, it makes the Ray clusters, whose heads wait.
Writes `bench/results/controller.json`, and leaves its namespace, which must not be there before.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import kubernetes
import psutil
import yaml

from callwright import spec
from callwright.controller.cluster import FINE_TUNE, JOB, Cluster, Kind, KindMissing
from callwright.controller.config import ControllerConfig, Images, PodSize, RunPods
from callwright.controller.patience import Patience
from callwright.controller.watch import follow
from callwright.server.preflight import free_ports
from callwright.spec.status import Condition, Status
from callwright.store import Store

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench/results"
NAMESPACE = "bench-controller"
ON_KWOK = {"nodeSelector": {"type": "kwok"}, "tolerations": [{"key": "kwok", "operator": "Exists"}]}
CRD = Kind("apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False)
NAMESPACES = Kind("v1", "namespaces", namespaced=False)


def document(number: int, steps: int = 10) -> dict[str, Any]:
    return {
        "apiVersion": spec.API_VERSION,
        "kind": "FineTune",
        "metadata": {"name": f"model-{number}", "namespace": NAMESPACE},
        "spec": {
            "base": {"model": "Qwen/Qwen2.5-7B-Instruct"},
            "data": {"sources": [{"path": "hf://datasets/owner/tools/tools.jsonl"}]},
            "train": {"steps": steps},
            "resources": {"workers": 1, "gpusPerWorker": 8} | ON_KWOK,
        },
    }


def run_of(made: dict[str, Any]) -> str:
    return spec.run_name(spec.parse(json.dumps(made)))


def promoted(made: dict[str, Any]) -> dict[str, Any]:
    """The status of a document whose run has come to its end."""
    run, now = run_of(made), "2026-01-01T00:00:00Z"
    kinds = ("Accepted", "Prepared", "Trained", "Merged", "Evaluated", "Promoted", "Complete")
    conditions = tuple(Condition(type=k, status="True", reason="Succeeded", last_transition_time=now) for k in kinds)
    done = Status(
        run=run, phase="Promoted", version=run, observed_generation=1, conditions=conditions, started_at=now,
        finished_at=now,
    )  # fmt: skip
    return done.model_dump(mode="json", by_alias=True, exclude_none=True)


@contextmanager
def controller(folder: Path, prepared: list[str]) -> Iterator[psutil.Process]:
    """`python -m callwright.controller` for the bench's namespace, in whose store these runs find their data."""
    rooms = ("trainer", "merger", "evaluator", "server", "sidecar")
    health, metrics = free_ports(2)
    nowhere = PodSize(cpu="10m", memory="100Ti")  # heads take no node's time: they wait
    pods = RunPods(head=nowhere, templates={"prepare": {"spec": ON_KWOK}})
    config = ControllerConfig(
        store=(folder / "store").as_uri(), namespaces=(NAMESPACE,), ray_version="2.60.0", pods=pods,
        images=Images(**{room: f"callwright-{room}" for room in rooms}), health_port=health, metrics_port=metrics,
    )  # fmt: skip
    store = Store.open(str(config.store))
    for run in prepared:
        store.put_bytes(f"runs/{run}/prepared.json", b'{"rows": 1, "tokens": 1}')
    (folder / "controller.yaml").write_text(config.model_dump_json(by_alias=True))
    command = [sys.executable, "-W", "ignore", "-m", "callwright.controller", "--config", folder / "controller.yaml"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


class FirstSeen(threading.Thread):
    """Notes when each `key` of the objects of a kind was first seen."""

    def __init__(self, cluster: Cluster, kind: Kind, key: Callable[[dict[str, Any]], tuple[str, int]]) -> None:
        super().__init__(daemon=True)
        self._cluster, self._kind, self._key = cluster, kind, key
        self.at: dict[tuple[str, int], float] = {}
        self.start()

    def run(self) -> None:
        patience = Patience("the bench's watch")
        for found, _ in follow(self._cluster, self._kind, NAMESPACE, patience=patience, stop=threading.Event()):
            self.at.setdefault(self._key(found), time.monotonic())


def looked_at(document: dict[str, Any]) -> tuple[str, int]:
    return document["metadata"]["name"], document.get("status", {}).get("observedGeneration", 0)


def begun(job: dict[str, Any]) -> tuple[str, int]:
    return job["metadata"]["labels"]["callwright.io/finetune"], 2  # promoted at 1, of which there are no Jobs


def spread(seconds: list[float]) -> dict[str, float]:
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return {"median": round(statistics.median(seconds), 2), "p95": round(p95, 2), "worst": round(max(seconds), 2)}


def requests(api: kubernetes.client.ApiClient) -> Counter[str]:
    """Requests that the API server has answered, by resource."""
    request = api.param_serialize("GET", "/metrics", auth_settings=["BearerToken"])
    text = api.call_api(*request).read().decode()
    counted: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith("apiserver_request_total{"):
            resource = re.search(r'resource="(\w*)"', line)
            counted[resource[1] if resource else ""] += int(float(line.rsplit(" ", 1)[1]))
    return counted


def wait(holds: Callable[[], bool], what: str, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"in {seconds:g} s the bench did not {what}")
        time.sleep(0.1)


def settle(api: kubernetes.client.ApiClient) -> None:
    """Wait until the controller has looked at all that is there: until it asks for nothing but what is due again."""
    asked, quiet = 0, 0
    while quiet < 5:
        time.sleep(1)
        before, asked = asked, sum(requests(api).values())
        quiet = quiet + 1 if asked - before < 20 else 0


def is_served(cluster: Cluster) -> bool:
    with suppress(KindMissing):
        return FINE_TUNE.plural in cluster.resources(FINE_TUNE.api)
    return False


def measure(total: int, changed: int) -> dict[str, Any]:
    api = kubernetes.config.new_client_from_config()
    cluster = Cluster(api)
    cluster.apply(CRD, yaml.safe_load((ROOT / "charts/callwright/files/finetunes.callwright.io.yaml").read_text()))
    wait(lambda: is_served(cluster), "find FineTunes served", seconds=60)
    if cluster.find(FINE_TUNE, NAMESPACE):
        sys.exit(f"there are FineTunes in the namespace {NAMESPACE}; expected none; delete them first")
    cluster.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    made = [document(number) for number in range(total)]
    prepared = [run_of(document(number, steps=20)) for number in range(changed)]

    def put(each: dict[str, Any]) -> None:
        cluster.apply(FINE_TUNE, each)
        status = {"status": promoted(each)}
        cluster.merge(FINE_TUNE, NAMESPACE, each["metadata"]["name"], status, subresource="status")

    def change(each: dict[str, Any]) -> tuple[tuple[str, int], float]:
        name = each["metadata"]["name"]
        began = time.monotonic()
        cluster.merge(FINE_TUNE, NAMESPACE, name, {"spec": {"train": {"steps": 20}}})
        return (name, 2), began

    with ThreadPoolExecutor(16) as pool, tempfile.TemporaryDirectory() as folder:
        list(pool.map(put, made))
        with controller(Path(folder), prepared) as process:
            looks, jobs = FirstSeen(cluster, FINE_TUNE, looked_at), FirstSeen(cluster, JOB, begun)
            wait(lambda: len(looks.at) >= total, "hear of every document")  # which costs the server seconds of CPU
            settle(api)
            resting = process.memory_info().rss
            before, began = requests(api), time.monotonic()
            changes = dict(pool.map(change, made[:changed]))
            for seen, what in ((looks, "a look at each change"), (jobs, "a Job for each change")):
                wait(lambda seen=seen: seen.at.keys() >= changes.keys(), f"see {what}")
            looked, made_first = ([seen.at[key] - at for key, at in changes.items()] for seen in (looks, jobs))
            time.sleep(max(0.0, 60 - (time.monotonic() - began)))
            window, after = time.monotonic() - began, requests(api)
            peak = process.memory_info().rss
    resources = ("finetunes", "jobs", "rayjobs", "rayclusters", "configmaps", "networkpolicies", "events")
    by_resource = {name: after[name] - before[name] for name in resources}
    return {
        "documents": total, "changed_at_once": changed,
        "first_look_seconds": spread(looked), "first_job_seconds": spread(made_first),
        "memory_mib": {"resting": resting >> 20, "after_the_changes": peak >> 20},
        "api_requests_in_seconds": round(window), "api_requests": by_resource,
        "api_requests_a_second": round(sum(by_resource.values()) / window, 1),
    }  # fmt: skip


def main() -> None:
    if "KUBECONFIG" not in os.environ:
        print("bench/controller.py is left out: it needs the cluster of a KUBECONFIG")
        return
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    changed = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    found = measure(total, changed)
    version = kubernetes.client.VersionApi(kubernetes.config.new_client_from_config()).get_code().git_version
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "kubernetes": version}
    (RESULTS / "controller.json").write_text(json.dumps({"machine": machine} | found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
