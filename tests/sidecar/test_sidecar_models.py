"""Which dialect a model speaks: overrides, manifests in a real store, promotion, and what nobody knows."""

import asyncio
from pathlib import Path

import pytest

from callwright.errors import InvalidInput
from callwright.sidecar.config import SidecarConfig, check
from callwright.sidecar.errors import Refused
from callwright.sidecar.models import ModelDialect, Models, named_dialect
from callwright.sidecar.upstream import Upstream
from callwright.store import Registry, Store
from versions import publish_version


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A model with two versions in two dialects, the first promoted."""
    made = Registry(Store.open(f"file://{tmp_path}/store"))
    for version, dialect, stop in (("v1", "react_en", ("END",)), ("v2", "hermes", ())):
        publish_version(made.store, version, name="assistant", dialect=dialect, stop=stop)
    made.promote("assistant", "v1")
    return made


def known(config: SidecarConfig, registry: Registry | None) -> Models:
    return Models(config, registry, Upstream(config.upstream, connect_seconds=1, silent_seconds=1))


def find(models: Models, model: str) -> ModelDialect:
    return asyncio.run(models.dialect_of(model))


def test_the_manifest_says_it(registry: Registry) -> None:
    models = known(SidecarConfig(models={"alias": "assistant@v2"}), registry)
    assert find(models, "assistant").dialect.name == "react_en"
    assert find(models, "assistant@v2").dialect.name == "hermes"
    assert find(models, "alias").dialect.name == "hermes"
    assert find(models, "assistant").stop == ("\nObservation:", "END")


def test_an_override_goes_first_and_the_star_last(registry: Registry) -> None:
    config = SidecarConfig(dialects={"assistant": "toolbench", "*": "react_zh"})
    models = known(config, registry)
    assert find(models, "assistant").dialect.name == "toolbench"
    assert find(models, "assistant@v2").dialect.name == "hermes"
    assert find(models, "other").dialect.name == "react_zh"


def test_a_promotion_is_noticed(registry: Registry) -> None:
    models = known(SidecarConfig(manifest_seconds=1e-9), registry)
    assert find(models, "assistant").dialect.name == "react_en"
    registry.promote("assistant", "v2")
    assert find(models, "assistant").dialect.name == "hermes"


@pytest.mark.parametrize("model", ["nobody", "assistant@v9", "../../etc", "", "a b", "é", "x" * 5000])
def test_what_nobody_knows_is_refused(registry: Registry, model: str) -> None:
    for models in (known(SidecarConfig(), registry), known(SidecarConfig(), None)):
        with pytest.raises(Refused) as refused:
            find(models, model)
        assert (refused.value.status, refused.value.param) == (404, "model")


def test_a_dialect_that_is_none() -> None:
    with pytest.raises(Refused, match="react_en"):
        named_dialect("klingon")
    with pytest.raises(InvalidInput, match="react_en"):
        known(SidecarConfig(dialects={"m": "klingon"}), None)


def test_flags_write_pairs() -> None:
    config = check({"dialects": ["a=b=hermes", "*=react_en"], "models": ["x=assistant@v1"]})
    assert config.dialects == {"a=b": "hermes", "*": "react_en"}
    assert config.models == {"x": "assistant@v1"}
    for wrong in ({"dialects": ["hermes"]}, {"models": ["=x"]}, {"upstream": "nowhere"}, {"port": 0}):
        with pytest.raises(InvalidInput):
            check(wrong)
