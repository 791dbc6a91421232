"""Namespaces that share a controller share no run, no model and no credentials, on the real API server."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from test_controller_allowed import document, from_source

import kube
from buckets import BUCKET, Front, answer, s3_server
from callwright.controller import tenancy
from callwright.controller.allowed import refusals
from callwright.controller.check import check
from callwright.controller.cluster import FINE_TUNE, JOB, RAY_JOB, Cluster
from callwright.controller.config import Allowed, Tenant
from callwright.controller.reconcile import Reconciler
from callwright.errors import InvalidInput
from callwright.spec.status import Status
from callwright.store import Registry, Store
from cast import SERVICE, Play, config_of, reconciler_of


@pytest.fixture
def others(cluster: Cluster, namespace: str) -> list[str]:
    """Two namespaces beside the release's."""
    return [kube.make_namespace(cluster, f"{namespace[-40:].strip('-')}-{name}") for name in ("a", "b")]


def played(cluster: Cluster, namespace: str, store: Store) -> Play:
    return Play(cluster, namespace, Store.open(f"{store.url}/namespaces/{namespace}"))


def test_namespaces_with_the_same_document_share_nothing(
    cluster: Cluster, store: Store, namespace: str, others: list[str]
):
    reconciler = Reconciler(cluster, config_of(store.url, namespace=namespace))
    plays = [Play(cluster, namespace, store), *(played(cluster, other, store) for other in others)]
    for play in plays:
        play.apply(play.document())
        assert play.live(reconciler)["store"] == play.store.url
    assert len({play.status()["run"] for play in plays}) == 1, "the folder alone tells them apart"
    first = plays[1].status()["run"]
    plays[1].change(train={"learningRate": 3e-4})
    assert plays[1].live(reconciler, until="Promoted")["run"] != first
    assert [Registry(play.store).promoted("weather") == first for play in plays] == [True, False, True]
    for play in plays:
        run = play.status()["run"]
        assert f"--run {run} --store {play.store.url} " in play.child(RAY_JOB, "train")["spec"]["entrypoint"]
        merge = play.child(JOB, "merge")["spec"]["template"]["spec"]["containers"][0]
        assert {"name": "CALLWRIGHT_STORE", "value": play.store.url} in merge["env"]
    assert {entry.key.split("/")[0] for entry in store.list()} == {"runs", "models", "namespaces"}


def test_what_serves_a_namespace_s_model_reads_its_folder(cluster: Cluster, store: Store, others: list[str]):
    """The service says the store itself, where another namespace's model of the same name would be."""
    reconciler, play = Reconciler(cluster, config_of(store.url, namespace="release")), played(cluster, others[0], store)
    play.apply(play.document(deploy={"service": SERVICE}))
    play.install_service("weather", store=store.url)
    status = play.live(reconciler, until="Failed")
    for words in (f"got args.store {store.url}", f"expected {play.store.url}", "set store.url of charts/serving"):
        assert words in status["message"]
    assert play.served() == [""]
    play.install_service("weather", store=play.store.url)
    play.change(evaluate={"concurrency": 3})
    assert play.live(reconciler)["run"] == play.served()[0]


@pytest.mark.parametrize("reached", ["Training", "Promoted"])
def test_a_document_of_a_release_without_folders_stays_where_it_is(
    cluster: Cluster, store: Store, others: list[str], reached: str
):
    """Its runs, versions and pointer are there, and what serves them; also across a change that is refused."""
    before = Reconciler(cluster, config_of(store.url, namespace=others[0]))
    play = Play(cluster, others[0], store)
    play.apply(play.document())
    run = play.live(before, until=reached, but="train" if reached == "Training" else "")["run"]
    cluster.merge(FINE_TUNE, play.namespace, "weather", {"status": {"store": None}}, subresource="status")
    now = Reconciler(cluster, config_of(store.url, namespace="release"))
    if reached == "Promoted":
        now.reconcile(play.namespace, "weather")
        assert "store" not in play.status()
        play.change(cluster={"secret": "somebodys"})
        play.live(now, until="Failed")
        play.change(cluster={"secret": None}, train={"learningRate": 3e-4})
        assert play.live(now)["run"] != run
    else:
        assert play.live(now)["run"] == run
    assert play.status()["store"] == store.url
    assert {entry.key.split("/")[0] for entry in store.list()} == {"runs", "models"}


