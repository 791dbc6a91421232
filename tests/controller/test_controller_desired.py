"""The objects of a run as a pure function of the document: names, commands, placement, and the real schemas."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import manifests
from callwright import spec
from callwright.cli.run import plan_trial_here
from callwright.controller import desired
from callwright.controller.config import ControllerConfig, RunPods
from callwright.controller.desired import Run
from callwright.controller.desired.run import BASE_FOLDER
from callwright.evaluator.config import EvaluatorConfig
from callwright.merger.config import MergerConfig
from callwright.run import Run as LocalRun
from callwright.server.config import ServerConfig, sidecar_command
from callwright.sidecar.config import SidecarConfig
from callwright.store import Store
from callwright.trainer.config import TrainerConfig
from cast import config_of

ROOT = Path(__file__).resolve().parents[2]

CONFIG = config_of("s3://bucket/prefix")

DOCUMENT = """
apiVersion: callwright.io/v1alpha1
kind: FineTune
metadata: {name: weather, labels: {kueue.x-k8s.io/queue-name: training, app.kubernetes.io/instance: argo, team: a}}
spec:
  base: {model: Qwen/Qwen2.5-7B-Instruct}
  data: {sources: [{path: /dataset/tools.jsonl}]}
  resources:
    workers: 8
    gpusPerWorker: 1
    cpusPerWorker: 7.5
    memoryPerWorker: 64Gi
    nodeSelector: {accelerator: a100}
    tolerations: [{key: nvidia.com/gpu, operator: Exists}]
  cluster:
    secret: keys
    serviceAccount: trainer
    mounts: [{path: /dataset, claim: conversations}, {path: /more, configMap: more}]
  deploy: {engine: {tensorParallelSize: 2}}
