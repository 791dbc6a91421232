"""Finds the files of models and adapters: in local directories, or in the store through the node's cache.

Knows the store's layout, and nothing of engines.
"""

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

from callwright.datasets.choosing import choose
from callwright.datasets.tokenizer import added_tokens, load_tokenizer
from callwright.dialects.foreign import special_tokens
from callwright.errors import InvalidInput, NotFound, StageFailed
from callwright.server.config import ServedAdapter, ServedModel, ServerConfig
from callwright.store import (
    AdapterConfig,
    BaseModelRef,
    Bound,
    Cache,
    FileEntry,
    Manifest,
    Registry,
    Store,
    cached_manifest,
    check_folder,
    fetch,
    fetch_folder,
    served_files,
)  # fmt: skip
from callwright.store.fetch import WEIGHTS
from callwright.store.manifest import checked_name, version_prefix
from callwright.store.storage import PATIENCE_SECONDS

_RUN = "run:"
_STREAMER = "runai_streamer"
"""vLLM's `load_format` for weights that it reads from an object store by itself."""
_AS_IT_IS = "as-it-is"
"""How the version of a base in no store begins."""
_SPOKEN = {"dialect", "stop", "special_tokens", "template"}
"""What of a manifest decides a prompt and how its answer is read."""
_SHORT_PATIENCE_SECONDS = 20.0
"""For a store whose answer can be done without."""
_LOG = logging.getLogger(__name__)


def model_directory(model: ServedModel, config: ServerConfig) -> Path:
    """Return the model's directory; a version from the store is fetched and verified, and stays while this process
    lives or until `release`. One that the node's cache has is there while the store does not answer, too.

    Raises `InvalidInput`, `NotFound`, `StageFailed` and `Unavailable`.
    """
    if model.path is not None:
        return check_folder(Path(model.path))
    name, cache_dir = str(model.name), Path(config.cache_dir)
    is_cached = cached_manifest(cache_dir, name, model.version) is not None
    return fetch(
        _store(config, patience_seconds=_SHORT_PATIENCE_SECONDS if is_cached else PATIENCE_SECONDS),
        name,
        model.version,
        cache_dir,
        weights=weights_url(model, config) is None,
        bound=_bound(config),
    )


def hold_folders(config: ServerConfig) -> None:
    """Have nothing evict the bases and adapters that lie in the cache already, before what is fetched needs room."""
    cache = Cache(Path(config.cache_dir))
    for model in config.models:
        paths = [model.path, *(adapter.path for adapter in model.adapters)]
        for path in paths:
            if path is not None and not path.startswith(_RUN):
                cache.hold(Path(path))


def weights_url(model: ServedModel, config: ServerConfig) -> str | None:
    """Return the URL that the engine streams the weights of a version from; None where it loads them from a folder."""
    store = config.store or ""
    if model.path is not None or model.engine.extra.get("load_format") != _STREAMER or not store.startswith("s3://"):
        return None
    return f"{store.rstrip('/')}/{version_prefix(str(model.name), model.version)}"


def check_streamed(model: ServedModel, config: ServerConfig) -> None:
    """Compare names and sizes of the weights that an engine will stream with the manifest: it takes all that are there,
    and nobody compares their bytes.

    Raises `StageFailed` where they differ.
    """
    store, prefix = _store(config), version_prefix(str(model.name), model.version)
    stored = {each.key.removeprefix(f"{prefix}/"): each.size for each in store.list(prefix)}
    files = Registry(store).manifest(str(model.name), model.version).files
    published = {path: entry.size for path, entry in files.items()}
    odd = sorted(path for path, _ in stored.items() ^ published.items() if path.endswith(WEIGHTS))
    if odd:
        raise StageFailed(
            f"streaming {model.name} {model.version}: its weights in the store are not what was published: {odd[0]}; "
            f"run `callwright models verify {model.name} {model.version}` and merge again"
        )
    _LOG.warning("model %s: its weights are streamed from the store; their SHA-256 is not compared", model.id)


def published_files(model: ServedModel, config: ServerConfig, folder: Path) -> dict[str, FileEntry]:
    """Return what the manifest of a version that `model_directory` has fetched says of its files; nothing of a local
    directory.
    """
    if model.path is not None:
        return {}
    return served_files(_fetched_manifest(folder), weights=weights_url(model, config) is None)


def manifest(model: ServedModel, config: ServerConfig, folder: Path) -> Manifest | None:
    """Return the manifest of a version that `model_directory` has fetched, that a base is served as, or what one
    would say of a base as it is.

    None where nothing says how a base writes calls: its tokenizer or its chat template cannot be used, or it serves
    adapters, which may have been trained in any dialect.
    """
    if model.path is None:
        return _fetched_manifest(folder)
    if model.as_version is not None:
        name, _, version = model.as_version.partition("@")
        return Registry(_store(config)).manifest(name, version)
    if model.adapters:
        return None
    try:
        tokenizer = load_tokenizer(folder)
        choice = choose(None, tokenizer)
    except (InvalidInput, NotFound) as error:
        _LOG.warning("model %s: its dialect is unknown: %s", model.id, error)
        return None
    for note in choice.notes:
        _LOG.warning("model %s: %s", model.id, note)
    said = Manifest(
        name=model.id,
        version=_AS_IT_IS,
        dialect=choice.dialect.name,
        stop=choice.stop,
        special_tokens=special_tokens(added_tokens(tokenizer)),
        base=BaseModelRef(model=str(model.path)),
        adapter_digest="",
        files={},
        template=choice.template,
        created_at=datetime.now(UTC),
    )
    digest = hashlib.sha256(said.model_dump_json(include=_SPOKEN).encode()).hexdigest()[:12]
    return said.model_copy(update={"version": f"{_AS_IT_IS}-{digest}"})


def adapter_directory(adapter: ServedAdapter, config: ServerConfig) -> Path:
    """Return the adapter's directory, in PEFT's layout. Raises `NotFound`."""
    if not adapter.path.startswith(_RUN):
        return check_folder(Path(adapter.path))
    run = checked_name(adapter.path.removeprefix(_RUN), what="run")
    store, prefix = _store(config), f"runs/{run}/adapter"
    # A run that is trained again writes other bytes under the same keys: they come to another directory.
    folder = fetch_folder(store, prefix, Path(config.cache_dir), f"adapters/{run}", bound=_bound(config))
    return check_folder(folder)


def release(config: ServerConfig) -> None:
    """Let go of what this process uses of the cache."""
    Cache(Path(config.cache_dir)).release()


def adapter_rank(folder: Path) -> int:
    """Return the largest rank that PEFT's configuration in `folder` states. Raises `NotFound` and `InvalidInput`."""
    return AdapterConfig.read(folder).max_rank


def _fetched_manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def _bound(config: ServerConfig) -> Bound:
    return Bound(most_bytes=config.cache_bytes, free_bytes=config.cache_free_bytes)


def _store(config: ServerConfig, *, patience_seconds: float = PATIENCE_SECONDS) -> Store:
    if config.store is None:
        raise InvalidInput("serving: got a model or run in the store; expected the store's URL; set store")
    return Store.open(config.store, patience_seconds=patience_seconds)
