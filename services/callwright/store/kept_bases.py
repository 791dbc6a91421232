"""Bases of the hub that a store keeps: put there once for all runs, found by each, deleted when no run asks any more.

On a cluster a base is so downloaded once, before any GPU waits for it. `bases/<id>/<commit>/` holds one, `config.json`
last; `runs/<run>/base.json` names the run's. Where one is gone, the hub is asked again.
"""

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from callwright.errors import Conflict, NotFound
from callwright.progress import Advance, silent
from callwright.store.backend import Entry
from callwright.store.base_model import is_hub_id, resolve_base
from callwright.store.claim import claimed, is_claimed
from callwright.store.documents import read_object
from callwright.store.model_folder import is_taken
from callwright.store.storage import Store

_CONFIG = "config.json"
_PAUSE_SECONDS = 5.0
_KEPT = re.compile(r"(bases/([^/]+/[^/]+)/([0-9a-f]{40}))/.+")
"""An object of a base that `keep_base` has put there; what somebody else has put beside it is theirs."""


@dataclass(frozen=True)
class UnusedBase:
    """A base that `delete_bases` deletes."""

    base: str
    commit: str
    why: str
    bytes: int

    @property
    def key(self) -> str:
        """Where the store has it."""
        return f"bases/{self.base}/{self.commit}"


def keep_base(
    store: Store, run: str, base: str, revision: str | None, cache_dir: Path, *, on_progress: Advance = silent
) -> None:
    """Put a base of the hub into `store`, once for all runs of it, and note at the run which one it is.

    What is no hub id stays where it is. Raises as `resolve_base` does.
    """
    if not is_hub_id(base):
        return
    folder = resolve_base(base, revision, cache_dir)
    key = f"bases/{base}/{folder.resolve().name}"
    while not store.exists(f"{key}/{_CONFIG}"):
        try:
            with claimed(store, _claim(key)):
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
    if not store.exists(f"{key}/{_CONFIG}"):  # deleted since
        return base, revision
    return f"{store.url.rstrip('/')}/{key}", None


def unused_bases(store: Store, *, unused: timedelta, grace: timedelta = timedelta(hours=1)) -> list[UnusedBase]:
    """Return the bases that no run has been prepared with for so long, and what broken copies left before `grace`."""
    kept: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in store.list("bases"):
        if match := _KEPT.fullmatch(entry.key):
            kept.setdefault((match[1], match[2], match[3]), []).append(entry)
    asked, now = _last_asked(store) if kept else {}, datetime.now(UTC)
    found = []
    for (key, base, commit), entries in kept.items():
        last = max(entry.modified for entry in entries)
        if any(entry.key == f"{key}/{_CONFIG}" for entry in entries):
            is_old = now - max(last, asked.get(key, last)) >= unused
            why = f"no run was prepared with it for {unused.days} days"
        else:
            is_old = now - last >= grace and not is_claimed(store, _claim(key))
            why = f"never finished: no {_CONFIG}"
        if is_old:
            found.append(UnusedBase(base, commit, why, sum(entry.size for entry in entries)))
    return found


def delete_bases(store: Store, found: list[UnusedBase]) -> None:
    """Delete what `unused_bases` found, what makes a base whole first. Raises `Conflict` where a run puts it there."""
    for each in found:
        with claimed(store, _claim(each.key)):
            store.delete_keys([f"{each.key}/{_CONFIG}"])
            store.delete(each.key)


def _last_asked(store: Store) -> dict[str, datetime]:
    """Return when a run was last prepared with each base, by the base's key."""
    asked: dict[str, datetime] = {}
    for entry in store.list("runs"):
        if entry.key.count("/") == 2 and entry.key.endswith("/base.json"):
            key = str(read_object(store.get_bytes(entry.key), entry.key).get("key"))
            asked[key] = max(entry.modified, asked.get(key, entry.modified))
    return asked


def _note(run: str) -> str:
    return f"runs/{run}/base.json"


def _claim(key: str) -> str:
    return f"{key}.claim.json"


def _put(store: Store, key: str, folder: Path, on_progress: Advance) -> None:
    paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    taken = sorted((path for path in paths if is_taken(path)), key=lambda path: path == _CONFIG)
    for done, path in enumerate(taken, start=1):
        store.put_file(f"{key}/{path}", folder / path)
        on_progress(done, len(taken), f"files of the base in the store: {path}")
