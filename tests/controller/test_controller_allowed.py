"""What a document may name outside itself: refused by name before anything is made, also after an upgrade."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from callwright import spec
from callwright.controller import desired
from callwright.controller.allowed import refusals
from callwright.controller.cluster import CONFIG_MAP, FINE_TUNE, JOB, NETWORK_POLICY, RAY_JOB
from callwright.controller.config import Allowed, RunPods
from callwright.controller.reconcile import Reconciler
from callwright.controller.run_store import RunStore
from callwright.errors import InvalidInput
from cast import Play, config_of

CONFIG = config_of("s3://callwright/prod")
SOURCE = {"path": "/dataset/tools.jsonl"}


def document(**parts: Any) -> spec.FineTune:
    base = {"base": {"model": "Qwen/Qwen2.5-7B"}, "data": {"sources": [SOURCE]}}
    whole = {"apiVersion": spec.API_VERSION, "kind": "FineTune", "metadata": {"name": "weather"}, "spec": base | parts}
    return spec.parse(yaml.safe_dump(whole))


def mounted(path: str, **origin: str) -> dict[str, Any]:
    return {"cluster": {"mounts": [{"path": path, **(origin or {"configMap": "c"})}]}}


def from_source(path: str) -> dict[str, Any]:
    return {"data": {"sources": [{"path": path}]}}


OWN = [
    {"cluster": {"secret": "callwright-run"}},
    {"store": "s3://callwright/prod"},
    {"store": "s3://callwright/prod/"},
    {"store": "s3://callwright/prod/team"},
    mounted("/dataset"),
    mounted("/mnt/a/b", claim="c"),
    {"base": {"model": "gpt2"}},
    {"base": {"model": "s3://callwright/prod/bases/a"}},
    {"base": {"model": "/mnt/bases/a"}},
    from_source("hf://datasets/a/b/c.jsonl"),
    from_source("modelscope://a/b/c.jsonl"),
    from_source("s3://callwright/prod/tools.jsonl"),
    {"deploy": {"engine": {"extra": {"enforce_eager": True, "max_num_seqs": 8, "quantization": "fp8"}}}},
]
OUTSIDE = [
    ({"cluster": {"secret": "somebodys"}}, "spec.cluster.secret", "secrets"),
    ({"cluster": {"serviceAccount": "admin"}}, "spec.cluster.serviceAccount", "serviceAccounts"),
    *[(mounted(path), "spec.cluster.mounts[0].path", "mountRoots") for path in (
        "/app", "/opt/callwright", "/usr2", "/datasets", "/dataset2/a", "/home/a", "/root", "/venv/lib", "/mntx",
    )],
    *[({"store": url}, "spec.store", "stores") for url in (
        "s3://callwright", "s3://callwright/prod2", "s3://other/prod", "gs://callwright/prod", "memory://callwright/prod",
        "file:///data/store", "file:///etc", "file:///data/../etc", "file:///data//store", "s3://callwright/prod//a",
        "s3://callwright/prod/%2e%2e/other", "s3://callwright/prod/../other", "s3://user:pw@callwright/prod",
        "file:///data/%2e%2e/etc", "file://localhost/etc", "s3://callwright:80/prod",
    )],
    *[({"base": {"model": base}}, "spec.base.model", value) for base, value in (
        ("s3://elsewhere/base", "stores"), ("file:///etc", "stores"), ("/etc", "mountRoots"), ("../a", "mountRoots"),
        ("a/..", "mountRoots"), ("~/a", "mountRoots"), ("/mnt/../etc", "mountRoots"), ("/proc/self", "mountRoots"),
        ("http://169.254.169.254/a", "stores"),
    )],
    *[(from_source(path), "spec.data.sources[0].path", value) for path, value in (
        ("s3://elsewhere/a.jsonl", "stores"), ("http://169.254.169.254/latest/a.jsonl", "stores"),
        ("file:///proc/self/environ", "stores"), ("/proc/self/environ", "mountRoots"), ("tools.jsonl", "mountRoots"),
        ("/dataset/../proc/self/environ", "mountRoots"), ("/dataset//a", "mountRoots"), ("../a.jsonl", "mountRoots"),
        ("hf://datasets/../../a/b", "stores"), ("modelscope://../a/b", "stores"),
        ("memory://a/b.jsonl", "stores"), ("/etc/callwright/finetune.yaml", "mountRoots"),
    )],
    ({"evaluate": {"sets": [{"name": "a", "path": "s3://elsewhere/a"}]}}, "spec.evaluate.sets[0].path", "stores"),
    *[({"deploy": {"engine": {"extra": {option: 1}}}}, "spec.deploy.engine.extra", "engineOptions") for option in (
        "hf_overrides", "download_dir", "load_format", "speculative_config", "otlp_traces_endpoint", "master_port",
        "allowed_local_media_path", "tensor_parallel_size", "generation_config", "profiler_config", "chat_template",
        "enable_sleep_mode", "kv_events_config", "default_mm_loras", "hf_token", "data_parallel_address",
        "max-num-seqs",
    )],
]  # fmt: skip


@pytest.mark.parametrize("parts", OWN, ids=str)
def test_the_releases_own_may_be_named(parts: dict[str, Any]) -> None:
    assert refusals(document(**parts), CONFIG) == ()


@pytest.mark.parametrize(("parts", "key", "value"), OUTSIDE, ids=str)
def test_what_is_not_the_releases_own_is_refused_by_name(parts: dict[str, Any], key: str, value: str) -> None:
    (said,) = refusals(document(**parts), CONFIG)
    assert said.startswith(f"{key}: got ")
    assert f"the chart's value runs.allowed.{value} opens it" in said
    assert "pw" not in said


@pytest.mark.parametrize(
    ("allowed", "parts"),
    [
        ({"secrets": ("keys",)}, {"cluster": {"secret": "keys"}}),
        ({"service_accounts": ("*",)}, {"cluster": {"serviceAccount": "any"}}),
        ({"stores": ("gs://b/a",)}, {"store": "gs://b/a/deeper"}),
        ({"stores": ("*",)}, from_source("s3://anywhere/a.jsonl")),
        ({"stores": ("file:///data/",)}, from_source("file:///data/a.jsonl")),
        ({"engine_options": ("hf_overrides",)}, {"deploy": {"engine": {"extra": {"hf_overrides": {}}}}}),
    ],
)
def test_a_list_opens_what_it_names(allowed: dict[str, Any], parts: dict[str, Any]) -> None:
    config = CONFIG.model_copy(update={"allowed": Allowed(**allowed)})
    assert refusals(document(**parts), CONFIG)
    assert refusals(document(**parts), config) == ()


@pytest.mark.parametrize(
    ("allowed", "parts"),
    [
        ({"stores": ("*",)}, {"store": "memory://a"}),
        ({"stores": ("*",)}, {"store": "file:///etc"}),
        ({"stores": ("*",)}, from_source("http://169.254.169.254/a")),
        ({"mount_roots": ("/dataset/team",)}, mounted("/dataset")),
        ({"config_maps": ("mine",)}, mounted("/dataset", configMap="somebodys")),
        ({"claims": ()}, mounted("/dataset", claim="somebodys")),
    ],
)
def test_no_list_opens_more_than_it_names(allowed: dict[str, Any], parts: dict[str, Any]) -> None:
    assert refusals(document(**parts), CONFIG.model_copy(update={"allowed": Allowed(**allowed)}))


@pytest.mark.parametrize(
    "lists",
    [{"mount_roots": ("/usr",)}, {"mount_roots": ("/data/../usr",)}, {"mount_roots": ("/",)}, {"stores": ("memory://",)},
     {"stores": ("file:///etc",)}, {"stores": ("file:///data/../etc",)}],
)  # fmt: skip
def test_a_list_itself_stays_within_bounds(lists: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Allowed(**lists)


def test_the_claim_of_the_release_is_its_own() -> None:
    with_claim = CONFIG.model_copy(update={"store": "file:///data/store", "pods": RunPods(claim="data")})
    assert refusals(document(**from_source("/data/corpora/a.jsonl")), with_claim) == ()
    assert refusals(document(store="file://localhost/data/store/team"), with_claim) == ()
    assert refusals(document(store="file:///data/other"), with_claim)
    assert refusals(document(**from_source("/data/corpora/a.jsonl")), CONFIG)


@pytest.mark.parametrize(
    "option", ["trust_remote_code", "worker_extension_cls", "worker_cls", "logits_processors", "model", "tokenizer",
               "served_model_name", "reasoning_parser_plugin", "io_processor_plugin", "kv_transfer_config"],
)  # fmt: skip
def test_no_document_has_the_engine_load_code(option: str) -> None:
    """On one machine, too."""
    with pytest.raises(InvalidInput, match=f"extra cannot have {option}"):
        document(deploy={"engine": {"extra": {option: "a"}}})


@pytest.mark.parametrize(
    ("extra", "odd"),
    [
        ({"structured_outputs_config": {"reasoning_parser_plugin": "/data/a.py"}}, "reasoning_parser_plugin"),
        ({"hf_overrides": {"text_config": {"auto_map": {"AutoConfig": "a.B"}}}}, "auto_map"),
        ({"hf_overrides": {"architectures": ["Other"]}}, "architectures"),
        ({"distributed_executor_backend": "package.module.Executor"}, "distributed_executor_backend"),
    ],
)
def test_no_option_holds_one_that_loads_code(extra: dict[str, Any], odd: str) -> None:
    with pytest.raises(InvalidInput, match=f"extra cannot have {odd}"):
        document(deploy={"engine": {"extra": extra}})
    document(deploy={"engine": {"extra": {"distributed_executor_backend": "mp", "hf_overrides": {"rope_theta": 1}}}})


def made(play: Play) -> list[str]:
    return [kind.plural for kind in (RAY_JOB, JOB, CONFIG_MAP, NETWORK_POLICY) for each in play.cluster.find(
        kind, play.namespace, labels={desired.FINE_TUNE_LABEL: "weather"})]  # fmt: skip


def test_nothing_is_made_or_opened_for_a_refused_document(play: Play, reconciler: Reconciler) -> None:
    def opened(url: str, credentials: Path | None) -> RunStore:
        raise AssertionError(url)

    play.apply(play.document(cluster={"secret": "somebodys"}, store="s3://elsewhere"))
    asked = replace(reconciler, open_store=opened)
    asked.reconcile(play.namespace, "weather")
    status = play.status()
    (accepted,) = [each for each in status["conditions"] if each["type"] == "Accepted"]
    assert (status["phase"], accepted["status"], accepted["reason"]) == ("Failed", "False", "NotAllowed")
    for words in ("spec.cluster.secret: got 'somebodys'", "callwright-run", "runs.allowed.secrets", "spec.store: got"):
        assert words in status["message"]
    assert made(play) == []
    play.change(cluster={"secret": None}, store=None)
    assert play.live(reconciler)["attempt"] == 0


def test_a_refused_document_is_written_once(play: Play, reconciler: Reconciler) -> None:
    """A second look, at another time, changes nothing: else each write would be an event, and each event a look."""
    play.apply(play.document(cluster={"secret": "somebodys"}))
    reconciler.reconcile(play.namespace, "weather")
    (before,) = play.cluster.find(FINE_TUNE, play.namespace)
    for condition in before["status"]["conditions"]:
        condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    aged = {"conditions": before["status"]["conditions"], "finishedAt": "2026-01-01T00:00:00Z"}
    play.report(FINE_TUNE, "weather", aged)
    (before,) = play.cluster.find(FINE_TUNE, play.namespace)
    reconciler.reconcile(play.namespace, "weather")
    (after,) = play.cluster.find(FINE_TUNE, play.namespace)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_an_upgrade_that_narrows_ends_what_runs_and_keeps_what_has_ended(play: Play, reconciler: Reconciler) -> None:
    opened = reconciler.config.model_copy(update={"allowed": Allowed(secrets=("keys",))})
    before = replace(reconciler, config=opened)
    play.apply(play.document(cluster={"secret": "keys"}))
    run = play.live(before, until="Merging", but="merge")["run"]
    assert {"rayjobs", "jobs"} <= set(made(play))
    reconciler.reconcile(play.namespace, "weather")
    assert "runs.allowed.secrets" in play.status()["message"]
    assert made(play) == ["configmaps"], "what the run began with"
    assert play.live(before)["run"] == run, "opened again, the run goes on"
    assert made(play).count("rayjobs") == 0, "and nothing is trained again"
    ended = play.status()
    reconciler.reconcile(play.namespace, "weather")
    assert play.status() == ended
