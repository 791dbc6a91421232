"""`callwright submit | status | logs | promote | rollback` against the real API server; the kubelet is played."""

import http.server
import io
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import kube
from callwright.cli import app, doctor, logs, output, promote, status, submit
from callwright.controller import transitions
from callwright.controller.cluster import FINE_TUNE, POD, Cluster, Kind
from callwright.controller.doctor import Finding, examine
from callwright.errors import Conflict, Interrupted, InvalidInput, NotFound, StageFailed
from callwright.store import Registry, Store
from cast import NOW, SERVICE, Play

NODE = Kind("v1", "nodes", namespaced=False)


@pytest.fixture(autouse=True)
def _kubeconfig(apiserver: kube.ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client reads KUBECONFIG once, when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(apiserver.kubeconfig))


@pytest.fixture
def file(tmp_path: Path, play: Play) -> Path:
    path = tmp_path / "finetune.yaml"
    path.write_text(yaml.safe_dump(play.document()))
    return path


def report(play: Play, name: str = "weather", **what: Any) -> None:
    """What the controller would have written."""
    play.report(FINE_TUNE, name, what)


def test_submit_hands_over_what_was_written_and_no_more(
    file: Path, play: Play, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says that nobody looks at it, as nobody does here."""
    monkeypatch.setattr(submit, "_LOOK_SECONDS", 0)
    submit.submit(file, namespace=play.namespace, context=None, watch=False, dry_run=True)
    assert cluster.get(FINE_TUNE, play.namespace, "weather") is None
    submit.submit(file, namespace=play.namespace, context=None, watch=False, dry_run=False)
    found = cluster.get(FINE_TUNE, play.namespace, "weather")
    assert found is not None
    (entry,) = [each for each in found["metadata"]["managedFields"] if each["manager"] == "callwright-submit"]
    assert set(entry["fieldsV1"]["f:spec"]) == {"f:base", "f:data"}
    status.status("weather", namespace=play.namespace, context=None, watch=False, json=False)
    status.status(None, namespace=play.namespace, context=None, watch=False, json=False)
    said = " ".join(capsys.readouterr().err.split())
    told = "no controller has looked at it yet: does one run, and watch the namespace"
    assert said.count(f"{told} {play.namespace}?") == 3


@pytest.mark.parametrize(
    ("seen", "held_up_by", "is_said"), [(2, None, False), (1, None, True), (1, "Unavailable", False)]
)
def test_a_change_that_nobody_looks_at_is_told(
    file: Path,
    play: Play,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seen: int,
    held_up_by: str | None,
    is_said: bool,
) -> None:
    """A controller that says what holds it up does look."""
    monkeypatch.setattr(submit, "_LOOK_SECONDS", 0)
    play.apply(play.document())
    stands = transitions.finish(
        transitions.begin(run="weather-1", generation=seen, now=NOW), "Completed", "R", "m", now=NOW
    )
    stands = transitions.judge(stands, now=NOW)
    if held_up_by:
        stands = transitions.hold_up(stands, held_up_by, "m", now=NOW)
    report(play, **stands.model_dump(mode="json", by_alias=True))
    play.change(train={"steps": 3})
    submit.submit(file, namespace=play.namespace, context=None, watch=False, dry_run=False)
    for name in ("weather", None):
        status.status(name, namespace=play.namespace, context=None, watch=False, json=False)
    assert capsys.readouterr().err.count("no controller has looked at it yet") == 3 * is_said


def test_submit_refuses_a_wrong_document_before_it_is_sent(file: Path, play: Play) -> None:
    file.write_text(file.read_text().replace("base:", "bass:"))
    with pytest.raises(InvalidInput, match="bass"):
        submit.submit(file, namespace=play.namespace, context=None, watch=False, dry_run=False)


def test_status_tells_how_a_run_stands(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.apply(play.document())
    report(play, phase="Training", run="weather-1", progress="40/120", loss=1.5, gpuHours=12.34, store="s3://b/of-a")
    status.status("weather", namespace=play.namespace, context=None, watch=False, json=False)
    status.status(None, namespace=play.namespace, context=None, watch=False, json=False)
    shown = capsys.readouterr().out
    for words in ("weather: Training, run weather-1, 12.3 GPU-hours, in s3://b/of-a", "40/120", "GPU-HOURS", "12.34"):
        assert words in " ".join(shown.split())
    with pytest.raises(NotFound, match="no FineTune other"):
        status.status("other", namespace=play.namespace, context=None, watch=False, json=False)


def test_status_of_a_failed_run_is_an_error(play: Play) -> None:
    play.apply(play.document())
    report(play, phase="Failed", run="weather-1", observedGeneration=1, message="train failed: AppFailed")
    with pytest.raises(StageFailed, match="train failed: AppFailed"):
        status.status("weather", namespace=play.namespace, context=None, watch=True, json=False)


def test_watch_follows_to_the_end(
    play: Play, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    play.apply(play.document())
    report(play, phase="Training", run="weather-1", observedGeneration=1)
    turns = iter(["Merging", "Evaluating", "Promoted"])
    monkeypatch.setattr(status.time, "sleep", lambda seconds: report(play, phase=next(turns)))
    status.status("weather", namespace=play.namespace, context=None, watch=True, json=False)
    told = capsys.readouterr().err
    assert [word for word in told.split() if word in ("Training", "Merging", "Evaluating", "Promoted")] == [
        "Training", "Merging", "Evaluating", "Promoted",
    ]  # fmt: skip


def test_watch_draws_the_stages_on_a_terminal(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(output, "err", Console(file=screen, force_terminal=True, width=100))
    play.apply(play.document())
    trained = {"type": "Trained", "reason": "Running", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    report(play, phase="Training", run="weather-1", progress="40/120", loss=1.5, observedGeneration=1)
    turns = iter(
        [
            {"conditions": [trained | {"status": "Unknown"}]},
            {"conditions": [trained | {"status": "True"}], "phase": "Promoted", "accuracy": 0.93},
        ]
    )
    monkeypatch.setattr(status.time, "sleep", lambda seconds: report(play, **next(turns)))
    status.status("weather", namespace=play.namespace, context=None, watch=True, json=False)
    drawn = screen.getvalue()
    for words in ("weather: Training, run weather-1", "under way", "40/120 loss 1.500", "weather: Promoted", "done"):
        assert words in drawn
    assert "\x1b[" in drawn  # in place, not line after line


def test_commands_are_registered() -> None:
    known = {command.name for command in app.app.registered_commands}
    assert {"crd", "submit", "status", "logs", "promote", "rollback"} <= known


@pytest.fixture
def registry(play: Play, store: Store) -> Registry:
    """With two versions of the model."""
    for version in ("v1", "v2"):
        play.publish("weather", version)
    return Registry(store)


class Waits(list[Callable[[], object]]):
    """What happens while a command waits, one thing each time."""

    def sleep(self, seconds: float) -> None:
        self.pop(0)()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    made = Waits()
    monkeypatch.setattr(promote.time, "sleep", made.sleep)
    return made


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def where(play: Play, registry: Registry) -> Any:
    """Options of the commands."""
    where = {"service": SERVICE, "namespace": play.namespace, "context": None, "store": registry.store.url}
    return {"dry_run": False, "json": False, "wait": True} | where


def test_promote_and_roll_back_what_a_cluster_serves(
    play: Play, registry: Registry, where: Any, waits: Waits, capsys: pytest.CaptureFixture[str]
) -> None:
    play.install_service("weather", "other")
    waits += [lambda: play.rolled_out("DEPLOYING"), play.rolled_out, play.rolled_out, play.rolled_out]
    promote.promote("weather", "v1", expect=None, **where)
    promote.promote("weather", "v2", expect=None, **where)
    assert (registry.promoted("weather"), play.served()) == ("v2", ["v2", ""])
    promote.rollback("weather", **where | {"dry_run": True})
    assert (registry.promoted("weather"), play.served()) == ("v2", ["v2", ""])
    promote.rollback("weather", **where)
    assert (registry.promoted("weather"), play.served()) == ("v1", ["v1", ""])
    promotion = registry.promotion("weather")
    assert promotion is not None
    assert promotion.history == (), "as a rollback leaves it"
    told = capsys.readouterr()
    assert "rolled weather back from v2 to v1" in told.out
    for words in ("takes version v1", "llm DEPLOYING", "serves weather v1"):
        assert f"RayService {play.namespace}/assistant" in told.err
        assert words in " ".join(told.err.split())
    fields = play.service()["metadata"]["managedFields"]
    assert {entry["manager"] for entry in fields if "subresource" not in entry} == {"helm"}  # the field stays Helm's


def test_a_version_that_a_service_cannot_start_is_not_promoted(
    play: Play, registry: Registry, where: Any, waits: Waits
) -> None:
    play.install_service("weather")
    waits += [play.rolled_out, lambda: play.rolled_out("DEPLOY_FAILED", "out of memory"), play.rolled_out]
    promote.promote("weather", "v1", expect=None, **where)
    with pytest.raises(StageFailed, match=r"does not take it: version v1 is back in its place.*out of memory"):
        promote.promote("weather", "v2", expect=None, **where)
    assert (registry.promoted("weather"), play.served()) == ("v1", ["v1"])
    promote.promote("weather", "v2", expect=None, **where)
    assert (registry.promoted("weather"), play.served()) == ("v2", ["v2"])


def test_a_promotion_that_is_interrupted_is_carried_on(
    play: Play, registry: Registry, where: Any, waits: Waits
) -> None:
    play.install_service("weather")
    waits += [interrupt, play.rolled_out]
    with pytest.raises(Interrupted, match="goes on to take weather v1, which is not promoted; run the same again"):
        promote.promote("weather", "v1", expect=None, **where)
    assert (registry.promoted("weather"), play.served()) == (None, ["v1"])
    promote.promote("weather", "v1", expect=None, **where)
    assert (registry.promoted("weather"), waits) == ("v1", [])


def test_somebody_else_promotes_while_a_service_takes_a_version(
    play: Play, registry: Registry, where: Any, waits: Waits
) -> None:
    play.install_service("weather")
    waits += [play.rolled_out, lambda: registry.promote("weather", "v1")]
    promote.promote("weather", "v1", expect=None, **where)
    play.publish("weather", "v3")
    registry.promote("weather", "v3")
    with pytest.raises(Conflict, match="v3 is promoted; expected v1"):
        promote.promote("weather", "v2", expect="v1", **where)
    with pytest.raises(Conflict, match="v1 was promoted meanwhile"):
        promote.promote("weather", "v2", expect="v3", **where)
    assert play.served() == ["v1"]


def test_who_does_not_wait_promotes_at_once(play: Play, registry: Registry, where: Any) -> None:
    play.install_service("weather")
    promote.promote("weather", "v1", expect=None, **where | {"wait": False})
    assert (registry.promoted("weather"), play.served()) == ("v1", ["v1"])
    promote.promote("weather", "v2", expect="v1", **where | {"wait": False})
    promote.rollback("weather", **where | {"wait": False})
    assert (registry.promoted("weather"), play.served()) == ("v1", ["v1"])
    promote.promote("weather", "v2", expect=None, **where | {"service": None})
    assert (registry.promoted("weather"), play.served()) == ("v2", ["v1"])


@pytest.mark.parametrize(
    ("service", "error", "said"),
    [(SERVICE, InvalidInput, "got models umbrella"), ("nothing", NotFound, "no RayService nothing")],
)
def test_a_service_that_cannot_take_it_leaves_the_pointer(
    play: Play, registry: Registry, where: Any, service: str, error: type[Exception], said: str
) -> None:
    play.install_service("umbrella")
    for more in ({}, {"wait": False}, {"dry_run": True}):
        with pytest.raises(error, match=said):
            promote.promote("weather", "v1", expect=None, **where | {"service": service} | more)
    assert registry.promoted("weather") is None


@pytest.fixture
def kubelet(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """A node whose kubelet answers every request for a container's log with what it was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"asked for {self.path}\nthe last\x1b[2J line".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = f"node-{server.server_port}"
    cluster.apply(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    at = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_port}},
    }
    cluster.merge(NODE, "", name, {"status": at}, subresource="status")
    yield name
    server.shutdown()
    server.server_close()
    cluster.delete(NODE, "", name)


