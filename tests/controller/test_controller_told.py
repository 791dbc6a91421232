"""What holds a document up is told in its status, in the words of whoever does, on the real API server."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kube
from callwright.controller.app import Controller
from callwright.controller.cluster import (
    EVENT,
    FINE_TUNE,
    JOB,
    POD,
    RAY_JOB,
    RAY_SERVICE,
    Cluster,
    Forbidden,
    Kind,
    NoAnswer,
    NotAdmitted,
)
from callwright.controller.health import start_health_server
from callwright.controller.metrics import Metrics
from callwright.controller.reconcile import Reconciler
from callwright.controller.run_store import RunStore
from callwright.controller.store_breakers import StoreBreakers
from callwright.errors import InvalidInput, Unavailable
from callwright.server.preflight import free_ports
from callwright.store import Registry, Store
from cast import NOW, SERVICE, Play

QUOTA = Kind("v1", "resourcequotas")
POLICY = Kind("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", namespaced=False)
BINDING = Kind("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", namespaced=False)
ROLE = Kind("rbac.authorization.k8s.io/v1", "roles")


def ready(status: dict[str, Any]) -> tuple[str, str, str]:
    """Truth, reason and message of `Ready`."""
    (found,) = [each for each in status.get("conditions", ()) if each["type"] == "Ready"] or [{}]
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def wait_for_reason(play: Play, reason: str, name: str = "weather") -> str:
    """The message of `Ready` once it is False for this reason."""
    play.wait_until(lambda: ready(play.status(name))[:2] == ("False", reason), f"Ready False, {reason}", name)
    return ready(play.status(name))[2]


def warnings(play: Play, reason: str) -> int:
    """How often the user is told of it."""
    return sum(
        each["reason"] == reason and each["type"] == "Warning" for each in play.cluster.find(EVENT, play.namespace)
    )


def full_quota(play: Play) -> None:
    """A quota that lets no RayJob in; the status is its controller's, which is not here."""
    hard = {"count/rayjobs.ray.io": "0"}
    metadata = {"name": "none-left", "namespace": play.namespace}
    play.cluster.apply(
        QUOTA, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}}
    )
    play.report(QUOTA, "none-left", {"hard": hard, "used": hard})


def test_a_quota_that_refuses_is_told_and_raised_the_run_goes_on(play: Play, controller: None) -> None:
    full_quota(play)
    play.apply(play.document())
    play.prepared(play.wait_for("Preparing")["run"])
    play.job("prepare")
    said = wait_for_reason(play, "NotAdmitted")
    assert "exceeded quota: none-left" in said
    assert said.endswith("to raise the quota")
    assert "RBAC" not in said
    assert play.status()["message"] == said  # what `kubectl get` and `callwright status` show
    play.cluster.delete(QUOTA, play.namespace, "none-left")
    play.wait_for("Training")
    play.finish()
    assert ready(play.wait_for("Promoted"))[:2] == ("True", "Promoted")
    assert warnings(play, "NotAdmitted") == 1


def test_a_namespace_that_goes_is_told_as_what_it_is(play: Play, reconciler: Reconciler, cluster: Cluster) -> None:
    play.apply(play.document())
    cluster.delete(kube.NAMESPACE, "", play.namespace)
    with pytest.raises(NotAdmitted, match=r"is being terminated; ask whoever administers the namespace$"):
        play.look(reconciler)


