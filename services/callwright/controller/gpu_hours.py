"""Counts the GPU-hours of a run: how many GPUs its pods hold, since when, and what came together before.

    status = gpu_hours.count(status, ray_job, holds=True, resource="nvidia.com/gpu", now=now)

They are held while a Ray cluster is up or a Job's pod works, not while pods wait, nor while a run is suspended. What
has been counted stands in the status with the time of it, so that nothing is lost or counted twice when a controller is
killed, and what was held meanwhile is added. Pure functions.
"""

from datetime import datetime, timedelta

from callwright.controller.cluster import Object
from callwright.spec.status import Status

_LEAST = timedelta(minutes=1)
"""Time that is added at once, so that a status is not written with every look."""


def count(status: Status, found: Object, *, holds: bool, ended: bool, resource: str, now: str) -> Status:
    """Return the status after a look at a stage's RayJob or Job, which holds its GPUs or has ended."""
    told = found.get("status", {})
    if holds and status.gpus:
        return _added(status, now) if _time(now) - _time(status.gpus_counted_at or now) >= _LEAST else status
    if not holds and status.gpus:
        return let_go(status, at=(told.get("endTime") or told.get("completionTime") or now) if ended else now)
    began = _ray_began(told)
    if began and began <= (status.gpus_counted_at or ""):
        began = None  # an earlier try's
    if holds or (ended and began and "endTime" in told):  # in the second case nobody looked while it ran
        taken = {"gpus": gpus_of(found, resource), "gpus_counted_at": began or now}
        if taken["gpus"]:
            status = status.model_copy(update=taken)
            return status if holds else let_go(status, at=told["endTime"])
    return status


def let_go(status: Status, *, at: str) -> Status:
    """Return the status of a run that holds no GPUs from then on."""
    if not status.gpus:
        return status
    return _added(status, at).model_copy(update={"gpus": None})


def gpus_of(found: Object, resource: str) -> int:
    """Return the GPUs of all pods of a RayJob or Job together."""
    spec = found["spec"]
    if cluster := spec.get("rayClusterSpec"):
        groups = [(1, cluster["headGroupSpec"]), *((each["replicas"], each) for each in cluster["workerGroupSpecs"])]
        return sum(count * _of_pod(group["template"], resource) for count, group in groups)
    return _of_pod(spec["template"], resource)


def _of_pod(template: Object, resource: str) -> int:
    beside = [each for each in template["spec"].get("initContainers", ()) if each.get("restartPolicy") == "Always"]
    containers = [*template["spec"]["containers"], *beside]
    return sum(int(each.get("resources", {}).get("limits", {}).get(resource, 0)) for each in containers)


def _ray_began(told: Object) -> str | None:
    """Return when all pods of a RayJob's cluster were there, or at least its job began."""
    cluster = told.get("rayClusterStatus") or {}
    for condition in cluster.get("conditions") or ():
        if condition.get("type") == "RayClusterProvisioned" and condition.get("status") == "True":
            return str(condition["lastTransitionTime"])
    began = (told.get("rayJobInfo") or {}).get("startTime")
    return str(began) if began else None


def _added(status: Status, until: str) -> Status:
    held = max(timedelta(), _time(until) - _time(status.gpus_counted_at or until))
    hours = (status.gpu_hours or 0.0) + (status.gpus or 0) * (held / timedelta(hours=1))
    counted_at = max(until, status.gpus_counted_at or "")
    return status.model_copy(update={"gpu_hours": round(hours, 4), "gpus_counted_at": counted_at})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
