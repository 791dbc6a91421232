"""Names of files that somebody else gives: in manifests, indexes and checkpoints, all below one folder."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from callwright.errors import InvalidInput

_LONGEST = 1024
_PART = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")
_RESERVED = re.compile(r"manifest\.json|claim\.json|.*#\d+")
"""What the store itself keeps beside a version's files, and what is being written."""


def checked_path(name: object, *, where: str) -> str:
    """`name` if it is the path of a file below a folder. Raises `InvalidInput`; `where` says what names it."""
    parts = name.split("/") if isinstance(name, str) and len(name) <= _LONGEST else [""]
    if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise InvalidInput(f"reading {where}: got the file {name!r:.200}; expected names with / between them")
    return str(name)


def checked_paths(names: Iterable[str], *, where: str) -> None:
    """Raise `InvalidInput` unless all are paths of files that can lie in one folder, also where case counts not."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        checked_path(name, where=where)
        if _RESERVED.fullmatch(name.casefold()):
            raise InvalidInput(
                f"reading {where}: got the file {name!r}; expected another name: the store keeps this one"
            )
        plain = unicodedata.normalize("NFC", name).casefold()
        if (other := seen.setdefault(plain, name)) is not name:
            raise InvalidInput(f"reading {where}: got the files {other!r} and {name!r}; expected names of their own")
        folders |= {str(parent): name for parent in PurePosixPath(plain).parents}
    if both := next((name for plain, name in seen.items() if plain in folders), None):
        raise InvalidInput(f"reading {where}: got {both!r} as a file and as a folder; expected one of them")
