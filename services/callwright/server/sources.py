"""Finds the files of models and adapters: in local directories, or in the store through the node's cache.

Knows the store's layout, and nothing of engines.
"""

from pathlib import Path

from callwright.errors import InvalidInput
from callwright.server.config import ServedAdapter, ServedModel, ServerConfig
from callwright.store import (
    AdapterConfig,
    FileEntry,
    Manifest,
    Registry,
    Store,
    check_folder,
    fetch,
    fetch_folder,
    served_files,
)  # fmt: skip

_RUN = "run:"


def model_directory(model: ServedModel, config: ServerConfig) -> Path:
    """Return the model's directory; a version from the store is fetched and verified. Raises `NotFound`,
    `StageFailed`.
    """
    if model.path is not None:
        return check_folder(Path(model.path))
    return fetch(_store(config), str(model.name), model.version, Path(config.cache_dir))


def published_files(model: ServedModel, config: ServerConfig) -> dict[str, FileEntry]:
    """Return what the manifest of a version from the store says of its files; nothing of a local directory."""
    if model.path is not None:
        return {}
    return served_files(Registry(_store(config)).manifest(str(model.name), model.version))


def manifest(folder: Path) -> Manifest:
    """Return the manifest beside the files of a version that `model_directory` has fetched."""
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def adapter_directory(adapter: ServedAdapter, config: ServerConfig) -> Path:
    """Return the adapter's directory, in PEFT's layout. Raises `NotFound`."""
    if not adapter.path.startswith(_RUN):
        return check_folder(Path(adapter.path))
    run = adapter.path.removeprefix(_RUN)
    store, prefix = _store(config), f"runs/{run}/adapter"
    # A run that is trained again writes other bytes under the same keys: they come to another directory.
    return check_folder(fetch_folder(store, prefix, Path(config.cache_dir) / "adapters", run))


def adapter_rank(folder: Path) -> int:
    """Return the largest rank that PEFT's configuration in `folder` states. Raises `NotFound` and `InvalidInput`."""
    return AdapterConfig.read(folder).max_rank


def _store(config: ServerConfig) -> Store:
    if config.store is None:
        raise InvalidInput("serving: got a model or run in the store; expected the store's URL; set store")
    return Store.open(config.store)