def test_a_document_that_was_refused_first_has_its_folder_too(cluster: Cluster, store: Store, others: list[str]):
    reconciler, play = Reconciler(cluster, config_of(store.url, namespace="release")), played(cluster, others[0], store)
    play.apply(play.document(cluster={"secret": "somebodys"}))
    for _ in range(2):
        reconciler.reconcile(play.namespace, "weather")
    play.change(cluster={"secret": None})
    assert play.live(reconciler)["store"] == play.store.url


TENANTS = {
    "a": Tenant(store="s3://team-a", allowed=Allowed(stores=("s3://shared",), secrets=("keys-a",))),
    "b": Tenant(store="s3://callwright/prod/teams/b", allowed=Allowed(stores=("*",))),
    "c": Tenant(secret="of-c", service_account="account-of-c"),
}
CONFIG = config_of("s3://callwright/prod", namespace="release", tenants=TENANTS)


@pytest.mark.parametrize(
    ("namespace", "parts", "value"),
    [
        ("a", {"store": "s3://callwright/prod"}, "tenants.a.allowed.stores"),
        ("a", {"store": "s3://callwright/prod/teams/b"}, "tenants.a.allowed.stores"),
        ("a", from_source("s3://shared/namespaces/c/a.jsonl"), "tenants.a.allowed.stores"),
        ("a", {"cluster": {"secret": "of-c"}}, "tenants.a.allowed.secrets"),
        ("b", {"store": "s3://team-a"}, "tenants.b.allowed.stores"),
        ("b", from_source("s3://team-a/a.jsonl"), "tenants.b.allowed.stores"),
        ("b", from_source("s3://callwright/prod/namespaces/d/a.jsonl"), "tenants.b.allowed.stores"),
        ("b", from_source("s3://callwright/prod/%6eamespaces/d/a.jsonl"), "tenants.b.allowed.stores"),
        ("c", {"store": "s3://callwright/prod/namespaces/d"}, "tenants.c.allowed.stores"),
        ("c", {"store": "s3://callwright/prod/teams/b"}, "tenants.c.allowed.stores"),
        ("c", {"cluster": {"secret": "keys-a"}}, "tenants.c.allowed.secrets"),
        ("d", {"base": {"model": "s3://callwright/prod/namespaces/c/models/m"}}, "runs.allowed.stores"),
        ("d", {"evaluate": {"sets": [{"name": "s", "path": "s3://team-a/s.jsonl"}]}}, "runs.allowed.stores"),
        ("release", {"store": "s3://callwright/prod/namespaces/d"}, "runs.allowed.stores"),
        ("release", from_source("s3://callwright/prod/teams/b/a.jsonl"), "runs.allowed.stores"),
    ],
)
def test_what_is_another_namespace_s_is_refused_by_name(namespace: str, parts: dict[str, Any], value: str):
    (line,) = refusals(document(**{"data": {"sources": [{"path": "/dataset/a.jsonl"}]}} | parts), CONFIG, namespace)
    assert value in line


@pytest.mark.parametrize(
    ("namespace", "parts"),
    [
        ("a", {"store": "s3://team-a/below"}),
        ("a", {"store": "s3://shared"}),
        ("a", {"cluster": {"secret": "keys-a"}}),
        ("b", {"store": "s3://anywhere"}),
        ("c", {"cluster": {"secret": "of-c", "serviceAccount": "account-of-c"}}),
        ("c", {"store": "s3://callwright/prod"}),
        ("d", {"store": "s3://callwright/prod/namespaces/d"}),
        ("d", from_source("s3://callwright/prod/bases/a.jsonl")),
    ],
)
def test_a_namespace_s_own_may_be_named(namespace: str, parts: dict[str, Any]):
    assert refusals(document(**parts), CONFIG, namespace) == ()


