"""A training that loses its worker, its node or its place in the queue: it goes on from its checkpoint."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubectl import HERE, Namespace, bucket_store, finetune

import kube

pytestmark = [pytest.mark.timeout(1200), pytest.mark.usefixtures("placed")]
ENDLESS: dict[str, Any] = {"train": {"steps": 1_000_000, "saveSteps": 20}}
PODS = "callwright.io/stage=train,ray.io/node-type="


def pod(namespace: Namespace, kind: str) -> dict[str, Any]:
    """The running pod of the training's head or worker."""
    found = namespace.pods("-l", f"{PODS}{kind}", "--field-selector=status.phase=Running")
    [alive] = [each for each in found if "deletionTimestamp" not in each["metadata"]]
    return dict(alive)


def lines(namespace: Namespace) -> list[dict[str, Any]]:
    """The metrics that the driver has on the head, in the order in which they came."""
    head = pod(namespace, "head")["metadata"]["name"]
    command = "find /scratch -name metrics.jsonl -exec cat {} +"
    said = namespace.kubectl("exec", head, "-c", "ray-head", "--", "sh", "-c", command)
    return [json.loads(line) for line in said.splitlines()]


def wait_for_steps(namespace: Namespace, name: str, count: int = 30) -> None:
    def found() -> bool:
        progress = namespace.get("finetune", name).get("status", {}).get("progress", "0/0")
        return int(progress.partition("/")[0]) >= count

    kube.wait_until(found, what=lambda: f"{count} steps\n{namespace.state()}", seconds=600)


def see_resumption(namespace: Namespace, figures: dict[str, Any], what: str, strike: Callable[[], object]) -> None:
    """Strike, and wait until the training goes on; note how long it stood still, and what it lost."""
    before = len(lines(namespace))
    strike()

    def resumed_at() -> int | None:
        now = lines(namespace)
        return next((index for index in range(before, len(now) - 1) if "resumed_step" in now[index]), None)

    words = lambda: f"the training goes on\n{namespace.state()}"  # noqa: E731
    kube.wait_until(lambda: resumed_at() is not None, what=words, seconds=600)
    found, index = lines(namespace), resumed_at()
    assert index is not None
    lost = found[index - 1]["step"] - found[index]["resumed_step"]
    figures[f"steps lost when {what}"] = lost
    figures[f"seconds without a step when {what}"] = round(found[index + 1]["time"] - found[index - 1]["time"])
    assert 0 <= lost <= ENDLESS["train"]["saveSteps"]


@pytest.fixture(scope="module")
def training(namespace: Namespace, spare: str) -> Iterator[None]:
    """A training without an end: its worker on the spare node, its head on another."""
    kubectl = namespace.kubectl
    document = finetune(namespace, "struck", **ENDLESS, resources={"nodeSelector": {"callwright-tests": "worker"}})
    kubectl("label", "node", spare, "callwright-tests=worker")
    kubectl("cordon", spare)
    kubectl("apply", "-f", "-", stdin=document)
    kube.wait_until(
        lambda: bool(namespace.names("pods", "-l", f"{PODS}head,callwright.io/finetune=struck")),
        what=namespace.state,
        seconds=240,
    )
    namespace.wait("condition=PodScheduled", "pod", "-l", f"{PODS}head,callwright.io/finetune=struck", seconds=120)
    kubectl("uncordon", spare)
    wait_for_steps(namespace, "struck")
    yield
    kubectl("label", "nodes", "--all", "callwright-tests-")
    kubectl("delete", "finetune", "struck", "--timeout=60s")


@pytest.mark.usefixtures("training")
def test_an_evicted_worker_costs_the_steps_since_its_checkpoint(
    namespace: Namespace, figures: dict[str, Any], spare: str
) -> None:
    def evict() -> None:
        only = f"--pod-selector={PODS}worker"
        try:
            namespace.kubectl("drain", spare, only, "--delete-emptydir-data", "--timeout=120s")
        finally:
            namespace.kubectl("uncordon", spare)

    see_resumption(namespace, figures, "a training's worker is evicted", evict)


