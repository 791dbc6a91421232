"""Checks whether a controller would work here: tries kinds, roles and store once each. For `helm test`.

It changes nothing: it creates objects only as a dry run.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from callwright.controller import tenancy
from callwright.controller.cluster import EVENT, FINE_TUNE, JOB, POD, RAY_JOB, RAY_SERVICE, Cluster
from callwright.controller.config import ControllerConfig
from callwright.errors import CallwrightError, without_secrets
from callwright.store import Store


def check(cluster: Cluster, config: ControllerConfig, *, namespace: str) -> Iterator[tuple[str, str | None]]:
    """Yield each check and its problem, if any; `namespace` is checked if all namespaces are watched."""
    for watched in config.namespaces or (namespace,):
        for kind in (FINE_TUNE, RAY_JOB, JOB, POD, RAY_SERVICE):
            yield f"list {kind.plural} in {watched}", _tried(partial(cluster.find, kind, watched))
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "callwright-check", "namespace": watched}}
        event |= {"involvedObject": {"namespace": watched}}
        yield f"create events in {watched}", _tried(partial(cluster.create, EVENT, event, dry_run=True))
    for name in ("", *config.tenants):
        url, credentials = config.of(name).store, tenancy.credentials(config, name)
        tried = _tried(partial(_list_models, url, credentials))
        yield without_secrets(f"list models in {url}" + (f" for {name}" if name else "")), tried


def _list_models(url: str, credentials: Path | None) -> None:
    Store.open(url, credentials=credentials).list("models")


def _tried(act: Callable[[], object]) -> str | None:
    try:
        act()
    except CallwrightError as error:
        return str(error)
    return None