def test_a_folder_of_the_claim_is_its_namespace_s_by_its_path_too():
    claimed = CONFIG.model_copy(
        update={"store": "file:///data/store", "pods": CONFIG.pods.model_copy(update={"claim": "c"})}
    )
    theirs = from_source("/data/store/namespaces/c/models/a.jsonl")
    assert refusals(document(**theirs), claimed, "d")
    assert refusals(document(**theirs), claimed, "c") == ()
    assert refusals(document(**from_source("/mnt/namespaces/c/a.jsonl")), claimed, "d") == (), "in no store"


@pytest.mark.parametrize(
    ("namespace", "asked", "where"),
    [
        ("release", None, "s3://callwright/prod"),
        ("a", None, "s3://team-a"),
        ("a", "s3://team-a/below", "s3://team-a/below"),
        ("a", "s3://shared/", "s3://shared/namespaces/a"),
        ("b", None, "s3://callwright/prod/teams/b"),
        ("c", None, "s3://callwright/prod/namespaces/c"),
        ("d", "s3://callwright/prod", "s3://callwright/prod/namespaces/d"),
        ("d", "s3://callwright/prod/namespaces/d/x", "s3://callwright/prod/namespaces/d/x"),
        ("runs", None, "s3://callwright/prod/namespaces/runs"),
    ],
)
def test_where_a_namespace_s_keys_are(namespace: str, asked: str | None, where: str):
    assert tenancy.run_store(CONFIG, namespace, asked, Status()) == where


@pytest.mark.parametrize(
    "tenants",
    [
        {"a": {"store": "s3://x"}, "b": {"store": "s3://x/"}},
        {"a": {"store": "s3://x/b"}, "b": {"store": "s3://x"}},
        {"a": {"store": "s3://callwright"}},
        {"a": {"store": "s3://callwright/prod"}},
        {"a/b": {}},
    ],
)
def test_stores_that_tenants_would_share_are_no_configuration(tenants: dict[str, Any]):
    with pytest.raises(ValidationError):
        config_of("s3://callwright/prod", tenants={name: Tenant(**tenant) for name, tenant in tenants.items()})


