"""Merging in tests: into a folder's store, with as little ceremony as possible."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_merge import run_merge
from tiny_adapters import make_adapter, make_base

from callwright.store import Manifest, Store


@pytest.fixture(autouse=True, scope="module")  # not longer: other rooms' tests start processes with this environment
def _quiet_and_offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TRANSFORMERS_VERBOSITY", "error")
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and an adapter for it; tests only read them."""
    folder = tmp_path_factory.mktemp("pair")
    base = make_base(folder / "base")
    return base, make_adapter(folder / "adapter", base)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in a folder."""
    return Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def merged(store: Store) -> Callable[..., tuple[Manifest, Path]]:
    """Merges base and adapter into version v1 of `m`; returns its manifest and its folder in the store."""

    def run(base: Path, adapter: Path, /, **options: Any) -> tuple[Manifest, Path]:
        manifest = run_merge(store, base, adapter, **options)
        assert store.root is not None
        return manifest, store.root / "models" / manifest.name / "versions" / manifest.version

    return run
