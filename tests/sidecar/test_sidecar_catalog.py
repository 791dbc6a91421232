"""Which dialect a model speaks: overrides, manifests in a real store, promotion, and what nobody knows."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callwright.errors import InvalidInput
from callwright.sidecar.catalog import Catalog, Speech, speech
from callwright.sidecar.config import SidecarConfig, check
from callwright.sidecar.problems import Refused
from callwright.store import BaseModelRef, Manifest, Registry, Store


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A model with two versions in two dialects, the first promoted."""
    made = Registry(Store.open(f"file://{tmp_path}/store"))
    for version, dialect, stop in (("v1", "react_en", ("END",)), ("v2", "hermes", ())):
        manifest = Manifest(
            name="assistant",
            version=version,
            dialect=dialect,
            stop=stop,
            base=BaseModelRef(model="base"),
            adapter_digest="0" * 64,
            files={},
            created_at=datetime.now(UTC),
        )
        made.publish(manifest)
    made.promote("assistant", "v1")
    return made


def find(catalog: Catalog, model: str) -> Speech:
    return asyncio.run(catalog.find(model))


def test_the_manifest_says_it(registry: Registry) -> None:
    catalog = Catalog(SidecarConfig(models={"alias": "assistant@v2"}), registry)
    assert find(catalog, "assistant").dialect.name == "react_en"
    assert find(catalog, "assistant@v2").dialect.name == "hermes"
    assert find(catalog, "alias").dialect.name == "hermes"
    assert find(catalog, "assistant").stop == ("\nObservation:", "END")


def test_an_override_goes_first_and_the_star_last(registry: Registry) -> None:
    config = SidecarConfig(dialects={"assistant": "toolbench", "*": "react_zh"})
    catalog = Catalog(config, registry)
    assert find(catalog, "assistant").dialect.name == "toolbench"
    assert find(catalog, "assistant@v2").dialect.name == "hermes"
    assert find(catalog, "other").dialect.name == "react_zh"


def test_a_promotion_is_noticed(registry: Registry) -> None:
    catalog = Catalog(SidecarConfig(manifest_seconds=1e-9), registry)
    assert find(catalog, "assistant").dialect.name == "react_en"
    registry.promote("assistant", "v2")
    assert find(catalog, "assistant").dialect.name == "hermes"


@pytest.mark.parametrize("model", ["nobody", "assistant@v9", "../../etc", "", "a b", "é", "x" * 5000])
def test_what_nobody_knows_is_refused(registry: Registry, model: str) -> None:
    for catalog in (Catalog(SidecarConfig(), registry), Catalog(SidecarConfig(), None)):
        with pytest.raises(Refused) as refused:
            find(catalog, model)
        assert (refused.value.status, refused.value.param) == (404, "model")


def test_a_dialect_that_is_none() -> None:
    with pytest.raises(Refused, match="react_en"):
        speech("klingon")
    with pytest.raises(InvalidInput, match="react_en"):
        Catalog(SidecarConfig(dialects={"m": "klingon"}), None)


def test_flags_write_pairs() -> None:
    config = check({"dialects": ["a=b=hermes", "*=react_en"], "models": ["x=assistant@v1"]})
    assert config.dialects == {"a=b": "hermes", "*": "react_en"}
    assert config.models == {"x": "assistant@v1"}
    for wrong in ({"dialects": ["hermes"]}, {"models": ["=x"]}, {"upstream": "nowhere"}, {"port": 0}):
        with pytest.raises(InvalidInput):
            check(wrong)
