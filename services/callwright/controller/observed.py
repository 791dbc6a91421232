"""Reads the status of a RayJob, Job, Pod or RayService: pure functions from objects to values.

Knows how KubeRay and the Job controller write their statuses, and nothing else.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from callwright.controller.cluster import Object
from callwright.spec.status import FINAL, CanaryStatus

State = Literal["waiting", "running", "succeeded", "failed"]
_TAIL_LINES = 20
_SETTLED_SECONDS = 10
"""How long a RayService's status must have stood for its end to be believed."""
_SAID_LENGTH = 1500
"""Characters kept of what Serve says, whose end tells the most."""


@dataclass(frozen=True)
class Seen:
    """The state of an object, the message in its status, and the reason if it failed."""

    state: State
    message: str = ""
    reason: str = ""
    canary: "SeenCanary | None" = None
    """How a canary stands, or ended."""


@dataclass(frozen=True)
class SeenCanary:
    """A canary as a status shows it: its figures, and its condition."""

    figures: CanaryStatus
    truth: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def see_job(job: Object) -> Seen:
    """Read a `batch/v1` Job by its terminal conditions."""
    status = job.get("status", {})
    for condition in status.get("conditions", ()):
        if condition.get("status") == "True" and condition["type"] in ("Complete", "Failed"):
            state: State = "succeeded" if condition["type"] == "Complete" else "failed"
            return Seen(state, condition.get("message", ""), condition.get("reason", ""))
    failed = status.get("failed", 0)
    note = f"{failed} pod{'s' if failed > 1 else ''} failed; trying again" if failed else ""
    return Seen("running" if status.get("ready") else "waiting", note)


def see_ray_job(job: Object) -> Seen:
    """Read a KubeRay RayJob by `jobDeploymentStatus`; `Retrying` and `Suspended` are not final."""
    status = job.get("status", {})
    message, reason = status.get("message", ""), status.get("reason", "")
    match status.get("jobDeploymentStatus", ""):
        case "Complete" if status.get("jobStatus") == "SUCCEEDED":
            return Seen("succeeded", message)
        case "Complete":
            return Seen(
                "failed", message or f"the Ray job ended as {status.get('jobStatus') or 'unknown'}", "JobStopped"
            )
        case "Failed" | "ValidationFailed" as ended:
            return Seen("failed", message, reason or ("JobFailed" if ended == "Failed" else ended))
        case "Running":
            return Seen("running", message)
        case "Retrying":
            return Seen("waiting", f"attempt {status.get('failed', 1)} failed; trying again on a new Ray cluster")
        case other:
            return Seen("waiting", f"RayJob is {other}" if other else "waiting for the KubeRay operator")


def last_words(pods: list[Object]) -> str:
    """Return the ends of the logs of the newest failed pod's failed containers, with their names; empty when no pod
    failed.
    """
    ended = [(pod, ends) for pod in pods if (ends := _bad_ends(pod))]
    if not ended:
        return ""
    pod, ends = max(ended, key=lambda each: max(str(end.get("finishedAt") or "") for _, end in each[1]))
    lines = []
    for container, end in ends:
        why = f", {end['reason']}" if end.get("reason") not in (None, "Error") else ""
        lines.append(f"pod {pod['metadata']['name']}, container {container}: exit code {end['exitCode']}{why}")
        lines += [f"| {line}" for line in end.get("message", "").rstrip().splitlines()[-_TAIL_LINES:]]
    return "\n".join(lines)


def _bad_ends(pod: Object) -> list[tuple[str, Object]]:
    found = []
    for container in _containers(pod):
        end = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
        if end and end.get("exitCode"):
            found.append((container["name"], end))
    return found


def stuck(pods: list[Object]) -> str:
    """Return why pods don't start, in the kubelet's or scheduler's words; empty if no reason is known."""
    for pod in pods:
        for container in _containers(pod):
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason") in (
                "ImagePullBackOff",
                "ErrImagePull",
                "InvalidImageName",
                "CreateContainerConfigError",
            ):
                return f"pod {pod['metadata']['name']}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
        for condition in pod.get("status", {}).get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"pod {pod['metadata']['name']} is not scheduled: {condition.get('message', '')}".rstrip(": ")
    return ""