@pytest.mark.usefixtures("training")
def test_a_lost_node_costs_the_steps_since_its_checkpoint(
    namespace: Namespace, figures: dict[str, Any], spare: str, lose: Callable[[str], None]
) -> None:
    namespace.kubectl("label", "nodes", "--all", "--overwrite", "callwright-tests=worker")
    see_resumption(namespace, figures, "a training's node is lost", lambda: lose(spare))


@pytest.fixture(scope="module")
def queue(namespace: Namespace) -> Iterator[dict[str, str]]:
    """Labels of a document that waits in a queue of Kueue's that has room for one training."""
    if not namespace.kubectl("get", "crd", "clusterqueues.kueue.x-k8s.io", "--ignore-not-found"):
        pytest.skip("needs Kueue")
    text = (HERE / "queue.yaml").read_text().replace("NAMESPACE", namespace.name)
    namespace.kubectl("apply", "-f", "-", stdin=text)
    yield {"kueue.x-k8s.io/queue-name": "runs"}
    namespace.kubectl("delete", "-f", "-", "--timeout=60s", stdin=text)


def test_a_queue_takes_a_training_back_for_the_run_behind_it(
    namespace: Namespace, figures: dict[str, Any], queue: dict[str, str]
) -> None:
    """The second waits, and says for what; it starts when the first gives its place back, which later goes on."""

    def admit(name: str, active: bool) -> None:
        uid = namespace.get("rayjob", "-l", f"callwright.io/finetune={name}")["items"][0]["metadata"]["uid"]
        [workload] = namespace.names("workloads", "-l", f"kueue.x-k8s.io/job-uid={uid}")
        patch = json.dumps({"spec": {"active": active}})
        namespace.kubectl("patch", "workload", workload, "--type=merge", "--patch", patch)

    def message(name: str) -> str:
        return str(namespace.get("finetune", name).get("status", {}).get("message", ""))

    def wait_for(holds: Callable[[], bool], seconds: float) -> None:
        what = lambda: f"{message('first')}\n{message('second')}\n{namespace.state()}"  # noqa: E731
        kube.wait_until(holds, what=what, seconds=seconds)

    workers = f"{PODS}worker,callwright.io/finetune="
    try:
        namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, "first", labels=queue, **ENDLESS))
        wait_for_steps(namespace, "first")
        namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, "second", labels=queue))
        wait_for(lambda: "in Kueue's queue runs" in message("second"), 120)
        assert "insufficient unused quota" in message("second")
        last = lines(namespace)[-1]["step"]

        began = time.monotonic()
        admit("first", active=False)
        wait_for(lambda: not namespace.names("pods", "-l", f"{workers}first"), 90)
        figures["seconds until a training that a queue takes back has given its worker back"] = round(
            time.monotonic() - began
        )
        wait_for(lambda: "in Kueue's queue runs" in message("first"), 30)
        running = ("pods", "-l", f"{workers}second", "--field-selector=status.phase=Running")
        wait_for(lambda: bool(namespace.names(*running)), 300)

        namespace.kubectl("delete", "finetune", "second", "--timeout=60s")
        run = namespace.get("finetune", "first")["status"]["run"]
        with bucket_store(namespace) as store:
            admit("first", active=True)
            report = lambda: json.loads(store.get_bytes(f"runs/{run}/report.json"))  # noqa: E731
            wait_for(lambda: "resumed_step" in report(), 400)
            lost = max(0, last - report()["resumed_step"])  # told to stop, it may go on for a step and keeps that
            figures["steps lost when a queue takes a training back"] = lost
        assert lost <= 1
    finally:
        namespace.kubectl("delete", "finetune", "first", "second", "--ignore-not-found", "--timeout=60s")
