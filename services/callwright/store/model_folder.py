"""A folder with a base or an adapter that somebody else made: what is taken of it, and what is refused.

Weights are safetensors alone. Python (`*.py`) and pickles (`*.bin`, `*.pt`) are neither copied nor loaded.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from callwright.errors import CallwrightError, InvalidInput, NotFound
from callwright.store.documents import MAX_BYTES, read_file, read_object, read_value
from callwright.store.files import checked_file
from callwright.store.paths import checked_path

_log = logging.getLogger(__name__)
PATTERNS = (
    "*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken", "LICENSE*", "NOTICE*",
    "additional_chat_templates/*.jinja",
)  # fmt: skip
"""Files that are taken."""
_LOADED = (
    "*config.json", "*.index.json", "tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json",
    "chat_template.json", "vocab.txt", "merges.txt", "*.safetensors", "*.model", "*.jinja", "*.tiktoken",
)  # fmt: skip
"""Of these, files that loaders take by their names."""
WITHOUT_CODE = {"trust_remote_code": False}
"""What every loader is told. Said, it is no question that a terminal could answer with yes."""
LARGEST_POINTER = 1024
"""Bytes of the largest file that Git LFS puts in the place of another (its specification's bound)."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_CODE = (".py", ".pyc", ".pyd", ".so", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")


def is_taken(path: str) -> bool:
    """Return whether the file at `path` below a model's folder is copied from there."""
    name = PurePosixPath(path)
    return not is_code(path) and any(
        len(PurePosixPath(each).parts) == len(name.parts) and fnmatchcase(path, each) for each in PATTERNS
    )


def is_code(path: str) -> bool:
    """Return whether the file is Python, or weights in a form that a loader may run."""
    return PurePosixPath(path).suffix.lower() in _CODE


def check_folder(folder: Path, base: str = "") -> Path:
    """`folder`, if the files that are taken of it are regular ones, within it, and what is loaded is within bounds and
    no pointer of Git LFS.

    Of Hugging Face's cache the snapshots are links to blobs of the same repository, which are within it. A file over a
    bound that nobody loads, such as somebody's results, is named in the log. Raises `InvalidInput` by the file's name
    below `base`, which is what errors call the folder.
    """
    real = folder.resolve()
    cached = real.parent.name == "snapshots" and (real.parent.parent / "blobs").is_dir()
    for path in _taken(folder):
        checked_file(path, within=real.parent.parent if cached else real)
        name = f"{base or folder}/{path.relative_to(folder).as_posix()}"
        if path.is_file() and path.stat().st_size <= LARGEST_POINTER:
            check_no_pointer(path.read_bytes(), name)
        try:
            _check_bounds(path, name)
        except InvalidInput as error:
            if _is_loaded(path):
                raise
            _log.warning("left out of the model: %s", error)
    return folder


def check_no_pointer(content: bytes, name: str) -> None:
    """Raise `InvalidInput` where a file has the content of a pointer, which Git LFS leaves where it has not fetched."""
    if content.startswith(_POINTER):
        raise InvalidInput(
            f"reading {name}: got a pointer of Git LFS in place of the file; run `git lfs pull` where it was cloned, "
            "and copy it again"
        )


def is_left_out(path: Path) -> bool:
    """Return whether a file that nobody loads is over a bound, and so in no version."""
    if _is_loaded(path):
        return False
    try:
        _check_bounds(path, path.name)
    except InvalidInput:
        return True
    return False


def weight_files(folder: Path, present: Collection[str] | None = None, *, base: str = "") -> list[Path]:
    """Return the safetensors files that make up a model's weights, by its index where it has one.

    `present` names the files that there are, where those of the weights were not copied to `folder`; `base` is what
    errors call the model. Raises `NotFound` for files that are not there, and `InvalidInput` for an index that names
    other than safetensors beside it, or none, and for an index beside a whole model.safetensors: transformers would
    take that file, the merger and vLLM those that the index names.
    """
    taken = {each for each in (_names(folder) if present is None else present) if is_taken(each)}
    where, single, index = f"reading the base {base or folder}", "model.safetensors", "model.safetensors.index.json"
    if index not in taken:
        if single in taken:
            return [folder / single]
        if "adapter_config.json" in taken:
            raise NotFound(f"{where}: it is an adapter; expected a whole model: the base that the adapter was made for")
        raise NotFound(
            f"{where}: no {single} and no {index} there; expected its weights as safetensors; save it with "
            "safe_serialization, or choose another base"
        )
    placed = read_object(folder / index, f"{base or folder}/{index}").get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise InvalidInput(f"{where}: {index}: got no weight_map, or an empty one; expected a file for each tensor")
    names = sorted({checked_path(name, where=f"{base or folder}: {index}") for name in placed.values()})
    if odd := [name for name in names if "/" in name or not name.endswith(".safetensors")]:
        raise InvalidInput(f"{where}: {index} names {', '.join(odd)}; expected safetensors files beside it")
    if single in taken and names != [single]:
        stale = f", none of which is there; delete {index}" if taken.isdisjoint(names) else ""
        raise InvalidInput(
            f"{where}: got {single} and an index of {len(names)} files{stale}; expected one of the two, as loaders "
            "differ in which they take; put the base with one of them into a folder or a store of your own"
        )
    if missing := [name for name in names if name not in taken]:
        raise NotFound(f"{where}: {index} names files that are not there: {', '.join(missing)}; bring them there")
    return [folder / name for name in names]


def _names(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir() if path.is_file())


def _is_loaded(path: Path) -> bool:
    return any(fnmatchcase(path.name, each) for each in _LOADED)


def _check_bounds(path: Path, name: str) -> None:
    if path.suffix == ".safetensors":
        return
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InvalidInput(f"reading {name}: got {size} bytes; expected at most {MAX_BYTES}")
    if path.suffix == ".json":
        read_value(read_file(path), name)


@contextlib.contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn a loader's refusal of the model in `folder`, to run its Python or to take its configuration, into ours.

    Of a configuration any kind of error can come; what may be the machine's fault passes.
    """
    try:
        yield
    except (CallwrightError, OSError, RuntimeError, MemoryError):
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise InvalidInput(
                f"loading {folder}: it needs Python of its own (auto_map in its configuration), which is never run; "
                "expected an architecture that transformers or the engine knows; choose another base"
            ) from None
        first = " ".join(str(error).split())[:300]
        raise InvalidInput(
            f"loading {folder}: its configuration cannot be used: {type(error).__name__}: {first}; mend config.json, "
            "or choose another base"
        ) from error


def _taken(folder: Path) -> Iterator[Path]:
    for pattern in PATTERNS:
        for path in sorted(folder.glob(pattern)):
            if is_taken(path.relative_to(folder).as_posix()) and (path.is_symlink() or not path.is_dir()):
                yield path
