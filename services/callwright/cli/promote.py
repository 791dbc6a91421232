"""`callwright promote NAME VERSION` and `callwright rollback NAME`: which version of a model is the promoted one.

The pointer stands in the store. With `--service` a RayService in the cluster takes the version first, and the pointer
moves once it is served.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

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
from callwright.errors import Conflict, Interrupted, NotFound, StageFailed, Temporary
from callwright.store import Registry

if TYPE_CHECKING:
    from callwright.controller.cluster import Cluster, Object
    from callwright.controller.rollout import Target

_ATTEMPTS = 5
_LOOK_SECONDS = 2.0
_BY = "callwright promote"
"""Who brings a version into a RayService, for whoever looks at it."""
_Move = Callable[[str | None], object]
"""Moves the promoted pointer, if it is at this version."""
_ServiceOption = Annotated[
    str | None,
    typer.Option(
        "--service",
        help="RayService in the cluster that is to serve the version, in place. The pointer moves once it does; a "
        "version that does not start is taken back.",
    ),
]
_WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="Wait until --service serves the version. Without, the pointer moves at once, and nothing is taken back.",
    ),
]


def promote(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="Version to promote.")],
    expect: Annotated[str | None, typer.Option(help="Only when this version is the promoted one now.")] = None,
    service: _ServiceOption = None,
    wait: _WaitOption = True,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Promote a version of a model: what serves the model takes it from then on."""
    registry = open_registry(store)
    before = registry.promoted(name)
    after = registry.promotable(name, version).version
    if expect not in (None, before):
        raise Conflict(f"promoting {name} {version}: {before or 'nothing'} is promoted; expected {expect}")

    def move(standing: str | None) -> object:
        return registry.promote(name, after, expect=standing)

    _bring(registry, name, after, move, service=_found(service, namespace, context), wait=wait, dry_run=dry_run)
    words = f"{'would promote' if dry_run else 'promoted'} {name} {after} (before: {before or 'none'})"
    output.emit(json, {"name": name, "before": before, "promoted": after, "dry_run": dry_run}, [words])


def rollback(
    name: NameArgument,
    service: _ServiceOption = None,
    wait: _WaitOption = True,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Point a model at the version that was promoted before."""
    registry = open_registry(store)
    before = registry.promoted(name)
    after = registry.rollback(name, dry_run=True).version

    def move(standing: str | None) -> object:
        if registry.promoted(name) != standing:
            raise Conflict(f"rolling back {name}: somebody else promoted just now; look again")
        return registry.rollback(name)

    _bring(registry, name, after, move, service=_found(service, namespace, context), wait=wait, dry_run=dry_run)
    words = f"{'would roll' if dry_run else 'rolled'} {name} back from {before} to {after}"
    output.emit(json, {"name": name, "before": before, "promoted": after, "dry_run": dry_run}, [words])


@dataclass(frozen=True)
class _Service:
    """A RayService in the cluster."""

    cluster: "Cluster"
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"RayService {self.namespace}/{self.name}"

    def read(self) -> "Object":
        from callwright.controller.cluster import RAY_SERVICE

        found = self.cluster.get(RAY_SERVICE, self.namespace, self.name)
        if found is None:
            raise NotFound(
                f"no RayService {self.name} in the namespace {self.namespace}; see `kubectl get rayservices`"
            )
        return found


def _found(service: str | None, namespace: str | None, context: str | None) -> _Service | None:
    if service is None:
        return None
    from callwright.controller.cluster import connect

    cluster, current = connect(context)
    return _Service(cluster, namespace or current, service)


def _bring(
    registry: Registry, model: str, version: str, move: _Move, *, service: _Service | None, wait: bool, dry_run: bool
) -> None:
    """Have the version served, where a service is named, and move the pointer to it.

    Raises at once where the service does not serve the model, `StageFailed` where the version did not start, and
    `Conflict` where somebody else promoted meanwhile.
    """
    if service is not None:
        from callwright.controller import rollout

        store = registry.store.url
        rollout.check(service.read(), model=model, version=version, store=store)
        if wait and not dry_run:
            _roll_out(service, rollout.Target(model, version, store=store, by=_BY, move_pointer=move), registry)
            return
    if dry_run:
        return
    move(registry.promoted(model))
    if service is not None:
        _put(service, model, version, store=registry.store.url)


def _roll_out(service: _Service, target: "Target", registry: Registry) -> None:
    """Go through the rollout's steps until it has ended; says what changes."""
    from callwright.controller import rollout

    said, begun = "", False
    try:
        while True:
            try:
                seen = rollout.advance(service.cluster, service.read(), target, registry, begun=begun, now=_now())
            except Conflict:  # the operator wrote it meanwhile
                continue
            except Temporary as error:
                message = str(error)
            else:
                begun, message = True, seen.message
                if seen.state in ("succeeded", "failed"):
                    break
            if message != said:
                output.note(f"{service}: {message}")
                said = message
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        kept = f"{service} goes on to take {target.model} {target.version}, which is not promoted"
        raise Interrupted(kept, again="run the same again to carry on, or promote another version to it") from None
    what = f"promoting {target.model} {target.version}: {service}"
    if seen.state == "succeeded":
        output.note(f"{service} serves {target.model} {target.version}")
    elif seen.reason == "Superseded":
        raise Conflict(f"{what} does not come to serve it: {seen.message}")
    else:
        raise StageFailed(f"{what} does not take it: {seen.message}")


def _put(service: _Service, model: str, version: str, *, store: str) -> None:
    from callwright.controller import rollout

    for _ in range(_ATTEMPTS):
        try:
            rollout.put_version(service.cluster, service.read(), model=model, version=version, store=store)
        except Conflict:  # the operator wrote it meanwhile
            continue
        output.note(f"{service} takes {model} {version}")
        return
    raise Conflict(
        f"{service} keeps changing; {model} {version} is promoted: "
        f"run `callwright promote {model} {version} --service {service.name}`"
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
