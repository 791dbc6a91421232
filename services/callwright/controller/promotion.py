"""After the gate: the named RayService takes the version in place, and the promoted pointer moves once it is served.

Implements `evaluate.promote` and `deploy.service` on a cluster; `callwright.controller.rollout` has a rollout's steps.
"""

from callwright.controller import observed, rollout, transitions
from callwright.controller.cluster import POD, RAY_SERVICE, Forbidden, Object
from callwright.controller.context import Context
from callwright.controller.sidecars import CLUSTER_LABEL
from callwright.errors import GateFailed, InvalidInput
from callwright.spec.status import Status

_BEGUN = ("Updating", "Waiting")
"""Reasons of the condition Deployed while the RayService takes the version."""
_FINE_TUNE = "FineTune "
"""What stands before a FineTune's name where it is who brings a version."""


def promote(context: Context, status: Status) -> Status:
    """Have the version served and promoted, wait for somebody to promote it, or end without, as the document says.

    A run does this once. So an edit of the document that makes no new run does not undo a rollback, and leaves what the
    RayService has come to serve since. Killed between the pointer and the status, the next try finds the pointer moved
    and goes on; a rollback in that very moment is not seen, and the version is promoted again.
    """
    run = context.run
    service, model, version = run.finetune.spec.deploy.service, run.model, run.version
    registry = context.store.registry
    # Read before the pointer: a rollback of both from now on makes a Conflict here, an earlier one moved the pointer.
    found = context.cluster.get(RAY_SERVICE, run.namespace, service) if service else None
    promoted = registry.promoted(model)
    if promoted != version and (status.holds("Promoted") or _is_superseded(status)):
        return _superseded(
            context, status, f"version {version} of {model} was promoted, and {promoted or 'none'} is now"
        )
    try:
        if not status.holds("Promoted"):
            registry.promotable(model, version)
        match run.finetune.spec.evaluate.promote:
            case "never" if not status.holds("Promoted"):
                message = f"version {version} of {model} is published, and not to be promoted"
                return transitions.finish(status, "Completed", "NotPromoted", message, now=context.now)
            case "manual" if promoted != version and not _has_begun(status):
                message = f"passed the gate; to promote: {_promote_command(context)}"
                return context.under_way(status, "Promoted", "AwaitingPromotion", "AwaitingPromotion", message)
        if service is None:
            context.store.promote(model, version)
    except GateFailed as error:
        return transitions.fail(status, "Promoted", "ServedOtherwise", str(error), now=context.now)
    if service is None or (status.holds("Deployed") and status.service == service):
        return _promoted(context, status, f"version {version} of {model} is promoted")
    if found is None:
        missing = f"no RayService {service} in {run.namespace}; install charts/serving"
        return context.under_way(status, "Deployed", "Deploying", "NotInstalled", missing)
    return _roll_out(context, status, found)


def name_of(finetune: str) -> str:
    """Return what a FineTune is called as who brings a version into a RayService."""
    return f"{_FINE_TUNE}{finetune}"


def brought_to(service: Object) -> list[str]:
    """Return the FineTunes that are just bringing a version into a RayService."""
    under_way = [last.by for last in rollout.rollouts(service).values() if last.outcome is None]
    return [by.removeprefix(_FINE_TUNE) for by in under_way if by.startswith(_FINE_TUNE)]


def is_under_way(status: Status) -> bool:
    """Return whether the RayService takes the run's version just now, or is given a share of the requests."""
    return _has_begun(status) or transitions.is_tried(status)


def _roll_out(context: Context, status: Status, found: Object) -> Status:
    """Do the next thing for the rollout into the RayService, and return the status after it."""
    run, registry = context.run, context.store.registry
    service, model, version = found["metadata"]["name"], run.model, run.version
    target = rollout.Target(
        model,
        version,
        store=run.store,
        by=name_of(run.finetune.metadata.name),
        move_pointer=lambda expect: registry.promote(model, version, expect=expect),
        canary=run.finetune.spec.deploy.canary,
        deadline_seconds=run.config.pods.deadline_seconds.deploy,
    )
    try:
        seen = rollout.advance(context.cluster, found, target, registry, begun=_has_begun(status), now=context.now)
    except InvalidInput as error:
        return transitions.fail(status, "Deployed", "NotServed", f"RayService {service}: {error}", now=context.now)
    if (tried := seen.canary) is not None:
        status = status.model_copy(update={"canary": tried.figures})
        status = transitions.condition(status, "Canary", tried.truth, tried.reason, tried.message, now=context.now)
    if seen.state == "succeeded":
        status = transitions.condition(status, "Deployed", "True", "Succeeded", now=context.now)
        status = status.model_copy(update={"service": service})
        return _promoted(context, status, f"RayService {service} serves version {version} of {model}")
    if seen.state == "failed" and seen.reason == "Superseded":
        return _superseded(
            context, status, f"while RayService {service} took version {version} of {model}, {seen.message}"
        )
    if seen.state == "failed":
        message = f"RayService {service} does not take version {version}: {seen.message}"
        return transitions.fail(status, "Deployed", seen.reason, message, now=context.now)
    words = _held_up_by(context, found)
    reason = seen.reason or ("Waiting" if words else "Updating")
    return context.under_way(status, "Deployed", "Deploying", reason, f"RayService {service}: {words or seen.message}")


def _promoted(context: Context, status: Status, message: str) -> Status:
    status = transitions.condition(status, "Promoted", "True", "Succeeded", now=context.now)
    reason = "Deployed" if status.holds("Deployed") else "Promoted"
    return transitions.finish(status, "Promoted", reason, message, now=context.now)


def _has_begun(status: Status) -> bool:
    """Return whether the RayService has begun to take the version, in this attempt of the run."""
    deployed = status.condition("Deployed")
    return deployed is not None and deployed.status == "Unknown" and deployed.reason in _BEGUN


def _is_superseded(status: Status) -> bool:
    deployed = status.condition("Deployed")
    return deployed is not None and deployed.reason == "Superseded"


def _promote_command(context: Context) -> str:
    run = context.run
    command = f"callwright promote {run.model} {run.version} --store {run.store}"
    service = run.finetune.spec.deploy.service
    return f"{command} --service {service} --namespace {run.namespace}" if service else command


def _held_up_by(context: Context, service: Object) -> str:
    """Return why pods of the RayService's clusters do not start, or what is warned of; empty where nobody says."""
    told, namespace = service.get("status", {}), context.run.namespace
    parts = (told.get("pendingServiceStatus") or {}, told.get("activeServiceStatus") or {})
    clusters = [name for part in parts if (name := part.get("rayClusterName"))]
    try:
        pods = [pod for name in clusters for pod in context.cluster.find(POD, namespace, labels={CLUSTER_LABEL: name})]
        return observed.stuck(pods) or context.warning(service["metadata"]["name"], *clusters)
    except Forbidden:
        return ""


def _superseded(context: Context, status: Status, why: str) -> Status:
    """End as somebody else has it, who rolled back or promoted or served another version."""
    message = f"{why}; to go back to it: {_promote_command(context)}"
    if (tried := status.condition("Canary")) is not None and tried.status == "Unknown":
        status = transitions.condition(status, "Canary", "False", "Superseded", why, now=context.now)
    if context.run.finetune.spec.deploy.service and not status.holds("Deployed"):
        status = transitions.condition(status, "Deployed", "False", "Superseded", now=context.now)
    return transitions.finish(status, "Completed", "Superseded", message, now=context.now)
