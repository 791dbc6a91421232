"""After the gate: the promoted pointer moves, and the named RayService takes the version in place.

Implements `evaluate.promote` and `deploy.service` on a cluster. Stages are in `callwright.controller.stages`.
"""

from callwright.controller import observed, serving, transitions
from callwright.controller.cluster import FIELD_MANAGER, POD, RAY_SERVICE, Cluster, Forbidden, Object
from callwright.controller.context import Context
from callwright.errors import GateFailed, InvalidInput
from callwright.spec.status import Status

_CLUSTER_LABEL = "ray.io/cluster"


def promote(context: Context, status: Status) -> Status:
    """Move the promoted pointer, wait for somebody to do it, or end the run without, as `evaluate.promote` says.

    Killed between the pointer and the status, the next try finds the pointer moved and goes on; a rollback in that
    very moment is not seen, and the version is promoted again.
    """
    model, version = context.run.model, context.run.version
    registry = context.store.registry
    try:
        match context.run.finetune.spec.evaluate.promote:
            case "never":
                message = f"version {version} of {model} is published, and not to be promoted"
                return transitions.finish(status, "Completed", "NotPromoted", message, now=context.now)
            case "manual" if registry.promoted(model) != version and registry.promotable(model, version):
                message = (
                    f"passed the gate; to promote: callwright promote {model} {version} --store {context.run.store}"
                )
                return context.under_way(status, "Promoted", "AwaitingPromotion", "AwaitingPromotion", message)
        context.store.promote(model, version)
    except GateFailed as error:
        return transitions.fail(status, "Promoted", "ServedOtherwise", str(error), now=context.now)
    status = transitions.condition(status, "Promoted", "True", "Succeeded", now=context.now)
    return transitions.enter(status, "Promoting", now=context.now)


def deploy(context: Context, status: Status) -> Status:
    """Bring the version into the named RayService and see it served; without one, the run ends promoted.

    A run does this once, and only while its version is the promoted one. So an edit of the document that makes no new
    run does not undo a rollback, and leaves what the RayService has come to serve since.
    """
    run = context.run
    service, model, version = run.finetune.spec.deploy.service, run.model, run.version
    # Read before the pointer: a rollback of both from now on makes a Conflict here, an earlier one moved the pointer.
    found = context.cluster.get(RAY_SERVICE, run.namespace, service) if service else None
    if (promoted := context.store.registry.promoted(model)) != version:
        return _superseded(context, status, promoted)
    if service is None:
        message = f"version {version} of {model} is promoted"
        return transitions.finish(status, "Promoted", "Promoted", message, now=context.now)
    if status.holds("Deployed") and status.service == service:
        message = f"RayService {service} took version {version} of {model}"
        return transitions.finish(status, "Promoted", "Deployed", message, now=context.now)
    if found is None:
        missing = f"no RayService {service} in {run.namespace}; install charts/serving"
        return context.under_way(status, "Deployed", "Deploying", "Waiting", missing)
    try:
        changed = put_version(context.cluster, found, model=model, version=version, store=run.store)
    except InvalidInput as error:
        return transitions.fail(status, "Deployed", "NotServed", f"RayService {service}: {error}", now=context.now)
    if changed:
        said = f"RayService {service} takes version {version}"
        return context.under_way(status, "Deployed", "Deploying", "Updating", said)
    applications = serving.applications_with(found["spec"]["serveConfigV2"], model=model)
    seen = observed.see_service(found, applications.keys(), now=context.now)
    match seen.state:
        case "succeeded":
            status = transitions.condition(status, "Deployed", "True", "Succeeded", now=context.now)
            status = status.model_copy(update={"service": service})
            message = f"RayService {service} serves version {version} of {model}"
            return transitions.finish(status, "Promoted", "Deployed", message, now=context.now)
        case "failed":
            message = f"RayService {service} does not take version {version}: {seen.message}"
            return transitions.fail(status, "Deployed", seen.reason, message, now=context.now)
    words = _held_up_by(context, found)
    reason = "Waiting" if words else "Updating"
    return context.under_way(status, "Deployed", "Deploying", reason, f"RayService {service}: {words or seen.message}")


def _held_up_by(context: Context, service: Object) -> str:
    """Return why pods of the RayService's clusters do not start, or what is warned of; empty where nobody says."""
    told, namespace = service.get("status", {}), context.run.namespace
    parts = (told.get("pendingServiceStatus") or {}, told.get("activeServiceStatus") or {})
    clusters = [name for part in parts if (name := part.get("rayClusterName"))]
    try:
        pods = [pod for name in clusters for pod in context.cluster.find(POD, namespace, labels={_CLUSTER_LABEL: name})]
        return observed.stuck(pods) or context.warning(service["metadata"]["name"], *clusters)
    except Forbidden:
        return ""


def _superseded(context: Context, status: Status, promoted: str | None) -> Status:
    """End without touching the RayService, because somebody rolled back or promoted another version after this run."""
    run = context.run
    service, model, version = run.finetune.spec.deploy.service, run.model, run.version
    again = f"callwright promote {model} {version} --store {run.store}"
    again += f" --service {service} --namespace {run.namespace}" if service else ""
    message = f"version {version} of {model} was promoted, and {promoted or 'none'} is now; to go back to it: {again}"
    if service and not status.holds("Deployed"):
        status = transitions.condition(status, "Deployed", "False", "Superseded", now=context.now)
    return transitions.finish(status, "Completed", "Superseded", message, now=context.now)


def put_version(
    cluster: Cluster, service: Object, *, model: str, version: str, store: str, dry_run: bool = False
) -> bool:
    """Have the RayService serve `version` of `model`; returns whether its text differs.

    Raises `InvalidInput` when it serves no such model, or from another store than the version's, and `Conflict` when
    somebody changed it since it was read.
    """
    text: str = service["spec"].get("serveConfigV2", "")
    wanted = serving.set_version(text, model=model, version=version, store=store)
    if not dry_run:
        hand_over(cluster, service, wanted)
    return wanted != text


def hand_over(cluster: Cluster, service: Object, text: str) -> None:
    """Write `serveConfigV2`, then give up owning it, so that its author's next apply (Helm's, say) has no conflict.

    Called again, it does what a failure has left undone.
    """
    metadata = service["metadata"]
    if service["spec"].get("serveConfigV2") != text:
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": {"serveConfigV2": text}}
        written = cluster.merge(RAY_SERVICE, metadata["namespace"], metadata["name"], patch)
        if written is None:
            return
        metadata = written["metadata"]
    owned = metadata.get("managedFields", ())
    theirs = [entry for entry in owned if entry["manager"] != FIELD_MANAGER or "subresource" in entry]
    if len(theirs) < len(owned):
        given_back = {"resourceVersion": metadata["resourceVersion"], "managedFields": theirs}
        cluster.merge(RAY_SERVICE, metadata["namespace"], metadata["name"], {"metadata": given_back})
