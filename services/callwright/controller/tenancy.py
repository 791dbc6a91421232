"""Where in an object store the runs and models of a namespace are, so that no two namespaces share one.

    run_store(config, "team-a", None, status)        "s3://bucket/prefix/namespaces/team-a"

The release's own namespace has the store itself, laid out as on one machine, and so has a namespace a store that is its
own (`tenants`). In any other store a namespace has a folder, below which all is laid out the same. Pure functions.
"""

from itertools import pairwise
from pathlib import Path

from callwright.controller.config import ControllerConfig
from callwright.spec.status import Status
from callwright.store.url import StoreURL

FOLDER = "namespaces"


def run_store(config: ControllerConfig, namespace: str, asked: str | None, status: Status) -> str:
    """Return the URL of the store of a document's runs; `asked` is `spec.store`, which is allowed.

    A document that has begun in a store itself stays there.
    """
    url = asked or config.of(namespace).store
    return url if status.store == url else _own(config, namespace, url)


def with_store(config: ControllerConfig, namespace: str, asked: str | None, status: Status) -> Status:
    """Return the status with the store of a run that began under a release which knew no folders of namespaces."""
    if status.run is None or status.store is not None:
        return status
    return status.model_copy(update={"store": asked or config.of(namespace).store})


def credentials(config: ControllerConfig, namespace: str) -> Path | None:
    """Return the folder of the credentials by which the controller opens a namespace's stores; None where they are its
    own.
    """
    tenant = config.tenants.get(namespace)
    return Path(tenant.credentials) if tenant and tenant.credentials else None


def _own(config: ControllerConfig, namespace: str, url: str) -> str:
    tenant, place = config.tenants.get(namespace), StoreURL.read(url)
    if namespace == config.namespace or (tenant and tenant.store and StoreURL.read(tenant.store).holds(place)):
        return url
    inside = f"/{FOLDER}/{namespace}/" in f"{place.path}/"
    return url if inside else f"{url.rstrip('/')}/{FOLDER}/{namespace}"


def is_others(config: ControllerConfig, namespace: str | None, url: StoreURL, *, within: StoreURL | None) -> bool:
    """Return whether `url` lies in what is another namespace's; `within` is the store that lets this one name it."""
    depth = len(within.path.removesuffix("/")) if within else -1
    for other, tenant in config.tenants.items():
        theirs = StoreURL.read(tenant.store) if tenant.store and other != namespace else None
        if theirs and theirs.holds(url) and len(theirs.path.removesuffix("/")) > depth:
            return True
    parts = url.path[max(depth, 0) :].split("/")
    return any(part == FOLDER and name not in ("", namespace) for part, name in pairwise(parts))