def test_a_policy_that_refuses_as_invalid_is_told_and_without_it_the_run_goes_on(
    play: Play, reconciler: Reconciler, cluster: Cluster
) -> None:
    """Nothing is wrong with the document then."""
    name = f"{play.namespace}-policy"
    matched = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": play.namespace}}
    policy = {
        "matchConstraints": {"resourceRules": [matched]},
        "validations": [{"expression": "false", "message": "no team is named", "reason": "Invalid"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}}
    tried = {"name": "tried", "namespace": play.namespace}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": tried, "spec": {"template": {"spec": pod}}}

    def refused() -> bool:
        try:
            cluster.create(JOB, job, dry_run=True)
        except NotAdmitted:
            return True
        return False

    made = ((POLICY, "ValidatingAdmissionPolicy", policy), (BINDING, "ValidatingAdmissionPolicyBinding", binding))
    for kind, word, spec in made:
        cluster.create(kind, {"apiVersion": kind.api, "kind": word, "metadata": {"name": name}, "spec": spec})
    try:
        kube.wait_until(refused, what=lambda: "a policy that is heeded")
        play.apply(play.document())
        with pytest.raises(NotAdmitted, match="no team is named; change what the webhook or policy objects to"):
            play.look(reconciler)
    finally:
        for kind in (BINDING, POLICY):
            cluster.delete(kind, "", name)
    kube.wait_until(lambda: not refused(), what=lambda: "no policy")
    assert play.live(reconciler)["attempt"] == 0


def test_a_role_that_does_not_allow_it_is_told(play: Play, controller: None, cluster: Cluster) -> None:
    role = cluster.get(ROLE, play.namespace, "callwright")
    assert role is not None
    fewer = [rule for rule in role["rules"] if "rayjobs" not in rule["resources"]]
    watching = {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get", "list", "watch"]}
    cluster.merge(ROLE, play.namespace, "callwright", {"rules": [*fewer, watching]})
    play.apply(play.document())
    play.prepared(play.wait_for("Preparing")["run"])
    play.job("prepare")
    said = wait_for_reason(play, "Forbidden")
    assert 'cannot patch resource "rayjobs"' in said
    assert "check the chart's RBAC" in said


def test_who_may_make_no_events_tells_all_in_the_status(play: Play, reconciler: Reconciler, cluster: Cluster) -> None:
    """An event says nothing else, so that nothing waits for one."""
    role = cluster.get(ROLE, play.namespace, "callwright")
    assert role is not None
    fewer = [rule for rule in role["rules"] if rule["resources"] != ["events"]]
    looking = {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}
    cluster.merge(ROLE, play.namespace, "callwright", {"rules": [*fewer, looking]})
    here = {"namespace": play.namespace}
    tried = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "tried"} | here, "involvedObject": here}

    def refused() -> bool:
        try:
            reconciler.cluster.create(EVENT, tried, dry_run=True)
        except Forbidden:
            return True
        return False

    kube.wait_until(refused, what="the role in force")
    play.apply(play.document())
    reconciler.tell(play.namespace, "weather", Unavailable("asking the store s3://b: no answer"))
    assert ready(play.status())[:2] == ("False", "Unavailable")
    assert ready(play.live(reconciler))[:2] == ("True", "Promoted")


class WithoutRayJobs(Cluster):
    """An API server that knows no RayJobs."""

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any] | None:
        return super()._call(method, path.replace("/rayjobs", "/nosuchjobs"), **more)


def test_a_kind_that_is_missing_is_told(play: Play, reconciler: Reconciler, cluster: Cluster) -> None:
    """In the document, and where the controller says what it cannot watch."""
    with at_work(play, replace(reconciler, cluster=WithoutRayJobs(cluster._api))) as (said, metrics):
        play.apply(play.document())
        assert "install its CustomResourceDefinition" in wait_for_reason(play, "KindMissing")
        wanted = f"watching {play.namespace}/rayjobs: GET "
        kube.wait_until(lambda: wanted in said(), what=said)
        assert metrics.registry.get_sample_value("callwright_failed_looks_total", {"error": "KindMissing"})
    assert warnings(play, "KindMissing") == 1


def test_documents_that_may_not_be_watched_are_told(play: Play, reconciler: Reconciler, cluster: Cluster) -> None:
    """Where no document can say it, as none is seen."""
    role = cluster.get(ROLE, play.namespace, "callwright")
    assert role is not None
    fewer = [rule for rule in role["rules"] if "finetunes" not in rule["resources"]]
    cluster.merge(ROLE, play.namespace, "callwright", {"rules": fewer})
    with at_work(play, reconciler) as (said, metrics):
        kube.wait_until(lambda: 'cannot list resource "finetunes"' in said(), what=said)
        assert metrics.registry.get_sample_value("callwright_failed_looks_total", {"error": "Forbidden"})
        cluster.merge(ROLE, play.namespace, "callwright", {"rules": role["rules"]})
        play.apply(play.document())
        play.wait_for("Preparing")


