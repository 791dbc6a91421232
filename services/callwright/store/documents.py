"""JSON that somebody else wrote, read within bounds: bytes, values and levels.

Of configurations, indexes, headers of weights and reports. What is over a bound is refused by name, with its line where
it has one, before it costs more than its own bytes.
"""

import json
import re
from pathlib import Path
from typing import Any

from callwright.errors import InvalidInput, NotFound

MAX_BYTES = 64 * 1024**2
"""Of a document, or of any object that is read whole; the largest vocabularies have half of it."""
MAX_VALUES = 4_000_000
"""Numbers, texts, lists and objects of a document, roughly: a large vocabulary has two millions."""
MAX_LEVELS = 100
"""Levels of nesting."""
_MARKS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
"""A string, or what opens or closes a level."""


def read_file(path: Path) -> bytes:
    """Return the bytes of a document. Raises `NotFound`, and `InvalidInput` for one over `MAX_BYTES`."""
    try:
        if not path.is_file() and path.exists():
            raise InvalidInput(f"reading {path}: it is no regular file; expected a document")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"reading {path}: no such file") from None
    except OSError as error:
        raise InvalidInput(f"reading {path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"reading {path}: got over {MAX_BYTES} bytes; expected a document of at most as many")
    return data


def read_value(data: bytes | bytearray, where: str, *, unique: bool = False) -> Any:
    """Return the JSON in `data`, which `where` names. Raises `InvalidInput`; with `unique` also for a key twice."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"reading {where}: got {len(data)} bytes; expected at most {MAX_BYTES}")
    opened = data.count(b"[") + data.count(b"{")
    if (values := opened + data.count(b",")) > MAX_VALUES:
        raise InvalidInput(f"reading {where}: got about {values} values; expected at most {MAX_VALUES}")
    try:
        value = json.loads(data, object_pairs_hook=_once if unique else None)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"reading {where}: line {error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise _too_deep(data, where) from None
    except ValueError as error:  # text in no encoding, a number of too many digits, a key twice
        raise InvalidInput(f"reading {where}: not JSON: {str(error).split(';')[0]}") from None
    if opened > MAX_LEVELS and _levels(value) > MAX_LEVELS:
        raise _too_deep(data, where)
    return value


def read_object(source: Path | bytes | bytearray, where: str = "", *, unique: bool = False) -> dict[str, Any]:
    """Return the JSON object in a file, or in bytes that `where` names. Raises `NotFound` and `InvalidInput`."""
    where = where or str(source)
    value = read_value(read_file(source) if isinstance(source, Path) else source, where, unique=unique)
    if not isinstance(value, dict):
        raise InvalidInput(f"reading {where}: got {type(value).__name__}; expected a JSON object")
    return value


def _levels(value: Any) -> int:
    """Levels of nesting, at most one over `MAX_LEVELS`."""
    level, count = [value], 0
    while (level := [each for each in level if isinstance(each, dict | list)]) and count <= MAX_LEVELS:
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        count += 1
    return count


def _too_deep(data: bytes | bytearray, where: str) -> InvalidInput:
    level = 0
    for match in _MARKS.finditer(data):
        level += (match[0] in (b"[", b"{")) - (match[0] in (b"]", b"}"))
        if level > MAX_LEVELS:
            break
    line = data.count(b"\n", 0, match.start()) + 1
    return InvalidInput(f"reading {where}: line {line}: nested deeper than {MAX_LEVELS} levels")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key[:80]!r} stands twice in one object")
        made[key] = value
    return made
