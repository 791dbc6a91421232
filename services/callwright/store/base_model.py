"""Finds a base model's files: turns a local directory, a store URL or a Hugging Face id into a local directory.

Trainer, merger and server load their bases by it. On a cluster a base of the hub is kept in the store, so that it is
downloaded once, before anything waits for it. Knows nothing of what is in the files.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from callwright.errors import Conflict, InvalidInput, NotFound, Unavailable
from callwright.progress import Advance, silent
from callwright.store.claim import claimed
from callwright.store.documents import read_object
from callwright.store.fetch import WEIGHTS, fetch_folder
from callwright.store.model_folder import PATTERNS, check_folder, is_taken
from callwright.store.storage import Store

_CONFIG = "config.json"
_PAUSE_SECONDS = 5.0


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
    `Unavailable` when a store or the hub does not answer, and `InvalidInput` as `check_folder` does.
    """
    if "://" in base:
        return _from_store(base, cache_dir, open_store, weights=weights)
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


def keep_base(
    store: Store, run: str, base: str, revision: str | None, cache_dir: Path, *, on_progress: Advance = silent
) -> None:
    """Put a base of the hub into `store`, once for all runs of it, and note at the run which one it is.

    `bases/<id>/<commit>/` holds it, `config.json` last. What is no hub id stays where it is. Raises as `resolve_base`
    does.
    """
    if not is_hub_id(base):
        return
    folder = resolve_base(base, revision, cache_dir)
    key = f"bases/{base}/{folder.resolve().name}"
    while not store.exists(f"{key}/{_CONFIG}"):
        try:
            with claimed(store, f"{key}.claim.json"):
                _put(store, key, folder, on_progress)
        except Conflict:  # another run's preparation is at it
            time.sleep(_PAUSE_SECONDS)
    store.put_bytes(_note(run), json.dumps({"base": base, "revision": revision, "key": key}).encode())


def kept_base(store: Store, run: str, base: str, revision: str | None) -> tuple[str, str | None]:
    """Return base and revision for `resolve_base`: where `keep_base` has put the run's, else as they are given."""
    if not is_hub_id(base):
        return base, revision
    try:
        key = read_object(store.get_bytes(_note(run)), _note(run)).get("key")
    except NotFound:
        return base, revision
    if not store.exists(f"{key}/{_CONFIG}"):  # cleared away
        return base, revision
    return f"{store.url.rstrip('/')}/{key}", None


def _note(run: str) -> str:
    return f"runs/{run}/base.json"


def _put(store: Store, key: str, folder: Path, on_progress: Advance) -> None:
    paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    taken = sorted((path for path in paths if is_taken(path)), key=lambda path: path == _CONFIG)
    for done, path in enumerate(taken, start=1):
        store.put_file(f"{key}/{path}", folder / path)
        on_progress(done, len(taken), f"files of the base in the store: {path}")


def _checked(path: Path, base: str) -> Path:
    if not (path / _CONFIG).is_file():
        raise NotFound(f"finding the base: {base} has no config.json; expected a model's directory")
    return check_folder(path)


def _from_store(url: str, cache_dir: Path | None, open_store: Callable[[str], Store], *, weights: bool) -> Path:
    if cache_dir is None:
        raise InvalidInput(f"finding the base: {url} is a store URL; expected a cache directory to copy it to")
    store = open_store(url)
    if not store.exists(_CONFIG):
        raise NotFound(f"finding the base: {url} has no config.json; expected a model's files below it")
    return check_folder(fetch_folder(store, "", cache_dir, "base", weights=weights))


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
