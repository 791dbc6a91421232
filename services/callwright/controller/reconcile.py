"""`Reconciler`: compares what a FineTune asks for with what the cluster and the store hold, and does the next thing.

It keeps all state in the API server and the store, so it may be killed between any two writes, and any request may
fail: the next call carries on. What a deleted document leaves is the garbage collector's, by its owner. Blocking.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from callwright import spec
from callwright.controller import desired, gpu_hours, promotion, rollout, stages, tenancy, transitions
from callwright.controller.allowed import refusals
from callwright.controller.cluster import (
    CONFIG_MAP,
    EVENT,
    FINE_TUNE,
    JOB,
    NETWORK_POLICY,
    RAY_JOB,
    RAY_SERVICE,
    Cluster,
    Forbidden,
    Kind,
    KindMissing,
    Object,
    TooManyRequests,
)
from callwright.controller.config import ControllerConfig
from callwright.controller.context import Context
from callwright.controller.desired import Run
from callwright.controller.run_store import RunStore
from callwright.controller.store_breakers import StoreBreakers
from callwright.errors import CallwrightError, InvalidInput, Permanent
from callwright.spec import FineTune
from callwright.spec.status import FINAL, Status

_PODS = (RAY_JOB, JOB, NETWORK_POLICY)
"""Kinds of what a run's pods are made of, and who reaches them."""
_FINALIZER = "callwright.io/cancel"
"""Earlier releases set it; a document goes without it."""
_logger = logging.getLogger("callwright.controller")


@dataclass(frozen=True)
class Reconciler:
    """The controller's work on one cluster; `open_store` opens the store of a run by its URL and, where its namespace
    has some, the folder of its credentials.
    """

    cluster: Cluster
    config: ControllerConfig
    open_store: Callable[[str, Path | None], RunStore] = RunStore.open
    _stores: StoreBreakers = field(default_factory=StoreBreakers, repr=False)

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Do the next thing for one document and write its status.

        Returns the seconds until it is due again, None when only a change makes it due. Raises what a request failed
        of; another call goes on from there.
        """
        document = self.cluster.get(FINE_TUNE, namespace, name)
        if document is not None and _FINALIZER in document["metadata"].get("finalizers", ()):
            document = self._let_go(document)
        if document is None or "deletionTimestamp" in document["metadata"]:
            self._leave_services(namespace, name, but=None)
            return None
        now, before = _now(), _status(document)
        after = transitions.judge(self._next(document, before, now=now), now=now)
        goes_on = promotion.is_under_way(after)
        if promotion.is_under_way(before) and not (goes_on and _is_seen(before, document)):
            service = document["spec"].get("deploy", {}).get("service")
            self._leave_services(namespace, name, but=service if goes_on else None)
        if after != before:
            self._write(document, before, after, now=now)
        return None if after.phase in FINAL else self.config.poll_seconds

    def settle(self, namespace: str, name: str) -> None:
        """Write the `serveConfigV2` of a RayService that leaves it to the controller."""
        service = self.cluster.get(RAY_SERVICE, namespace, name)
        if service is not None and "deletionTimestamp" not in service["metadata"]:
            rollout.settle(self.cluster, service)

    def tell(self, namespace: str, name: str, error: Exception) -> None:
        """Write into a document's status why it cannot be looked at; where that fails too, the log has to do."""
        with contextlib.suppress(CallwrightError):
            document = self.cluster.get(FINE_TUNE, namespace, name)
            if document is None or "deletionTimestamp" in document["metadata"]:
                return
            reason, message = "InternalError", f"{type(error).__name__}: {error}; see the controller's log"
            if isinstance(error, CallwrightError):
                reason, message = error.reason, str(error)
            now, before = _now(), _status(document)
            has_ended = before.phase in FINAL and before.observed_generation == document["metadata"]["generation"]
            if not has_ended and not transitions.is_told(before, reason, message):
                self._write(document, before, transitions.hold_up(before, reason, message, now=now), now=now)

    def _write(self, document: Object, before: Status, after: Status, *, now: str) -> None:
        """Write the status, after the event that tells of the change; where none may be made, the status alone does."""
        metadata = document["metadata"]
        if transitions.is_event(before, after):
            try:
                self.cluster.create(EVENT, transitions.event(metadata, before, after, now=now))
            except (Permanent, TooManyRequests) as error:
                _logger.warning("no event of %s/%s: %s", metadata["namespace"], metadata["name"], error)
        # By its version, the server refuses the status for what was changed, or has another's place, meanwhile.
        read = {"resourceVersion": metadata["resourceVersion"]}
        written = {"metadata": read, "status": after.model_dump(mode="json", by_alias=True)}
        self.cluster.merge(FINE_TUNE, metadata["namespace"], metadata["name"], written, subresource="status")

    def _stop(self, namespace: str, name: str, *, keep_run: str | None = None) -> None:
        """Delete what has pods of a document's runs, save for one run.

        What a run began with stays, by which it is known when it may go on, and the store keeps what it wrote.
        """
        for kind in _PODS:
            self._delete(kind, self._children(kind, namespace, name), keep_run=keep_run)

    def _children(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        return self.cluster.find(kind, namespace, labels={desired.FINE_TUNE_LABEL: name})

    def _delete(self, kind: Kind, children: list[Object], *, keep_run: str | None) -> None:
        for child in children:
            metadata = child["metadata"]
            owned_by_us = any(owner["kind"] == "FineTune" for owner in metadata.get("ownerReferences", ()))
            if owned_by_us and metadata["labels"].get(desired.RUN_LABEL) != keep_run:
                self.cluster.delete(kind, metadata["namespace"], metadata["name"])

    def _leave_services(self, namespace: str, name: str, *, but: str | None) -> None:
        """End the rollouts that a document has begun and asks for no more, save for that in the RayService `but`."""
        services = list[Object]()
        with contextlib.suppress(Forbidden, KindMissing):  # then it has begun none
            services = self.cluster.find(RAY_SERVICE, namespace)
        for service in services:
            if service["metadata"]["name"] != but and "deletionTimestamp" not in service["metadata"]:
                rollout.leave(self.cluster, service, by=promotion.name_of(name))

    def _let_go(self, document: Object) -> Object | None:
        """Take our finalizer away; returns the document as it is then, None where it is gone."""
        metadata = document["metadata"]
        finalizers = [each for each in metadata["finalizers"] if each != _FINALIZER]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}}
        return self.cluster.merge(FINE_TUNE, metadata["namespace"], metadata["name"], patch)

    def _next(self, document: Object, status: Status, *, now: str) -> Status:
        """Return the status after the next thing has been done for the document's run; of a new run, its beginning."""
        metadata = document["metadata"]
        namespace, generation = metadata["namespace"], metadata["generation"]
        before = status
        if not transitions.is_refused(status):
            before = tenancy.with_store(self.config, namespace, document["spec"].get("store"), status)
        given = {key: document[key] for key in ("apiVersion", "kind", "metadata", "spec")}
        try:
            finetune = spec.validate(given, where="the document")
        except InvalidInput as error:
            if status.phase in FINAL and status.observed_generation == generation:
                return status  # it has ended, under a release that took it
            self._stop(namespace, metadata["name"])
            return transitions.refuse(
                gpu_hours.let_go(before, at=now), "InvalidInput", str(error), generation=generation, now=now
            )
        changed = status.observed_generation != generation or transitions.is_refused(status)
        began = self._children(CONFIG_MAP, namespace, metadata["name"]) if changed or not status.run else []
        name = status.run if status.run and not changed else _run_name(finetune, status, began)
        if status.run != name:
            self._stop(namespace, metadata["name"], keep_run=name)
            self._delete(CONFIG_MAP, began, keep_run=name)
            status = transitions.begin(run=name, generation=generation, now=now)
        elif changed:
            begun = transitions.with_preparation(status, now=now)
            status = transitions.resume(begun, generation=generation, now=now)
        if status.phase in FINAL:
            return status
        status = transitions.with_preparation(status, now=now)
        if refused := refusals(finetune, self.config, namespace):  # also what an earlier release has allowed, and begun
            self._stop(namespace, metadata["name"])
            message = str(InvalidInput("the document names what this release does not allow:", refused))
            known = before if before.run == name else status
            return transitions.refuse(
                gpu_hours.let_go(known, at=now), "NotAllowed", message, generation=generation, now=now
            )
        store = tenancy.run_store(self.config, namespace, finetune.spec.store, before)
        status = status.model_copy(update={"store": store})
        if before.run != name:
            return status  # told before anything is made, so that of many that ask for a run at once none is silent
        run = Run(finetune, namespace, metadata["uid"], name, status.attempt, self.config.of(namespace), store)
        with self._stores.asking(store):
            opened = self.open_store(store, tenancy.credentials(self.config, namespace))
            context = Context(run, self.cluster, opened, now)
            if changed:
                status = stages.revisit(context, status)
                context = replace(context, run=replace(run, attempt=status.attempt))
            return status if status.phase in FINAL else _advance(context, status)