@dataclass
class _Guard(Front):
    """An S3 server that lets each access key into the bucket of its name alone."""

    upstream: str
    asked: set[tuple[str, str]] = field(default_factory=set)
    """Access keys and the buckets that they asked for."""
    hides: bool = False
    """Refuses what is not there, as S3 does without the right to list the bucket."""

    def __post_init__(self) -> None:
        super().__init__(self.upstream)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        key = re.search(r"Credential=([^/]*)/", request.headers.get("Authorization", ""))
        asked = (key[1] if key else "", request.path.split("?")[0].split("/")[1])
        self.asked.add(asked)
        if asked[0] != asked[1] or "x-amz-security-token" in request.headers:
            return answer(request, 403, b"<Error><Code>AccessDenied</Code></Error>", {})
        sent = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        status, headers, data = self.forward(request, request.path, body, sent)
        if status == 404 and self.hides:
            return answer(request, 403, b"<Error><Code>AccessDenied</Code></Error>", {})
        answer(request, status, data, {name: headers[name] for name in headers if name not in ("connection", "date")})


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Guard]:
    """The controller's own credentials, with a session's token, stand in its environment."""
    import boto3

    with s3_server() as url:
        for bucket in ("team-a", "team-b"):
            boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=bucket)
        with _Guard(url) as guard:
            monkeypatch.setenv("AWS_ENDPOINT_URL", guard.url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", BUCKET)
            monkeypatch.setenv("AWS_SESSION_TOKEN", "of the controller")
            yield guard


def secret(folder: Path, **keys: str) -> Path:
    """A Secret as the kubelet mounts it."""
    folder.mkdir()
    for name, value in keys.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def test_a_tenant_s_store_is_opened_by_its_own_credentials(
    cluster: Cluster, guarded: _Guard, others: list[str], tmp_path: Path, namespace: str
):
    folders = [
        secret(tmp_path / each, AWS_ACCESS_KEY_ID=each, AWS_SECRET_ACCESS_KEY="s") for each in ("team-a", "team-b")
    ]
    tenants = {
        other: Tenant(store=f"s3://{folder.name}", credentials=str(folder), secret=f"{folder.name}-keys")
        for other, folder in zip(others, folders, strict=True)
    }
    config = config_of(f"s3://{BUCKET}", namespace=namespace, tenants=tenants)
    for other, folder in zip(others, folders, strict=True):
        play = Play(cluster, other, Store.open(f"s3://{folder.name}", credentials=folder))
        play.apply(play.document())
        assert play.live(Reconciler(cluster, config))["store"] == f"s3://{folder.name}"
        merge = play.child(JOB, "merge")["spec"]["template"]["spec"]["containers"][0]
        assert merge["envFrom"] == [{"secretRef": {"name": f"{folder.name}-keys", "optional": True}}]
    assert guarded.asked == {("team-a", "team-a"), ("team-b", "team-b")}
    tried = {what: problem for what, problem in check(cluster, config, namespace=namespace) if "list models" in what}
    assert [problem is None for problem in tried.values()] == [False, True, True], "a session's token of its own"


def test_a_store_without_the_right_to_list_is_told(
    cluster: Cluster, guarded: _Guard, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    guarded.hides = True
    play = Play(cluster, namespace, Store.open(f"s3://{BUCKET}"))
    reconciler = reconciler_of(cluster, play.store, namespace)
    play.apply(play.document())
    play.live(reconciler, until="Preparing", but="prepare")
    play.job("prepare")
    with pytest.raises(InvalidInput) as caught:
        reconciler.reconcile(namespace, "weather")
    reconciler.tell(namespace, "weather", caught.value)
    (ready,) = [each for each in play.status()["conditions"] if each["type"] == "Ready"]
    assert "s3:ListBucket, without which S3 refuses what is not there" in ready["message"]
    play.prepared(play.status()["run"])
    play.live(reconciler, until="Training", but="train")


@pytest.mark.parametrize("keys", [{}, {"AWS_ACCESS_KEY_ID": BUCKET}])
def test_a_tenant_without_its_credentials_is_told_and_not_lent_the_controller_s(
    cluster: Cluster, guarded: _Guard, others: list[str], tmp_path: Path, keys: dict[str, str]
):
    folder = secret(tmp_path / "secret", **keys)
    tenants = {others[0]: Tenant(store=f"s3://{BUCKET}/of-a", credentials=str(folder))}
    reconciler = Reconciler(cluster, config_of(f"s3://{BUCKET}", namespace="release", tenants=tenants))
    play = Play(cluster, others[0], Store.open("memory://"))
    play.apply(play.document())
    with pytest.raises(InvalidInput, match="no other credentials are tried") as caught:
        play.look(reconciler)
    reconciler.tell(play.namespace, "weather", caught.value)
    assert "expected the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in play.status()["message"]
    assert guarded.asked == set()


@pytest.mark.parametrize(
    ("scheme", "key"), [("gs", "GOOGLE_SERVICE_ACCOUNT_KEY"), ("az", "AZURE_STORAGE_ACCOUNT_NAME")]
)
def test_each_provider_s_credentials_have_to_be_there(tmp_path: Path, scheme: str, key: str):
    with pytest.raises(InvalidInput, match=key):
        Store.open(f"{scheme}://bucket", credentials=secret(tmp_path / "secret"))
