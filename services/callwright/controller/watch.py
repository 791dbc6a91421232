"""Follows the objects of a kind: a list of them, then every change, for ever, whatever becomes of single requests.

    for change in follow(cluster, FINE_TUNE, "team-a", patience=patience, stop=stop): ...

What changed while nobody watched is found in the next list, so nothing is missed. Knows nothing of documents.
"""

import threading
import time
from collections.abc import Iterator

from callwright.controller.cluster import Cluster, Kind, Object
from callwright.controller.patience import Patience

_WATCH_SECONDS = 60
_LIST_SECONDS = 600
_PAUSE_SECONDS = 0.2


def follow(
    cluster: Cluster,
    kind: Kind,
    namespace: str | None,
    *,
    selector: str = "",
    patience: Patience,
    stop: threading.Event,
) -> Iterator[tuple[Object, bool]]:
    """Yield each object and whether it is there; those that the list has are told again with every list.

    A failed request is made again by `patience`, from the list on. A watch lasts a minute, a list ten.
    """
    known: dict[tuple[str, str], Object] = {}
    while not stop.is_set():
        try:
            found, version = cluster.list(kind, namespace, selector=selector)
            listed = {_key(each): each for each in found}
            yield from ((known[key], False) for key in known.keys() - listed.keys())
            known = {key: _brief(each) for key, each in listed.items()}
            yield from ((each, True) for each in found)
            expires = time.monotonic() + _LIST_SECONDS
            while not stop.is_set() and time.monotonic() < expires:
                for what, changed in cluster.watch(
                    kind, namespace, selector=selector, version=version, seconds=_WATCH_SECONDS
                ):
                    version = changed["metadata"]["resourceVersion"]
                    if what == "BOOKMARK":
                        continue
                    key, there = _key(changed), what != "DELETED"
                    if there:
                        known[key] = _brief(changed)
                    else:
                        known.pop(key, None)
                    yield changed, there
                patience.renew()
                stop.wait(_PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - no failure ends a watch
            if not stop.is_set():
                stop.wait(patience.after(error))


def _key(found: Object) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _brief(found: Object) -> Object:
    """Return what tells an object that is gone."""
    return {"metadata": {key: found["metadata"].get(key) for key in ("namespace", "name", "labels")}}
