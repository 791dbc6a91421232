"""One look at one FineTune: compare what should be with what is, do the next thing, say how it stands.

Everything it needs to know stands in the API server and the store, so it may be killed between any two writes: the next
look carries on. Knows nothing of kopf; blocking.
"""

import json

from pydantic import ValidationError

from callwright import spec
from callwright.controller import desired, events, promotion, stages, transitions
from callwright.controller.cluster import CONFIG_MAP, FINE_TUNE, JOB, RAY_JOB
from callwright.controller.desired import Run
from callwright.controller.look import Look, Object, World
from callwright.errors import InvalidInput
from callwright.spec.status import FINAL, Status


def reconcile(world: World, namespace: str, name: str) -> float | None:
    """Take one step; returns seconds until the next look is due, None when only a change makes one due.

    Raises `Temporary` and `Conflict` when a look soon may do better.
    """
    body = world.cluster.get(FINE_TUNE, namespace, name)
    if body is None or "deletionTimestamp" in body["metadata"]:
        return None
    before = _status(body)
    after = _next(world, body, before)
    if after != before:
        events.tell(world.cluster, body, before, after, now=world.timestamp)
        status = after.model_dump(mode="json", by_alias=True)
        world.cluster.merge(FINE_TUNE, namespace, name, {"status": status}, subresource="status")
    return None if after.phase in FINAL else world.config.poll_seconds


def cancel(world: World, namespace: str, name: str, *, keep_run: str | None = None) -> None:
    """Delete what runs of this document have in the cluster, save for one run; the store keeps what they wrote."""
    for kind in (RAY_JOB, JOB, CONFIG_MAP):
        for child in world.cluster.find(kind, namespace, labels={desired.FINE_TUNE_LABEL: name}):
            metadata = child["metadata"]
            owned_by_us = any(owner["kind"] == "FineTune" for owner in metadata.get("ownerReferences", ()))
            if owned_by_us and metadata["labels"].get(desired.RUN_LABEL) != keep_run:
                world.cluster.delete(kind, namespace, metadata["name"])


def _status(body: Object) -> Status:
    try:
        return Status.model_validate(body.get("status") or {})
    except ValidationError:  # not ours: start over, the objects are found again by their names
        return Status()


def _next(world: World, body: Object, status: Status) -> Status:
    metadata = body["metadata"]
    namespace, generation, now = metadata["namespace"], metadata["generation"], world.timestamp
    document = {key: body[key] for key in ("apiVersion", "kind", "metadata", "spec")}
    try:
        finetune = spec.parse(json.dumps(document), where="the document")
    except InvalidInput as error:
        cancel(world, namespace, metadata["name"])
        status = Status(observed_generation=generation)
        return transitions.fail(status, "Accepted", "InvalidInput", str(error), now=now)
    name = spec.run_name(finetune)
    if status.run != name:
        cancel(world, namespace, metadata["name"], keep_run=name)
        status = transitions.begin(status, run=name, generation=generation, now=now)
    elif status.observed_generation != generation:
        status = transitions.resume(status, generation=generation, now=now)
    if status.phase in FINAL:
        return status
    run = Run(finetune, namespace, metadata["uid"], name, status.attempt, world.config)
    return _step(Look(world, run, world.open_reports(run.store)), status)


def _step(look: Look, status: Status) -> Status:
    """The status after doing the next thing."""
    for stage in stages.STAGES:
        if not status.holds(stage.done):
            status = stages.carry_out(look, stage, status)
            if not status.holds(stage.done) or status.phase in FINAL:
                return status
    if look.finetune.spec.suspend:
        return transitions.enter(status, "Suspended", "suspended before the promotion", now=look.now)
    if not status.holds("Promoted"):
        status = promotion.promote(look, status)
        if not status.holds("Promoted"):
            return status
    return promotion.deploy(look, status)