def certificate(folder: Path) -> tuple[Path, Path]:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=kubelet"]
    subprocess.run([*command, "-out", folder / "crt", "-keyout", folder / "key"], check=True, capture_output=True)
    return folder / "crt", folder / "key"


def test_logs_are_those_of_the_stage(play: Play, kubelet: str, capsys: pytest.CaptureFixture[str]) -> None:
    play.apply(play.document())
    report(play, phase="Training", run="weather-1")
    for name, container in (("worker", "ray-worker"), ("submitter", "submitter")):
        labels = {"callwright.io/finetune": "weather", "callwright.io/run": "weather-1", "callwright.io/stage": "train"}
        pod = {"metadata": {"name": name, "namespace": play.namespace, "labels": labels}}
        pod["spec"] = {"nodeName": kubelet, "containers": [{"name": container, "image": "i"}]}
        play.cluster.create(POD, pod)
    ask = {"namespace": play.namespace, "context": None, "follow": False, "tail": 5}
    logs.logs("weather", stage=None, container=None, **ask)
    shown = capsys.readouterr().out
    assert f"/containerLogs/{play.namespace}/submitter/submitter?tailLines=5" in shown
    assert shown.endswith("the last␛[2J line\n")  # a terminal would obey it
    logs.logs("weather", stage="train", container="ray-worker", **ask)
    assert "/worker/ray-worker?" in capsys.readouterr().out
    with pytest.raises(NotFound, match="no pod of the stage merge of weather is there"):
        logs.logs("weather", stage="merge", container=None, **ask)