"""


def run_of(text: str = DOCUMENT, *, config: ControllerConfig = CONFIG, attempt: int = 0) -> Run:
    finetune = spec.parse(text)
    return Run(finetune, "team-a", "uid-1", spec.run_name(finetune), attempt, config, config.store)


def objects(run: Run) -> list[dict[str, Any]]:
    jobs = [desired.preparation_job(run), desired.merge_job(run), desired.evaluation_job(run)]
    return [run.config_map(), desired.ray_job(run), *jobs]


def worker(run: Run) -> dict[str, Any]:
    group: dict[str, Any] = desired.ray_job(run)["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    return group


def changed(**parts: Any) -> str:
    document = yaml.safe_load(DOCUMENT)
    document["spec"] |= parts
    return yaml.safe_dump(document)


@pytest.mark.parametrize(
    "config", [CONFIG, CONFIG.model_copy(update={"pods": RunPods(claim="shared", service_account="s")})]
)
def test_objects_fit_the_real_schemas(shared: Path, config: ControllerConfig) -> None:
    for made in objects(run_of(config=config)):
        assert manifests.problems(made, kuberay=shared / "crds/kuberay") == []


def test_pods_are_restricted() -> None:
    for made in objects(run_of())[1:]:
        for where, pod in manifests.pods(made):
            assert manifests.unsafe(pod) == [], where


def test_commands_name_the_document_run_and_store() -> None:
    run = run_of()
    entrypoint = shlex.split(desired.ray_job(run)["spec"]["entrypoint"])
    prepare = desired.preparation_job(run)["spec"]["template"]["spec"]["containers"][0]["command"]
    merge = desired.merge_job(run)["spec"]["template"]["spec"]["containers"][0]["command"]
    evaluate = desired.evaluation_job(run)["spec"]["template"]["spec"]["containers"][0]["command"]
    assert prepare[-2:] == ["--stage", "prepare"]
    for room, command in (
        ("trainer", prepare), ("trainer", entrypoint), ("merger", merge), ("evaluator", evaluate)
    ):  # fmt: skip
        assert command[:3] == ["python", "-m", f"callwright.{room}"]
        told = dict(zip(command[3::2], command[4::2], strict=True))
        assert told["--spec"] == "/etc/callwright/finetune.yaml"
        assert (told["--run"], told["--store"]) == (run.name, "s3://bucket/prefix")


def test_rooms_know_the_flags_that_their_pods_give_them() -> None:
    job = desired.evaluation_job(run_of())["spec"]["template"]["spec"]
    sidecar = next(each for each in job["initContainers"] if each["name"] == "sidecar")["command"]
    merge = desired.merge_job(run_of())["spec"]["template"]["spec"]["containers"][0]["command"]
    prepare = desired.preparation_job(run_of())["spec"]["template"]["spec"]["containers"][0]["command"]
    train = shlex.split(desired.ray_job(run_of())["spec"]["entrypoint"])
    for command, known in (
        (prepare, flags_of(TrainerConfig)),
        (train, flags_of(TrainerConfig)),
        (merge, flags_of(MergerConfig)),
        (job["containers"][0]["command"], flags_of(EvaluatorConfig)),
        (sidecar, flags_of(SidecarConfig) | {"--host", "--port", "--model", "--dialect"}),
    ):
        assert {word for word in command if word.startswith("--")} <= known, command


def flags_of(config: type[BaseModel]) -> set[str]:
    return {f"--{name.replace('_', '-')}" for name in config.model_fields}


def test_workers_are_as_the_document_says() -> None:
    group = worker(run_of())
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (8, 8, 8)
    assert group["rayStartParams"] == {"num-cpus": "8", "num-gpus": "1"}
    pod = group["template"]["spec"]
    assert pod["nodeSelector"] == {"accelerator": "a100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod["serviceAccountName"] == "trainer"
    container = pod["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "7500m", "memory": "64Gi"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": 1},
    }
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert {"name": "mount-0", "mountPath": "/dataset", "readOnly": True} in container["volumeMounts"]
    assert "kueue.x-k8s.io/queue-name" not in group["template"]["metadata"]["labels"], "no pod has a user's label"


def test_a_run_s_pods_reach_one_another_and_let_nobody_else_in_but_the_operator() -> None:
    run = run_of()
    policy = desired.network_policy(run)["spec"]
    own = [{"podSelector": {"matchLabels": {"callwright.io/run": run.name}}}]
    assert policy["podSelector"] == own[0]["podSelector"]
    among, operator, metrics = policy["ingress"]
    assert among == {"from": own}
    assert (operator["from"][0]["podSelector"]["matchLabels"], operator["ports"]) == (
        {"app.kubernetes.io/name": "kuberay-operator"}, [{"port": 8265}],
    )  # fmt: skip
    assert metrics == {"ports": [{"port": 8080}]}
    assert policy["egress"] == [{"to": own}, {}], "a namespace that denies by default does not stop a run"
    training, *jobs = (made["spec"] for made in objects(run)[1:])
    cluster = training["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    templates = [training["submitterPodTemplate"], *(each["template"] for each in (*groups, *jobs))]
    for template in templates:
        assert template["metadata"]["labels"]["callwright.io/run"] == run.name


def test_retries_and_what_is_left_behind() -> None:
    """A RayJob is tried again on a new cluster and gives its GPUs back at once; what has ended stays for a while."""
    pods = RunPods(backoff_limit=4, ttl_seconds_after_finished=60)
    run = run_of(config=CONFIG.model_copy(update={"pods": pods}))
    training, *jobs = objects(run)[1:]
    assert [made["spec"]["backoffLimit"] for made in (training, *jobs)] == [4, 4, 4, 4]
    assert [made["spec"]["ttlSecondsAfterFinished"] for made in jobs] == [60, 60, 60]
    for made in jobs:
        wrong, disrupted = made["spec"]["podFailurePolicy"]["rules"]
        assert (wrong["action"], wrong["onExitCodes"]["values"]) == ("FailJob", [2]), "another try changes nothing"
        assert (disrupted["action"], disrupted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (training["spec"]["shutdownAfterJobFinishes"], training["spec"]["ttlSecondsAfterFinished"]) == (True, 0)
    for made in objects(run):
        assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
        assert not {"app.kubernetes.io/instance", "team"} & made["metadata"]["labels"].keys(), "who prunes by them"
    assert "suspend" not in desired.ray_job(run)["spec"]  # not ours to say: Kueue sets it
    assert desired.ray_job(run_of(changed(suspend=True)))["spec"]["suspend"] is True


def test_without_gpus_nothing_asks_for_one() -> None:
    made = objects(run_of(changed(resources={"workers": 2})))
    assert "nvidia.com/gpu" not in yaml.safe_dump_all(made).replace("key: nvidia.com/gpu", "")


def test_only_training_and_evaluation_ask_for_gpus() -> None:
    asks = {
        made["metadata"]["labels"]["callwright.io/stage"]
        for made in objects(run_of())[1:]
        if "nvidia.com/gpu" in yaml.safe_dump(made).replace("key: nvidia.com/gpu", "")
    }
    assert asks == {"train", "evaluate"}


def test_a_job_s_pods_count_the_cpus_that_they_ask_for() -> None:
    """Ray counts those of its own."""
    for made in objects(run_of())[2:]:
        pod = made["spec"]["template"]["spec"]
        for each in [*pod["containers"], *pod.get("initContainers", ())]:
            env = {one["name"]: one.get("valueFrom") for one in each["env"]}
            asked = {"resourceFieldRef": {"resource": "requests.cpu"}}
            assert (env["CALLWRIGHT_CPUS"], env["OMP_NUM_THREADS"]) == (asked, asked)
    for each in worker(run_of())["template"]["spec"]["containers"]:
        assert not {"CALLWRIGHT_CPUS", "OMP_NUM_THREADS"} & {one["name"] for one in each["env"]}


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    (made,) = [each for each in [*pod["initContainers"], *pod["containers"]] if each["name"] == name]
    return dict(made)


@pytest.mark.parametrize("standing", [None, "weather-0"])
def test_evaluation_serves_and_measures_what_one_machine_does(
    standing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate, the base and the promoted version: the same models, ids and dialects as `callwright run`'s."""
    monkeypatch.setattr("callwright.run.resolve_base", lambda *_, **__: Path(BASE_FOLDER))
    monkeypatch.setattr("callwright.cli.run.promoted_to_serve", lambda *_, other_than: standing)
    run = replace(run_of(), standing=standing)
    store = Store.open(f"file://{tmp_path}")
    here = plan_trial_here(LocalRun(run.finetune, run.name, store, tmp_path))
    config = ServerConfig.model_validate(yaml.safe_load(run.config_map()["data"]["server.yaml"]))
    assert config.models == here.server.models
    assert (config.models[0].version, config.device) == (run.name, "gpu")

    pod = desired.evaluation_job(run)["spec"]["template"]["spec"]
    evaluator = container(pod, "evaluate")["command"]
    asked = dict(zip(evaluator[3::2], evaluator[4::2], strict=True))
    assert asked["--base-id"] == here.base == "weather.base"
    assert asked.get("--promoted-id") == here.promoted == (standing and f"weather@{standing}")
    front = sidecar_command(here.server, port=8100)
    assert container(pod, "sidecar")["command"] == [
        "python", "-m", *(run.store if word == store.url else word for word in front),
    ]  # fmt: skip
    assert container(pod, "engine")["resources"]["limits"]["nvidia.com/gpu"] == 2  # the models share a replica's


