"""What `k8s/` offers to apply: the spec and the real schemas take it, and what is rendered is up to date.

`k8s/kind-up` is run with programs in place of Docker, kind, Helm and kubectl that write down how they were called.
"""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import manifests
from callwright import spec
from manifests import render, values_of

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted(path for path in (ROOT / "k8s").glob("0*.yaml") if not path.name.endswith("-values.yaml"))
RENDERED = sorted((ROOT / "k8s").glob("0*-values.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [made for made in yaml.safe_load_all(path.read_text(encoding="utf-8")) if made]


def test_objects_are_held_against_the_newest_kubernetes() -> None:
    newest = kubernetes_validate.latest_version()
    major, minor = (int(part) for part in newest.split(".")[:2])
    assert tuple(f"{major}.{minor - back}" for back in range(3)) == manifests.MINORS


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_valid(path: Path, shared: Path) -> None:
    for made in documents(path):
        assert manifests.problems(made, kuberay=shared / "crds/kuberay") == []
        for where, pod in manifests.pods(made):
            assert manifests.unsafe(pod) == [], f"{made['kind']}{where}"
        if made["kind"] == "FineTune":
            spec.parse(yaml.safe_dump(made))


def test_quick_start_finds_its_conversations(tmp_path: Path) -> None:
    from callwright.datasets import readers

    config_map, document = documents(ROOT / "k8s/01-quick-start.yaml")
    finetune = spec.parse(yaml.safe_dump(document))
    (mount,) = finetune.spec.cluster.mounts
    assert mount.config_map == config_map["metadata"]["name"]
    (source,) = finetune.spec.data.sources
    name = Path(source.path).relative_to(mount.path).name
    (tmp_path / name).write_text(config_map["data"][name], encoding="utf-8")
    asks, says = readers.read(tmp_path / name, strict="fail")
    calls = [call["function"]["name"] for message in asks.messages for call in message.get("tool_calls", ())]
    assert calls == [tool["function"]["name"] for tool in asks.tools] == ["weather"], "a call, and no prose"
    assert not says.tools


def test_a_gate_asks_of_no_sample_what_its_sets_do_not_measure() -> None:
    """Forgetting is measured on rows without tools, beside the base."""
    made = [each for path in SAMPLES for each in documents(path) if each["kind"] == "FineTune"]
    gated = [spec.parse(yaml.safe_dump(each)).spec for each in made if "gate" in each["spec"].get("evaluate", {})]
    assert gated
    for asked in gated:
        if asked.evaluate.gate.max_forgetting is not None:
            assert asked.evaluate.compare_base
            assert "general" in {each.name for each in asked.evaluate.sets}


def test_eight_gpus_train_as_the_agent_recipe_does() -> None:
    (document,) = documents(ROOT / "k8s/03-eight-gpus.yaml")
    asked = spec.parse(yaml.safe_dump(document)).spec
    assert [source.ratio for source in asked.data.sources] == [None, 2.0]
    assert asked.data.self_cognition is not None
    assert (asked.data.self_cognition.count, asked.data.max_length) == (3000, 2048)
    assert (asked.resources.workers, asked.resources.gpus_per_worker) == (8, 1)
    train, lora = asked.train, asked.lora
    assert (train.epochs, train.learning_rate, train.batch_size, train.sequences_per_step) == (2, 5e-5, 2, 32)
    assert (train.warmup_ratio, train.weight_decay, train.max_grad_norm) == (0.03, 0.1, 0.5)
    assert (lora.rank, lora.alpha, lora.dropout, lora.targets) == (8, 32, 0.05, "all-linear")


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_rendered_samples_are_up_to_date(path: Path) -> None:
    sample = path.with_name(path.name.replace("-values", ""))
    values = values_of(path)
    made = render("serving", values, release=values["fullnameOverride"], namespace="default")
    wanted = [each for each in made if "helm.sh/hook" not in each["metadata"].get("annotations", {})]
    found = sorted(documents(sample), key=lambda each: str(each["kind"]))
    assert found == sorted(wanted, key=lambda each: str(each["kind"])), (
        f"render it anew: {sample.read_text(encoding='utf-8').splitlines()[0]}"
    )


@pytest.fixture
def called(tmp_path: Path) -> list[list[str]]:
    """What `kind-up` calls, in order, where the quick start is promoted at once."""
    log, programs = tmp_path / "log", tmp_path / "bin"
    programs.mkdir()
    for name in ("docker", "kind", "helm", "kubectl"):
        program = programs / name
        program.write_text(
            f'#!/bin/bash\nprintf "%q " {name} "$@" >>{log}; echo >>{log}\n'
            '[[ "$*" == *get\\ secret* ]] && exit 1\n'
            '[[ "$*" == *status.phase* ]] && echo Promoted\nexit 0\n'
        )
        program.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([ROOT / "k8s/kind-up"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_kind_gets_every_image_that_its_pods_ask_for(called: list[list[str]], shared: Path) -> None:
    (loaded,) = [set(call[5:]) for call in called if call[:3] == ["kind", "load", "docker-image"]]
    asked: set[str] = set()
    for call in called:
        if call[:3] != ["helm", "upgrade", "--install"]:
            continue
        values = values_of(ROOT / call[call.index("--values") + 1])
        for made in render(Path(call[4]).name, values, release=call[3], namespace="default"):
            assert manifests.problems(made, kuberay=shared / "crds/kuberay") == []
            for _, pod in manifests.pods(made):
                asked |= {each["image"] for each in [*pod.get("initContainers", ()), *pod["containers"]]}
            if "controller.yaml" in made.get("data", {}):
                images = yaml.safe_load(made["data"]["controller.yaml"])["images"]
                asked |= {image for room, image in images.items() if not room.startswith("pull")}
    assert {image for image in asked if image.startswith("callwright-")} == loaded


def test_kind_serves_what_the_quick_start_promotes_where_the_cluster_lets_it_out(called: list[list[str]]) -> None:
    files = [Path(each) for call in called for each in call if each.startswith("k8s/")]
    assert all((ROOT / file).is_file() for file in files)
    documents_applied = documents(ROOT / next(file for file in files if file.name.startswith("01")))
    quick_start = spec.parse(yaml.safe_dump(documents_applied[1]))
    serving = values_of(ROOT / "k8s/kind/serving-values.yaml")
    assert serving["model"]["name"] == quick_start.model_name
    assert quick_start.spec.evaluate.promote == "auto"
    (node,) = values_of(ROOT / "k8s/kind/cluster.yaml")["nodes"]
    assert serving["service"]["nodePort"] in {each["containerPort"] for each in node["extraPortMappings"]}
    callwright = values_of(ROOT / "k8s/kind/callwright-values.yaml")
    assert callwright["store"] == serving["store"]
    (secret,) = [call for call in called if call[:4] == ["kubectl", "create", "secret", "generic"]]
    assert secret[4] == callwright["store"]["existingSecret"]
    assert "--from-literal=AWS_ENDPOINT_URL=http://callwright-store:9000" in secret