class Deaf(Cluster):
    """An API server whose watches of documents break at once."""

    def watch(self, kind: Kind, namespace: str | None, **more: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if kind is FINE_TUNE:
            raise NoAnswer("WATCH finetunes: broken")
        return super().watch(kind, namespace, **more)


def test_a_document_that_goes_while_nobody_watches_ends_no_watch(
    play: Play, reconciler: Reconciler, cluster: Cluster
) -> None:
    play.apply(play.document(deploy={"model": "m"}))
    with at_work(play, replace(reconciler, cluster=Deaf(cluster._api))) as (said, metrics):

        def known() -> float:
            (family,) = [each for each in metrics.registry.collect() if each.name == "callwright_finetunes"]
            return sum(sample.value for sample in family.samples)

        def failed() -> float:
            return metrics.registry.get_sample_value("callwright_failed_looks_total", {"error": "NoAnswer"}) or 0

        kube.wait_until(lambda: known() == 1, what=said)
        cluster.delete(FINE_TUNE, play.namespace, "weather")
        kube.wait_until(lambda: known() == 0, what=said)
        before = failed()
        kube.wait_until(lambda: failed() > before, what=said, seconds=40)


@pytest.fixture
def silent_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an S3 store that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield "s3://silent"


class TestSilentStore:
    """Some documents' store does not answer."""

    @pytest.fixture
    def config(self, config: Any) -> Any:
        allowed = config.allowed.model_copy(update={"stores": ("s3://silent",)})
        return config.model_copy(update={"allowed": allowed})

    def test_it_is_told_and_holds_up_no_other(self, play: Play, silent_store: str, controller: None) -> None:
        """More documents than the controller has workers wait for it."""
        waiting = [f"waiting-{number}" for number in range(12)]
        for name in waiting:
            play.apply(play.document(name, store=silent_store))
        for name in waiting:
            play.wait_for("Preparing", name)
            play.job("prepare", name=name)
        play.apply(play.document())
        play.finish()
        assert ready(play.wait_for("Promoted"))[0] == "True"
        assert "s3://silent" in wait_for_reason(play, "Unavailable", waiting[0])
        assert play.status(waiting[0])["phase"] == "Preparing"


def test_stores_that_do_not_answer_leave_workers_for_those_that_do() -> None:
    """However many they are."""
    stores, silent = StoreBreakers(), [f"s3://silent-{number}/prefix" for number in range(9)]
    for url in silent:
        with pytest.raises(Unavailable, match="connection refused"), stores.asking(url):
            raise Unavailable("connection refused")
    with ExitStack() as asked:
        for url in silent[:3]:
            asked.enter_context(stores.asking(url))
        for url in silent:
            with pytest.raises(Unavailable, match=f"asking the store {url}: it does not answer"), stores.asking(url):
                pass
        with stores.asking("s3://well"):
            pass
    for url in silent:
        with stores.asking(url):
            pass


def test_what_fails_is_written_once_however_long_it_took(play: Play, reconciler: Reconciler) -> None:
    """Else each write would be an event, and each event a look."""
    play.apply(play.document())
    for seconds in (0.3, 0.4):
        reconciler.tell(play.namespace, "weather", Unavailable(f"asking the store s3://b: no answer in {seconds} s"))
    assert "0.3 s" in ready(play.status())[2]


def test_a_document_that_has_ended_is_ready_also_after_an_upgrade(play: Play, reconciler: Reconciler) -> None:
    """Earlier releases wrote no `Ready`; and what fails later changes nothing of it."""
    play.apply(play.document())
    play.live(reconciler)
    earlier = [each for each in play.status()["conditions"] if each["type"] != "Ready"]
    play.report(FINE_TUNE, "weather", {"conditions": earlier})
    reconciler.reconcile(play.namespace, "weather")
    assert ready(play.status())[:2] == ("True", "Promoted")
    reconciler.tell(play.namespace, "weather", Unavailable("GET finetunes: no answer"))
    assert ready(play.status())[:2] == ("True", "Promoted")


def test_a_pod_that_works_before_it_is_ready_runs(play: Play, reconciler: Reconciler) -> None:
    """Such as one that brings a base in an init container."""
    play.apply(play.document())
    play.live(reconciler, until="Merging", but="merge")
    play.pod(JOB, "merge", container="merge", state={"running": {}})
    play.report(JOB, play.child(JOB, "merge")["metadata"]["name"], {"active": 1, "startTime": NOW})
    reconciler.reconcile(play.namespace, "weather")
    (merged,) = [each for each in play.status()["conditions"] if each["type"] == "Merged"]
    assert merged["reason"] == "Running"


REFUSAL = "reading s3://bucket/key: refused: AccessDenied"


def refused(*_: Any) -> bytes:
    raise InvalidInput(REFUSAL)


def refused_look(play: Play, reconciler: Reconciler, kind: type, method: str) -> None:
    """A look at which the store refuses a read: nothing is decided, and the status says why."""
    before = play.status()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, refused)
        with pytest.raises(InvalidInput, match="AccessDenied") as raised:
            reconciler.reconcile(play.namespace, "weather")
    assert play.status() == before
    reconciler.tell(play.namespace, "weather", raised.value)
    assert ready(play.status()) == ("False", "InvalidInput", REFUSAL)


