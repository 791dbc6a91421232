"""Finds a source's corpus as a local file: by path, store URL, Hugging Face id or ModelScope id.

Remote corpora are copied once into a folder. The hubs' own libraries are imported only when they are asked for.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from callwright.datasets.files import SUFFIXES, plain_suffix
from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.store import Store, fetch_file, located

_HUBS = "hf://datasets/OWNER/NAME[/FILE] or modelscope://OWNER/NAME/FILE"


def resolve(path: str, cache_dir: Path | None = None, *, open_store: Callable[[str], Store] = Store.open) -> Path:
    """Return the local file that holds the corpus `path`.

    Raises `NotFound` for what is not there, `InvalidInput` for an address that cannot be one, and `Unavailable` when a
    store or a hub does not answer.
    """
    if "://" not in path:
        return Path(path).expanduser()
    if cache_dir is None:
        raise InvalidInput(f"finding the corpus: {path} is remote; expected a folder to copy it to")
    scheme, _, rest = path.partition("://")
    parts = [part for part in rest.split("/") if part]
    match scheme:
        case "hf":
            if len(parts) < 3 or parts[0] != "datasets":
                raise InvalidInput(f"finding the corpus: got {path}; expected {_HUBS}")
            return _from_hugging_face("/".join(parts[1:3]), "/".join(parts[3:]), cache_dir)
        case "modelscope":
            if len(parts) < 3:
                raise InvalidInput(f"finding the corpus: got {path}; expected {_HUBS}")
            return _from_modelscope("/".join(parts[:2]), "/".join(parts[2:]), cache_dir)
        case _:
            return _from_store(path, cache_dir, open_store)


def state(path: str, *, open_store: Callable[[str], Store] = Store.open) -> str:
    """Return a text that changes when the corpus does: its bytes' digest, a store's size and time, a hub's address.

    Raises as `resolve` does.
    """
    scheme = path.partition("://")[0] if "://" in path else ""
    if scheme in ("hf", "modelscope"):
        return path
    if scheme:
        folder, name = located(path)
        entry = open_store(folder).entry(name)
        return f"{path} {entry.size} {entry.modified.isoformat()}"
    local = resolve(path)
    if not local.is_file():
        raise NotFound(f"reading conversations: no file {path}; expected a corpus; check the source's path")
    with local.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_store(url: str, cache_dir: Path, open_store: Callable[[str], Store]) -> Path:
    folder, name = located(url)
    return fetch_file(open_store(folder), name, cache_dir)


def _from_hugging_face(repository: str, name: str, cache_dir: Path) -> Path:
    try:
        import httpx
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise InvalidInput(f"finding the corpus: {error}; install huggingface_hub for hf:// corpora") from None
    try:
        name = name or _only_file(HfApi().list_repo_files(repository, repo_type="dataset"), repository)
        return Path(hf_hub_download(repository, name, repo_type="dataset", cache_dir=cache_dir))
    except (LocalEntryNotFoundError, httpx.TransportError, OSError) as error:
        if isinstance(error, EntryNotFoundError | RepositoryNotFoundError) and not isinstance(
            error, LocalEntryNotFoundError
        ):
            raise NotFound(f"finding the corpus: {repository}/{name} is not on Hugging Face: {error}") from None
        raise Unavailable(
            f"finding the corpus: Hugging Face does not answer for {repository}: {str(error).splitlines()[0]}; "
            "go online, or download the file and name its path"
        ) from None


def _only_file(names: Sequence[str], repository: str) -> str:
    usable = [name for name in names if plain_suffix(name) in SUFFIXES]
    if len(usable) != 1:
        raise InvalidInput(
            f"finding the corpus: got {len(usable)} files in {repository}: {', '.join(usable[:10]) or 'none usable'}; "
            f"expected one; name it: hf://datasets/{repository}/FILE"
        )
    return usable[0]


def _from_modelscope(repository: str, name: str, cache_dir: Path) -> Path:
    try:
        from modelscope.hub.file_download import dataset_file_download
    except ImportError as error:
        raise InvalidInput(f"finding the corpus: {error}; install modelscope for modelscope:// corpora") from None
    try:
        return Path(dataset_file_download(dataset_id=repository, file_path=name, cache_dir=str(cache_dir)))
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"finding the corpus: ModelScope does not give {repository}/{name}: {str(error).splitlines()[0]}; "
            "go online, check the name, or download the file and name its path"
        ) from None