def test_without_the_base_it_is_neither_brought_nor_served() -> None:
    pod = desired.evaluation_job(run_of(changed(evaluate={"compareBase": False})))["spec"]["template"]["spec"]
    assert [each["name"] for each in pod["initContainers"]] == ["engine", "sidecar", "wait"]
    assert "--base-id" not in container(pod, "evaluate")["command"]


def test_document_of_the_pods_is_the_document() -> None:
    run = run_of()
    assert spec.parse(run.config_map()["data"]["finetune.yaml"]) == run.finetune


def test_what_shapes_the_result_names_the_run() -> None:
    name = run_of().name
    for same in (
        {"suspend": True},
        {"resources": {"memoryPerWorker": "1Ti"}},
        {"deploy": {"service": "a"}},
        {"cluster": {}},
    ):
        assert run_of(changed(**same)).name == name
    for other in ({"train": {"seed": 1}}, {"dialect": "hermes"}, {"deploy": {"model": "other"}}):
        assert run_of(changed(**other)).name != name


@pytest.mark.parametrize("name", ["a", "9" * 52, "x" * 52, "a-b-" * 12 + "cdef"])
def test_names_are_what_kuberay_takes(name: str) -> None:
    run = run_of(DOCUMENT.replace("name: weather", f'name: "{name}"'), attempt=99)
    ray_job = desired.ray_job(run)["metadata"]["name"]
    assert len(ray_job) <= 47
    assert ray_job[0].isalpha()
    assert all(len(made["metadata"]["name"]) <= 63 for made in objects(run))