STAGES = {"prepare": "Preparing", "train": "Training", "merge": "Merging", "evaluate": "Evaluating"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_store_that_refuses_is_told_and_asked_again(play: Play, reconciler: Reconciler, stage: str) -> None:
    """Also where a stage has ended well: what may not be read is not absent."""
    play.apply(play.document())
    play.live(reconciler, until=STAGES[stage], but=stage)
    play.turn()
    refused_look(play, reconciler, Store, "get_bytes")
    assert play.live(reconciler)["attempt"] == 0


def test_a_pointer_that_may_not_be_read_fails_no_evaluation(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document())
    play.live(reconciler, until="Merging", but="merge")
    play.turn()
    refused_look(play, reconciler, Registry, "promoted")
    assert play.live(reconciler)["attempt"] == 0


def test_reports_that_may_not_be_read_are_not_measured_anew(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document(evaluate={"gate": {"minAccuracy": 0.95}}))
    play.live(reconciler, until="Rejected")
    play.change(evaluate={"gate": {"minAccuracy": 0.5}})
    refused_look(play, reconciler, Store, "get_bytes")
    assert play.live(reconciler)["attempt"] == 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_failed_is_told_though_the_store_refuses(
    play: Play, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    play.apply(play.document())
    play.live(reconciler, until=STAGES[stage], but=stage)
    if stage == "train":
        play.ray_job("Failed", "FAILED", reason="AppFailed", message="Job has ended")
    else:
        play.job(stage, "Failed", "AppFailed", "Job has ended")
    monkeypatch.setattr(Store, "get_bytes", refused)
    reconciler.reconcile(play.namespace, "weather")
    assert play.status()["phase"] == "Failed"
    assert ready(play.status())[:2] == ("False", "AppFailed")


def warned(play: Play, kind: str, name: str, reason: str, message: str) -> None:
    """A warning about an object, as the cluster's controllers write it."""
    about = {"kind": kind, "name": name, "namespace": play.namespace}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{name}.1", "namespace": play.namespace}}
    event |= {"type": "Warning", "reason": reason, "message": message, "involvedObject": about}
    event |= {"lastTimestamp": "2099-01-01T00:00:00Z"}
    play.cluster.create(EVENT, event)


def test_pods_that_nobody_may_make_are_told(play: Play, reconciler: Reconciler) -> None:
    """By the warnings of the Ray cluster, or of the Job, that makes them."""
    play.apply(play.document())
    play.live(reconciler, until="Training", but="train")
    play.ray_job("Initializing", rayClusterName="weather-x7k2p")
    words = "pods is forbidden: exceeded quota: none-left, requested: requests.nvidia.com/gpu=8"
    warned(play, "RayCluster", "weather-x7k2p", "FailedToCreateWorkerPod", words)
    reconciler.reconcile(play.namespace, "weather")
    assert words in play.status()["message"]
    play.ray_job("Complete", "SUCCEEDED")
    play.live(reconciler, until="Merging", but="merge")
    job = play.child(JOB, "merge")["metadata"]["name"]
    warned(play, "Job", job, "FailedCreate", "violates PodSecurity: restricted")
    reconciler.reconcile(play.namespace, "weather")
    assert f"Job {job}: FailedCreate: violates PodSecurity: restricted" in play.status()["message"]


def test_a_volume_that_is_missing_is_told(play: Play, reconciler: Reconciler) -> None:
    play.apply(play.document())
    play.live(reconciler, until="Merging", but="merge")
    play.pod(JOB, "merge", container="merge", state={"waiting": {"reason": "ContainerCreating"}})
    pod = f"{play.child(JOB, 'merge')['metadata']['name']}-x7k2p"
    warned(play, "Pod", pod, "FailedMount", 'configmap "gone" not found')
    reconciler.reconcile(play.namespace, "weather")
    assert 'configmap "gone" not found' in play.status()["message"]


def test_a_queue_that_nobody_serves_is_told(play: Play, reconciler: Reconciler) -> None:
    document = play.document()
    document["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpus"}
    play.apply(document)
    play.live(reconciler, until="Training", but="train")
    play.cluster.merge(
        RAY_JOB, play.namespace, play.child(RAY_JOB, "train")["metadata"]["name"], {"spec": {"suspend": True}}
    )
    reconciler.reconcile(play.namespace, "weather")
    assert "in the queue gpus: no Kueue" in play.status()["message"]


def test_pods_of_a_service_that_do_not_start_are_told(play: Play, reconciler: Reconciler) -> None:
    """By the scheduler, or in the warnings of the RayService and of its clusters."""
    play.apply(play.document(deploy={"service": SERVICE}))
    play.install_service("weather")
    play.live(reconciler, until="Deploying", but="deploy")
    generation = play.service()["metadata"]["generation"]
    play.report(
        RAY_SERVICE, SERVICE, {"observedGeneration": generation, "pendingServiceStatus": {"rayClusterName": "c"}}
    )
    warned(play, "RayCluster", "c", "FailedToCreateWorkerPod", "exceeded quota: none-left")
    reconciler.reconcile(play.namespace, "weather")
    assert "exceeded quota: none-left" in play.status()["message"]
    metadata = {"name": "c-worker", "namespace": play.namespace, "labels": {"ray.io/cluster": "c"}}
    containers = {"containers": [{"name": "ray-worker", "image": "none"}]}
    play.cluster.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": containers})
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no GPU"}
    play.report(POD, "c-worker", {"phase": "Pending", "conditions": [unscheduled]})
    reconciler.reconcile(play.namespace, "weather")
    assert play.status()["message"] == f"RayService {SERVICE}: pod c-worker is not scheduled: 0/3 nodes: no GPU"
    (deployed,) = [each for each in play.status()["conditions"] if each["type"] == "Deployed"]
    assert deployed["reason"] == "Waiting"


@contextmanager
def at_work(play: Play, reconciler: Reconciler) -> Iterator[tuple[Callable[[], str], Metrics]]:
    """A controller in threads of its own: what it says of its health, and its metrics."""
    metrics, stop, (port,) = Metrics(), threading.Event(), free_ports(1)
    watching = reconciler.config.model_copy(update={"namespaces": (play.namespace,)})
    made = Controller(replace(reconciler, config=watching), metrics)
    running = threading.Thread(target=made.run, args=[stop], daemon=True)
    running.start()
    start_health_server(port, made.healthy, made.troubles)

    def said() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
                return str(answer.read(), "utf-8")
        except urllib.error.HTTPError as starting:
            return str(starting)

    try:
        yield said, metrics
    finally:
        stop.set()
        running.join(60)


def test_health_and_metrics_name_what_cannot_be_looked_at(play: Play, reconciler: Reconciler) -> None:
    with at_work(play, replace(reconciler, open_store=refuse_to_open)) as (said, metrics):
        play.apply(play.document())
        wanted = f"looking at {play.namespace}/weather: reading s3://bucket/key: refused"
        kube.wait_until(lambda: wanted in said(), what=said, seconds=40)
        assert metrics.registry.get_sample_value("callwright_failed_looks_total", {"error": "InvalidInput"})


def refuse_to_open(url: str, credentials: Path | None) -> RunStore:
    raise InvalidInput("reading s3://bucket/key: refused: AccessDenied")
