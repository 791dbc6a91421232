"""The operator: kopf watches, and every event about a document wakes the one task that reconciles it.

Decides when that happens; `reconcile` decides what is done. kopf sets the finalizer, so a deleted document is
cancelled before it goes.
"""

import asyncio
import logging
import threading
from collections import defaultdict
from typing import Any

import kopf

from callwright.controller.desired import FINE_TUNE_LABEL
from callwright.controller.metrics import Metrics
from callwright.controller.reconcile import Reconciler
from callwright.errors import Conflict, Temporary
from callwright.spec.crd import GROUP, PLURAL, VERSION

_FINALIZER = "callwright.io/cancel"
_RETRY_SECONDS = (0.2, 1.0, 5.0, 15.0, 60.0)

Key = tuple[str, str]


def create_registry(reconciler: Reconciler, metrics: Metrics) -> kopf.OperatorRegistry:
    """The handlers, bound to `reconciler`."""
    registry = kopf.OperatorRegistry()
    wakers: defaultdict[Key, asyncio.Event] = defaultdict(asyncio.Event)

    async def keep_reconciled(
        namespace: str, name: str, stopped: kopf.DaemonStopped, logger: logging.Logger, **_: Any
    ) -> None:
        waker = wakers[namespace, name]
        failures = 0
        while not stopped:
            waker.clear()
            try:
                with metrics.timed():
                    delay = await asyncio.to_thread(reconciler.reconcile, namespace, name)
                failures = 0
            except (Temporary, Conflict) as error:
                delay = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
                failures += 1
                logger.warning("trying again in %s s: %s", delay, error)
            await _first_of(waker.wait(), stopped.wait(), seconds=delay)
        if stopped.reason is not None and kopf.DaemonStoppingReason.RESOURCE_DELETED in stopped.reason:
            await asyncio.to_thread(reconciler.cancel, namespace, name)
            del wakers[namespace, name]

    async def document_changed(namespace: str, name: str, type: str | None, status: kopf.Status, **_: Any) -> None:
        metrics.see((namespace, name), None if type == "DELETED" else status.get("phase", "Pending"))
        if (namespace, name) in wakers:
            wakers[namespace, name].set()

    async def child_changed(namespace: str, labels: kopf.Labels, **_: Any) -> None:
        key = namespace, labels[FINE_TUNE_LABEL]
        if key in wakers:
            wakers[key].set()

    kopf.on.login(registry=registry)(_login)
    kopf.daemon(GROUP, VERSION, PLURAL, registry=registry)(keep_reconciled)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(document_changed)
    for group, version, plural in (("batch", "v1", "jobs"), ("ray.io", "v1", "rayjobs")):
        label = {FINE_TUNE_LABEL: kopf.PRESENT}
        kopf.on.event(group, version, plural, labels=label, id=plural, registry=registry)(child_changed)
    return registry


async def run(
    reconciler: Reconciler,
    metrics: Metrics,
    *,
    stop_flag: threading.Event | None = None,
    liveness_endpoint: str | None = None,
) -> None:
    """Watch and act until `stop_flag` is set or a signal comes."""
    namespaces = reconciler.config.namespaces
    await kopf.operator(
        registry=create_registry(reconciler, metrics),
        settings=_settings(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        liveness_endpoint=liveness_endpoint,
        stop_flag=stop_flag,
    )


def _settings() -> kopf.OperatorSettings:
    """kopf's settings: no scanning for kinds at run time, no bookkeeping in annotations, prompt deletion."""
    made = kopf.OperatorSettings()
    made.scanning.disabled = True
    made.posting.enabled = False
    made.peering.standalone = True
    made.persistence.finalizer = _FINALIZER
    made.background.cancellation_polling = 0.5
    return made


def _login(**told: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**told) or kopf.login_with_kubeconfig(**told)


async def _first_of(*waits: Any, seconds: float | None) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