def test_attempts_have_names_of_their_own() -> None:
    first, second = objects(run_of()), objects(run_of(attempt=1))
    assert first[0] == second[0]
    assert all(
        one["metadata"]["name"] != two["metadata"]["name"] for one, two in zip(first[1:], second[1:], strict=True)
    )


def test_workers_share_a_pod_where_the_document_says_so() -> None:
    """The eight GPUs of a node in one pod, so that its workers speak over NVLink."""
    resources = {"workers": 16, "gpusPerWorker": 1, "gpusPerPod": 8, "cpusPerWorker": 1.5, "memoryPerWorker": "1.5Gi"}
    (group,) = desired.ray_job(run_of(changed(resources=resources)))["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (2, 2, 2)
    assert group["rayStartParams"] == {"num-cpus": "12", "num-gpus": "8"}
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "12", "memory": "12Gi"}
    assert container["resources"]["limits"] == {"memory": "12Gi", "nvidia.com/gpu": 8}


@pytest.mark.parametrize(
    ("given", "capabilities"),
    [
        ({"resource": "rdma/hca"}, {"drop": ["ALL"], "add": ["IPC_LOCK"]}),
        ({"resource": "rdma/hca", "count": 1, "ipcLock": False}, {"drop": ["ALL"]}),
    ],
)
def test_training_workers_have_rdma_where_the_installation_has(
    shared: Path, given: dict[str, Any], capabilities: dict[str, Any]
) -> None:
    run = run_of(config=CONFIG.model_copy(update={"pods": RunPods.model_validate({"rdma": given})}))
    assert manifests.problems(desired.ray_job(run), kuberay=shared / "crds/kuberay") == []
    (made,) = worker(run)["template"]["spec"]["containers"]
    assert made["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": 1, "rdma/hca": 1}
    assert made["securityContext"]["capabilities"] == capabilities
    others = [yaml.safe_dump(each) for each in objects(run) if each["kind"] != "RayJob"]
    assert not any("rdma/hca" in each or "IPC_LOCK" in each for each in others)


def test_every_stage_has_a_deadline_and_room_for_the_installations_own() -> None:
    own = {"metadata": {"annotations": {"a": "b"}}, "spec": {"priorityClassName": "low"}}
    ipc = {"securityContext": {"capabilities": {"add": ["IPC_LOCK"]}}, "resources": {"limits": {"rdma/ib": 1}}}
    templates: dict[str, Any] = dict.fromkeys(("prepare", "head", "submitter", "merge", "evaluate"), own)
    templates["workers"] = {"spec": {"containers": [{"name": "ray-worker", **ipc}], "nodeSelector": {"pool": "a"}}}
    given = {"templates": templates, "gpuResource": "amd.com/gpu", "deadlineSeconds": {"train": 100, "merge": 200}}
    config = CONFIG.model_copy(update={"pods": RunPods.model_validate(given)})
    run = replace(run_of(DOCUMENT), config=config)
    stages = [each["spec"] for each in objects(run) if each["kind"] in ("RayJob", "Job")]
    assert [each["activeDeadlineSeconds"] for each in stages] == [100, 43200, 200, 43200]
    training, preparation, merge, evaluation = stages
    ray = training["rayClusterSpec"]
    pods = [
        preparation["template"],
        ray["headGroupSpec"]["template"],
        training["submitterPodTemplate"],
        merge["template"],
        evaluation["template"],
    ]
    for pod in pods:
        assert pod["metadata"]["annotations"] == {"a": "b"}
        assert pod["metadata"]["labels"]["callwright.io/run"] == run.name
        assert pod["spec"]["priorityClassName"] == "low"
    (container,) = ray["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert container["resources"]["limits"].keys() == {"memory", "amd.com/gpu", "rdma/ib"}
    assert container["volumeMounts"], "ours stays"