def examined(play: Play, store: str | None = None) -> dict[str, Finding]:
    return {each.what: each for each in examine(play.cluster, play.namespace, store=store)}


def test_doctor_says_what_is_missing_and_what_mends_it(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """Here the kinds are served, and nobody works on them."""
    found = examined(play)
    assert found["kind rayjobs.ray.io/v1"].found == "served"
    assert found["Kubernetes"].mend == ""
    assert found[f"may you create finetunes in {play.namespace}"].found == "yes"
    assert (found["KubeRay operator"].found, found["KubeRay operator"].failed) == ("not installed", True)
    for what in ("controller", "KubeRay operator", "Kueue", "GPUs"):
        assert "helm " in found[what].mend
        assert " -n " in found[what].mend
    assert (found["Kueue"].failed, found["GPUs"].failed) == (False, False), "runs go without"
    with pytest.raises(StageFailed, match="controller, KubeRay operator"):
        doctor.doctor(namespace=play.namespace, context=None, store=None, json=False)
    assert "helm upgrade" in capsys.readouterr().out


def test_doctor_knows_operators_and_gpus(play: Play, cluster: Cluster) -> None:
    labels = {"app.kubernetes.io/name": "kuberay-operator"}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "operator", "image": "a.example/kuberay:v1"}]},
    }
    metadata = {"name": "kuberay-operator", "namespace": play.namespace, "labels": labels}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    deployments = Kind("apps/v1", "deployments")
    cluster.apply(deployments, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    cluster.apply(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": play.namespace}})
    try:
        assert "no pod of it is ready" in examined(play)["KubeRay operator"].found
        ready = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}
        play.report(deployments, "kuberay-operator", ready)
        gpus = {"status": {"allocatable": {"nvidia.com/gpu": "8"}, "capacity": {"nvidia.com/gpu": "8"}}}
        cluster.merge(NODE, "", play.namespace, gpus, subresource="status")
        found = examined(play)
        assert found["KubeRay operator"].found == f"kuberay:v1 in {play.namespace}"
        assert found["GPUs"].found == "8 nvidia.com/gpu"
        upgrade = "helm upgrade kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/"
        upgrade += f" -n {play.namespace} --version 1.5.1"
        for tag, mend in (("v1.5.0", upgrade), ("v1.5.1", ""), ("v1.10.0", "")):
            containers = [{"name": "operator", "image": f"a.example/operator:{tag}"}]
            newer = {"spec": {"template": {"spec": {"containers": containers}}}}
            cluster.merge(deployments, play.namespace, "kuberay-operator", newer)
            assert examined(play)["KubeRay operator"].mend == mend
    finally:
        cluster.delete(NODE, "", play.namespace)
        cluster.delete(deployments, play.namespace, "kuberay-operator")


def test_doctor_says_what_whoever_runs_it_may_not_do(play: Play, kubeconfig: Path) -> None:
    """Such as the controller, which hands nothing in."""
    found = {each.what: each for each in examine(kube.connect(kubeconfig), play.namespace, store=None)}
    create = found[f"may you create finetunes in {play.namespace}"]
    assert (create.found, create.failed) == ("no", True)
    assert create.mend.startswith(f"kubectl create rolebinding NAME-edit -n {play.namespace} ")
    assert found[f"may you list pods in {play.namespace}"].found == "yes"
    assert found["GPUs"].mend == "ask an administrator to run `callwright doctor`"


def test_doctor_tries_the_writes_that_a_promotion_needs(
    play: Play, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examined(play, store.url)
    for what in ("list", "put if absent", "put if unchanged"):
        assert found[f"{what} in {store.url}"].found == "works"
    assert store.list() == []
    write = Store.put_bytes
    monkeypatch.setattr(Store, "put_bytes", lambda self, key, data, **conditions: write(self, key, data))
    assert examined(play, store.url)[f"put if absent in {store.url}"].failed, "a server that heeds no condition"
    assert examined(play, "s3://")["store s3://"].failed