def _run_name(finetune: FineTune, status: Status, began: list[Object]) -> str:
    """Return the name of a changed document's run: the one that it has, for as long as it asks for the same adapter.

    So a release that names runs otherwise trains nothing again: the document that a run began with stands in its
    ConfigMap, one of `began`, and is named by the same release as the document of now.
    """
    asked = spec.run_name(finetune)
    for found in began:
        if status.run and found["metadata"]["labels"].get(desired.RUN_LABEL) == status.run != asked:
            with contextlib.suppress(InvalidInput, KeyError):
                if spec.run_name(spec.parse(found["data"]["finetune.yaml"])) == asked:
                    return status.run
    return asked


def _advance(context: Context, status: Status) -> Status:
    """Go through prepare, train, merge, evaluate, promote and deploy until a step must wait or the run ends."""
    for stage in stages.STAGES:
        if not status.holds(stage.done):
            status = stages.carry_out(context, stage, status)
            if not status.holds(stage.done) or status.phase in FINAL:
                return status
    if context.run.finetune.spec.suspend and not status.holds("Promoted"):
        return transitions.enter(status, "Suspended", "suspended before the promotion", now=context.now)
    return promotion.promote(context, status)


def has_ended(document: Object) -> bool:
    """Return whether there is nothing to do for a document until it changes."""
    metadata, status = document["metadata"], _status(document)
    return (
        status.phase in FINAL
        and status.observed_generation == metadata["generation"]
        and not transitions.is_refused(status)  # what was refused may be allowed now
        and transitions.judge(status, now=_now()) == status
        and _FINALIZER not in metadata.get("finalizers", ())
    )


def _is_seen(status: Status, document: Object) -> bool:
    """Return whether a status is of the document as it is now."""
    return bool(status.observed_generation == document["metadata"]["generation"])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _status(document: Object) -> Status:
    try:
        return Status.model_validate(document.get("status") or {})
    except ValidationError:  # not ours: start over, the objects are found again by their names
        return Status()
