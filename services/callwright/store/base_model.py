"""Finds a base model's files: turns a local directory, a store URL or a Hugging Face id into a local directory.

Trainer, merger and server load their bases by it. Knows nothing of what is in the files.
"""

from collections.abc import Callable
from pathlib import Path

from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.store.fetch import WEIGHTS, fetch_folder
from callwright.store.model_folder import LARGEST_POINTER, PATTERNS, check_folder, check_no_pointer, weight_files
from callwright.store.storage import Store

_CONFIG = "config.json"


def resolve_base(
    base: str,
    revision: str | None = None,
    cache_dir: Path | None = None,
    *,
    weights: bool = True,
    open_store: Callable[[str], Store] = Store.open,
) -> Path:
    """Return the local directory that holds the base model `base`.

    A directory is used where it is; a store URL is copied once into `cache_dir`; anything else is a Hugging Face id,
    which `huggingface_hub` downloads into `cache_dir` (its own cache when None). Without `weights` only what says how
    the base is made, with its tokenizer, is copied or downloaded. Raises `NotFound` for what is not there,
    `Unavailable` when a store or the hub does not answer, and `InvalidInput` as `check_folder` does; with `weights`
    also what `weight_files` raises.
    """
    if "://" in base:
        found = _from_store(base, cache_dir, open_store, weights=weights)
    else:
        found = _from_folder_or_hub(base, revision, cache_dir, weights=weights)
    if weights:
        weight_files(found, base=base)
    return found


def check_weights(base: str, cache_dir: Path, *, open_store: Callable[[str], Store] = Store.open) -> None:
    """Raise as `resolve_base` does where a base cannot be used for its files of weights, without copying these.

    A Hugging Face id passes: what the hub lacks is told when it is downloaded.
    """
    if is_hub_id(base):
        return
    if "://" not in base:
        resolve_base(base)
        return
    settings, store = resolve_base(base, None, cache_dir, weights=False, open_store=open_store), open_store(base)
    sizes = {entry.key: entry.size for entry in store.list()}
    for file in weight_files(settings, present=sizes, base=base):
        if sizes[file.name] <= LARGEST_POINTER:
            check_no_pointer(store.get_bytes(file.name), f"{base}/{file.name}")


def _from_folder_or_hub(base: str, revision: str | None, cache_dir: Path | None, *, weights: bool) -> Path:
    path = Path(base).expanduser()
    if path.is_dir():
        return _checked(path, base)
    if path.exists():
        raise NotFound(f"finding the base: {base} is a file; expected a directory with config.json")
    if not is_hub_id(base):
        raise NotFound(f"finding the base: no directory {base}; expected one with config.json, a store URL or a hub id")
    return _from_hub(base, revision, cache_dir, weights=weights)


def is_hub_id(base: str) -> bool:
    """Return whether `base` can be a Hugging Face id, and is neither a store URL nor a local directory."""
    is_path = base.startswith((".", "/", "~")) or base.count("/") != 1
    return "://" not in base and not is_path and not Path(base).is_dir()


def _checked(path: Path, base: str) -> Path:
    if not (path / _CONFIG).is_file():
        raise NotFound(f"finding the base: {base} has no config.json; expected a model's directory")
    return check_folder(path, base)


def _from_store(url: str, cache_dir: Path | None, open_store: Callable[[str], Store], *, weights: bool) -> Path:
    if cache_dir is None:
        raise InvalidInput(f"finding the base: {url} is a store URL; expected a cache directory to copy it to")
    store = open_store(url)
    if not store.exists(_CONFIG):
        raise NotFound(f"finding the base: {url} has no config.json; expected a model's files below it")
    return check_folder(fetch_folder(store, "", cache_dir, "base", weights=weights), url)


def _from_hub(base: str, revision: str | None, cache_dir: Path | None, *, weights: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise NotFound(f"finding the base: no directory {base}, and huggingface_hub is not installed") from None
    try:
        path = snapshot_download(
            base, revision=revision, cache_dir=cache_dir, allow_patterns=[*PATTERNS],
            ignore_patterns=None if weights else [f"*{WEIGHTS}"],
        )  # fmt: skip
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise NotFound(f"finding the base: no directory {base} and not on the hub: {_first_line(error)}") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise Unavailable(
            f"finding the base: no directory {base}; the hub does not answer: {_first_line(error)}"
        ) from None
    return _checked(Path(path), base)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
