"""What is served while a candidate is measured, and when the promoted version must be among it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from callwright import spec
from callwright.server import replica, sources
from callwright.server.config import ServedModel, ServerConfig, sidecar_command
from callwright.server.trial import plan_trial, promoted_to_serve
from callwright.spec.model import Engine
from callwright.store import Registry, Store, Template
from versions import publish_version


def document(*sets: str, name: str = "m", **evaluate: Any) -> spec.FineTune:
    body = {
        "base": {"model": "b"},
        "data": {"sources": [{"path": "p"}]},
        "evaluate": {"sets": [{"name": each, "path": "p"} for each in sets], **evaluate},
    }
    text = yaml.safe_dump(
        {"apiVersion": spec.API_VERSION, "kind": "FineTune", "metadata": {"name": name}} | {"spec": body}
    )
    return spec.parse(text)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store.open(f"file://{tmp_path}"))


def publish(registry: Registry, version: str, *measured: str) -> None:
    report = {"sets": {name: {} for name in measured}}
    metrics = {"evaluation": {"run": version, "reports": {"candidate": report}}} if measured else {}
    publish_version(registry.store, version, metrics=metrics)
    registry.promote("m", version, expect="*")


def test_nothing_promoted_or_the_candidate_itself(registry: Registry) -> None:
    assert promoted_to_serve(document("a"), registry, other_than="v1") is None
    publish(registry, "v1")
    assert promoted_to_serve(document("a"), registry, other_than="v1") is None


@pytest.mark.parametrize(
    ("measured", "asked", "served"),
    [
        (("a", "b"), ("a",), None),  # the report in the store does
        (("a",), ("a", "b"), "v1"),  # a set is new
        ((), ("a",), "v1"),  # never evaluated
        (("test-split",), (), "v1"),  # a split of its own, of whichever data
    ],
)
def test_the_promoted_version_is_served_where_no_report_does(
    registry: Registry, measured: tuple[str, ...], asked: tuple[str, ...], served: str | None
) -> None:
    publish(registry, "v1", *measured)
    assert promoted_to_serve(document(*asked), registry, other_than="v2") == served


@pytest.mark.parametrize("name", ["base", "promoted", "m"])
def test_ids_never_meet(name: str) -> None:
    tried = plan_trial(
        document(name=name), version="v2", base_path="/base", promoted="v1", store="file:///s", cache_dir="/c"
    )
    assert [model.id for model in tried.server.models] == [tried.candidate, tried.base, tried.promoted]
    assert tried.candidate == name
    assert [(model.path, model.version) for model in tried.server.models[1:]] == [("/base", "promoted"), (None, "v1")]


def test_the_base_is_talked_to_as_the_candidates_manifest_says(tmp_path: Path) -> None:
    """By the sidecar and by the engine: the same dialect, the same arguments of the chat template as in training."""
    template = Template(sha256="0" * 64, arguments={"enable_thinking": False}, tool_role=True, shows_reasoning=False)
    store = Store.open(f"file://{tmp_path}")
    publish_version(store, "v2", dialect="hermes", template=template)
    tried = plan_trial(
        document(), version="v2", base_path=str(tmp_path), promoted=None, store=store.url, cache_dir="/c"
    )
    base = tried.server.models[1]
    assert (base.id, base.as_version) == (tried.base, "m@v2")
    told = sources.manifest(base, tried.server, tmp_path)
    assert told is not None
    assert (told.dialect, told.template) == ("hermes", template)
    command = sidecar_command(tried.server, port=1)
    assert [command[n + 1] for n, word in enumerate(command) if word == "--model"] == ["m=m@v2", "m.base=m@v2"]
    assert "--dialect" not in command


def test_without_a_base_only_the_candidate() -> None:
    tried = plan_trial(
        document(compareBase=False), version="v", base_path="", promoted=None, store="file:///s", cache_dir="/c"
    )
    assert (len(tried.server.models), tried.base, tried.promoted) == (1, None, None)


def test_models_of_a_replica_share_its_gpus(tmp_path: Path) -> None:
    """As many GPUs as the widest engine spans, and of their memory each engine takes its part."""
    two = Engine(tensor_parallel_size=2)
    models = tuple(ServedModel(id=name, path="/p", engine=two) for name in "abc")
    config = ServerConfig(models=models, device="gpu")
    shares = [replica._engine_arguments(model, config, tmp_path, [])["gpu_memory_utilization"] for model in models]
    assert config.gpus == 2
    assert sum(shares) <= 0.93
    alone = ServerConfig(models=models[:1], device="gpu")
    assert "gpu_memory_utilization" not in replica._engine_arguments(models[0], alone, tmp_path, [])
    assert ServerConfig(models=models).gpus == 0