def has_begun(job: Object, pods: list[Object]) -> bool:
    """Return whether a Job's pod works though it is not ready, such as in its init containers."""
    states = (container.get("state", {}) for pod in pods for container in _containers(pod))
    return bool(job.get("status", {}).get("active")) and any("running" in state for state in states)


def is_held_up(phase: str, status: Object) -> bool:
    """Return whether a FineTune of that status waits for somebody, or cannot be looked at."""
    if phase in FINAL:
        return False
    told = {each["type"]: each for each in status.get("conditions", ())}
    waits = any(each["reason"] in ("Waiting", "NotInstalled") for each in told.values())
    return phase == "Pending" or waits or told.get("Ready", {}).get("reason", phase) != phase


def queued(workloads: list[Object]) -> str:
    """Return why Kueue does not admit a job of these Workloads, in its own words; empty where it has."""
    for workload in workloads:
        told = {each["type"]: each for each in workload.get("status", {}).get("conditions", ())}
        if told.get("Admitted", {}).get("status") != "True":
            queue = workload["spec"].get("queueName", "")
            words = next((told[kind].get("message", "") for kind in ("QuotaReserved", "Evicted") if kind in told), "")
            return f"in Kueue's queue {queue}: {words}".rstrip(": ")
    return ""


def newest_warning(events: list[Object], *, since: str) -> str:
    """Return what the newest of these Events says, and of which object; empty where there is none after `since`."""
    newest = max(events, key=_told_at, default=None)
    if newest is None or _told_at(newest) < since:
        return ""
    about = newest["involvedObject"]
    return f"{about.get('kind')} {about.get('name')}: {newest.get('reason')}: {newest.get('message', '')}".rstrip(": ")


def _told_at(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max(str(time or "") for time in times)


def see_service(service: Object, applications: Collection[str], *, now: str) -> Seen:
    """Read a KubeRay RayService: `succeeded` when these Serve applications of it run as its spec says, on the cluster
    that gets its traffic.

    KubeRay gives Serve a new configuration and tells of its generation what it has seen before that; two seconds later
    it looks again. So an end is believed once KubeRay has found nothing else for a while.
    """
    status = service.get("status", {})
    if status.get("observedGeneration", 0) < service["metadata"].get("generation", 0):
        return Seen("waiting", "waiting for the KubeRay operator")
    pending = status.get("pendingServiceStatus") or {}
    is_prepared = bool(pending.get("rayClusterName"))
    told = (pending if is_prepared else status.get("activeServiceStatus") or {}).get("applicationStatuses") or {}
    found = {name: told.get(name, {}) for name in sorted(applications)}
    words = ", ".join(f"{name} {app.get('status', 'is not there yet')}" for name, app in found.items())
    settled = seconds_between(status.get("lastUpdateTime"), now) >= _SETTLED_SECONDS
    if settled and (failed := {name: app for name, app in found.items() if app.get("status") == "DEPLOY_FAILED"}):
        return Seen("failed", "; ".join(_why_failed(name, app) for name, app in failed.items()), "DeployFailed")
    if settled and not is_prepared and all(app.get("status") == "RUNNING" for app in found.values()):
        return Seen("succeeded")
    return Seen("running", f"on a new Ray cluster: {words}" if is_prepared else words)


def ails(service: Object, application: str) -> bool:
    """Return whether Serve has said last that an application of the RayService is not well; one that gets further
    replicas is.
    """
    active = service.get("status", {}).get("activeServiceStatus") or {}
    told = (active.get("applicationStatuses") or {}).get(application) or {}
    return told.get("status") in ("UNHEALTHY", "DEPLOY_FAILED")


def _why_failed(name: str, application: Object) -> str:
    """Return what Serve says of an application that it could not deploy, and of its deployments."""
    parts = [application, *(application.get("serveDeploymentStatuses") or {}).values()]
    said = [message[-_SAID_LENGTH:] for part in parts if (message := str(part.get("message") or "").strip())]
    return f"{name} is {application['status']}: {' '.join(said)}".rstrip(": ")


def seconds_between(then: str | None, now: str) -> float:
    """Return the seconds from one time to another, as Kubernetes writes them; 0 where the first is not known."""
    return (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds() if then else 0.0


def _containers(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
