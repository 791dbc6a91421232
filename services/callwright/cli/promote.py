"""`callwright promote NAME VERSION` and `callwright rollback NAME`: which version of a model is the promoted one.

The pointer stands in the store; with `--service` a RayService in the cluster takes the version in the same step.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from callwright.cli import output
from callwright.cli.options import (
    ContextOption,
    DryRunOption,
    JsonOption,
    NameArgument,
    NamespaceOption,
    StoreOption,
    open_registry,
)
from callwright.errors import Conflict, NotFound

_ATTEMPTS = 5
_Service = Annotated[
    str | None, typer.Option("--service", help="RayService in the cluster that is to serve the version, in place.")
]


def promote(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="Version to promote.")],
    expect: Annotated[str | None, typer.Option(help="Only when this version is the promoted one now.")] = None,
    service: _Service = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Promote a version of a model: what serves the model takes it from then on."""
    registry = open_registry(store)
    take = _taking(service, name, store=registry.store.url, namespace=namespace, context=context)
    before = registry.promoted(name)
    after = registry.promotable(name, version).version
    if not dry_run:
        after = registry.promote(name, version, expect=expect or "*").version
        take(after)
    words = f"{'would promote' if dry_run else 'promoted'} {name} {after} (before: {before or 'none'})"
    output.emit(json, {"name": name, "before": before, "promoted": after, "dry_run": dry_run}, [words])


def rollback(
    name: NameArgument,
    service: _Service = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Point a model at the version that was promoted before."""
    registry = open_registry(store)
    take = _taking(service, name, store=registry.store.url, namespace=namespace, context=context)
    before = registry.promoted(name)
    after = registry.rollback(name, dry_run=dry_run).version
    if not dry_run:
        take(after)
    words = f"{'would roll' if dry_run else 'rolled'} {name} back from {before} to {after}"
    output.emit(json, {"name": name, "before": before, "promoted": after, "dry_run": dry_run}, [words])


def _taking(
    service: str | None, model: str, *, store: str, namespace: str | None, context: str | None
) -> Callable[[str], None]:
    """Return a function that sets the version in the RayService. Raises at once if it does not serve the model."""
    if service is None:
        return lambda version: None
    from callwright.controller.cluster import RAY_SERVICE, connect
    from callwright.controller.promotion import put_version

    cluster, current = connect(context)
    where = namespace or current

    def put(version: str, *, dry_run: bool = False) -> None:
        found = cluster.get(RAY_SERVICE, where, service)
        if found is None:
            raise NotFound(f"no RayService {service} in the namespace {where}; see `kubectl get rayservices`")
        if put_version(cluster, found, model=model, version=version, store=store, dry_run=dry_run) and not dry_run:
            output.note(f"RayService {where}/{service} takes {model} {version}")

    def take(version: str) -> None:
        for _ in range(_ATTEMPTS):
            try:
                return put(version)
            except Conflict:  # the operator wrote it meanwhile
                continue
        raise Conflict(
            f"RayService {service} keeps changing; {model} {version} is promoted: "
            f"run `callwright promote {model} {version} --service {service}`"
        )

    put("promoted", dry_run=True)
    return take
