"""Prepare, train, merge and evaluate, in order: each makes an object in the cluster, watches it, judges how it ended.

`callwright.controller.promotion` does what follows.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from callwright.controller import desired, gpu_hours, observed, transitions
from callwright.controller.cluster import (
    CONFIG_MAP,
    JOB,
    NETWORK_POLICY,
    POD,
    RAY_JOB,
    WORKLOAD,
    Forbidden,
    Kind,
    KindMissing,
    Object,
)
from callwright.controller.context import Context
from callwright.controller.desired import Manifest, Run
from callwright.controller.run_store import Evaluation
from callwright.errors import CallwrightError, InvalidInput
from callwright.evaluator.decision import stored_at
from callwright.server.trial import promoted_to_serve
from callwright.spec.status import ConditionType, Phase, Status

HELD = "callwright.io/held"
"""Annotation of a RayJob that the controller has suspended, as opposed to a queue such as Kueue."""
_QUEUE_LABEL, _JOB_UID_LABEL = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/job-uid"
_MESSAGE_LENGTH = 4000


@dataclass(frozen=True)
class Stage:
    """A stage that one object in the cluster carries out."""

    name: str
    kind: Kind
    done: ConditionType
    """Condition that is True once the stage is done."""
    phase: Phase
    make: Callable[[Run], Manifest]
    see: Callable[[Object], observed.Seen]
    """Reads the state of the object."""
    advice: str
    """Advice to the user if the stage fails."""


_APPLY_AGAIN = "fix the cause and apply the document again with a change, such as more memory:"
STAGES = (
    Stage(
        "prepare", JOB, "Prepared", "Preparing", desired.preparation_job, observed.see_job,
        f"{_APPLY_AGAIN} the preparation is made again, nothing was trained yet",
    ),
    Stage(
        "train", RAY_JOB, "Trained", "Training", desired.ray_job, observed.see_ray_job,
        f"{_APPLY_AGAIN} the training carries on from its newest checkpoint",
    ),
    Stage(
        "merge", JOB, "Merged", "Merging", desired.merge_job, observed.see_job,
        f"{_APPLY_AGAIN} the merge is made again, the training is not",
    ),
    Stage(
        "evaluate", JOB, "Evaluated", "Evaluating", desired.evaluation_job, observed.see_job,
        f"{_APPLY_AGAIN} the evaluation is made again, training and merge are not",
    ),
)  # fmt: skip


def carry_out(context: Context, stage: Stage, status: Status) -> Status:
    """Do the next thing for the stage, make its object or see how it stands, and return the status after it."""
    found = context.cluster.get(stage.kind, context.run.namespace, context.run.child(stage.name))
    if found is not None and not _ours(context, found):
        message = f"{stage.name}: waiting until an earlier {found['kind']} is gone"
        return transitions.enter(status, status.phase, message, now=context.now)
    if found is not None and _is_outdated(context, stage, found):
        context.cluster.delete(stage.kind, context.run.namespace, found["metadata"]["name"])
        message = f"{stage.name}: the document has changed, it is begun anew"
        status = gpu_hours.let_go(status, at=context.now)
        return context.under_way(status, stage.done, stage.phase, "Restarted", message)
    if found is None:
        status = gpu_hours.let_go(status, at=context.now)
    if context.run.finetune.spec.suspend and (found is None or stage.see(found).state in ("waiting", "running")):
        return _hold(context, stage, found, status)
    if found is None and _is_in_store(context, stage):
        return _end(context, stage, _with_progress(context, stage, status), observed.Seen("succeeded"))
    if found is None:
        if stage.name == "evaluate":
            context = _beside_promoted(context)
        try:
            _start(context, stage)
        except InvalidInput as error:
            return _end(context, stage, status, observed.Seen("failed", str(error), "Refused"))
        return context.under_way(status, stage.done, stage.phase, "Started")
    _release(context, stage, found)
    seen = stage.see(found)
    if seen.state != "waiting":  # until it runs, the store's report is of an earlier try
        try:
            status = _with_progress(context, stage, status)
        except CallwrightError:
            if seen.state == "running":
                raise  # how it ended is told without
    match seen.state:
        case "waiting":
            pods = _pods(context, stage)
            words = _held_up_by(context, found, pods)
            begun = observed.has_begun(found, pods)
            status = _counted(context, found, status, holds=begun)
            reason = "Running" if not words and begun else "Waiting"
            return context.under_way(status, stage.done, stage.phase, reason, words or seen.message)
        case "running":
            status = _counted(context, found, status, holds=True)
            return context.under_way(status, stage.done, stage.phase, "Running", seen.message)
    return _end(context, stage, _counted(context, found, status, holds=False, ended=True), seen)


def _is_in_store(context: Context, stage: Stage) -> bool:
    """Return whether what the stage comes to is there, though its object has gone, or was another document's of the
    name: then nobody need wait for GPUs to find that. A preparation that has been made finds it by itself, for little.
    """
    run, store = context.run, context.store
    with contextlib.suppress(InvalidInput):  # S3 refuses what is not there where it may not be listed
        match stage.name:
            case "train":
                return store.trained(run.name)
            case "merge":
                return store.published(run.model, run.version)
            case "evaluate":
                return store.decide_again(run.finetune, run.name, run.version) is not None
    return False


def _with_progress(context: Context, stage: Stage, status: Status) -> Status:
    """Return the status with the figures of the training's report. Raises as the store does."""
    if stage.name != "train":
        return status
    steps, loss = context.store.progress(context.run.name)
    return status.model_copy(update={"progress": steps or status.progress, "loss": loss or status.loss})


def _counted(context: Context, found: Object, status: Status, *, holds: bool, ended: bool = False) -> Status:
    resource = context.run.config.pods.gpu_resource
    return gpu_hours.count(status, found, holds=holds, ended=ended, resource=resource, now=context.now)


def revisit(context: Context, status: Status) -> Status:
    """Return the status of a run whose document has changed: what depends on the change is done anew.

    Other merge settings make another version, other requests another evaluation; a gate is held against the reports
    that are there.
    """
    run = context.run
    if status.holds("Merged") and status.version != run.version:
        return transitions.redo(_without_evaluation(context, status), "Merged")
    if not status.holds("Evaluated") or status.holds("Promoted"):
        return status
    decision = context.store.decide_again(run.finetune, run.name, run.version)
    if decision is None:
        return transitions.redo(status, "Evaluated")
    return status if decision.passed else _reject(context, status, decision.message)


def _ours(context: Context, found: Object) -> bool:
    owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences", ())}
    return context.run.uid in owners and "deletionTimestamp" not in found["metadata"]


def _is_outdated(context: Context, stage: Stage, found: Object) -> bool:
    """Return whether the object makes what the document has asked for before; one of an earlier release may be any."""
    makes = found["metadata"].get("annotations", {}).get(desired.MAKES)
    return makes is not None and makes != context.run.makes(stage.name)


def _without_evaluation(context: Context, status: Status) -> Status:
    """End an evaluation of a version that is not asked for any more; return the status after it."""
    namespace, name = context.run.namespace, context.run.child("evaluate")
    found = context.cluster.get(JOB, namespace, name)
    if found is not None and observed.see_job(found).state in ("waiting", "running"):
        context.cluster.delete(JOB, namespace, name)
    return gpu_hours.let_go(status, at=context.now)


def _beside_promoted(context: Context) -> Context:
    """Return the context of a run whose candidate is measured beside the promoted version. Raises as the store does."""
    run = context.run
    beside = promoted_to_serve(run.finetune, context.store.registry, other_than=run.version)
    return replace(context, run=replace(run, standing=beside))


def _start(context: Context, stage: Stage) -> None:
    run = context.run
    context.cluster.apply(CONFIG_MAP, run.config_map())
    if run.config.pods.network_policy:
        context.cluster.apply(NETWORK_POLICY, desired.network_policy(run))
    if stage.kind is JOB:  # a Job's pods can't be changed: made once, never applied over
        context.cluster.create(stage.kind, stage.make(run))
    else:
        context.cluster.apply(stage.kind, stage.make(run))


def _hold(context: Context, stage: Stage, found: Object | None, status: Status) -> Status:
    """Stop the running object: suspend a RayJob; delete a Job, because its rerun finds finished work in the store."""
    metadata = {} if found is None else found["metadata"]
    if found is not None and stage.kind is JOB:
        context.cluster.delete(stage.kind, context.run.namespace, metadata["name"])
        status = gpu_hours.let_go(status, at=context.now)
    elif found is not None and not found["spec"].get("suspend"):
        patch = {"metadata": {"annotations": {HELD: "true"}}, "spec": {"suspend": True}}
        context.cluster.merge(stage.kind, context.run.namespace, metadata["name"], patch)
    if found is not None and stage.kind is RAY_JOB:
        status = _counted(context, found, status, holds=stage.see(found).state == "running")
    status = transitions.condition(status, stage.done, "Unknown", "Suspended", now=context.now)
    message = f"{stage.name} is held; set spec.suspend to false to carry on"
    return transitions.enter(status, "Suspended", message, now=context.now)


def _release(context: Context, stage: Stage, found: Object) -> None:
    if HELD in found["metadata"].get("annotations", {}):
        patch = {"metadata": {"annotations": {HELD: None}}, "spec": {"suspend": False}}
        context.cluster.merge(stage.kind, context.run.namespace, found["metadata"]["name"], patch)


def _pods(context: Context, stage: Stage) -> list[Object]:
    """Return the stage's pods; none where the role does not allow to look: they only say more of how it stands."""
    labels = {desired.RUN_LABEL: context.run.name, desired.STAGE_LABEL: stage.name}
    try:
        return context.cluster.find(POD, context.run.namespace, labels=labels)
    except Forbidden:
        return []


def _held_up_by(context: Context, found: Object, pods: list[Object]) -> str:
    """Return who holds the stage's object up, in their words: a queue, quota, webhook, the scheduler or the kubelet.

    Empty where nobody says anything, and where the role does not allow to look.
    """
    try:
        return _queued(context, found) or observed.stuck(pods) or _warned(context, found, pods)
    except Forbidden:
        return observed.stuck(pods)


def _queued(context: Context, found: Object) -> str:
    """Return why the queue that the object waits in does not admit it."""
    metadata = found["metadata"]
    queue = metadata.get("labels", {}).get(_QUEUE_LABEL)
    if not queue or not found["spec"].get("suspend"):
        return ""
    try:
        labels = {_JOB_UID_LABEL: metadata["uid"]}
        return observed.queued(context.cluster.find(WORKLOAD, context.run.namespace, labels=labels))
    except KindMissing:
        return f"in the queue {queue}: no Kueue 0.15 or newer is here to admit it; install it, or drop the label"


def _warned(context: Context, found: Object, pods: list[Object]) -> str:
    """Return the newest warning about the object, the Ray cluster that it has made, or a pod that waits."""
    made_by = found.get("status", {}).get("rayClusterName")
    waiting = [pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") == "Pending"]
    named = [found["metadata"]["name"], *([made_by] if made_by else []), *waiting[:1]]
    return context.warning(*named)


def _end(context: Context, stage: Stage, status: Status, seen: observed.Seen) -> Status:
    """Judge the stage's object, which has ended: what it left in the store decides whether the stage is done, too.

    Raises as the store does, which is asked again then; a failure is told without it where it refuses.
    """
    run, store = context.run, context.store
    succeeded = seen.state == "succeeded"
    evaluation = _evaluation(context, seen) if stage.name == "evaluate" else None
    prepared = store.prepared(run.name) if succeeded and stage.name == "prepare" else None
    refusal = store.refusal(run.name) if succeeded and stage.name == "train" else None
    if evaluation is not None and not evaluation.passed:  # an earlier release's evaluator failed its Job, too
        return _reject(context, status.model_copy(update={"accuracy": evaluation.accuracy}), evaluation.message)
    if refusal is not None:
        seen = observed.Seen("failed", refusal[:_MESSAGE_LENGTH], InvalidInput.__name__)
    if succeeded and stage.name == "prepare" and prepared is None:
        missing = f"runs/{run.name}/prepared.json"
        seen = observed.Seen("failed", f"the preparation ended without {missing} in {run.store}", "NotPrepared")
    if succeeded and stage.name == "merge" and not store.published(run.model, run.version):
        missing = f"models/{run.model}/versions/{run.version}/manifest.json"
        seen = observed.Seen("failed", f"the merge ended without {missing} in {run.store}", "NotPublished")
    if succeeded and stage.name == "evaluate" and evaluation is None:
        if store.measured(run.name):  # beside another promoted version, or with too few answers for the gate of now
            return transitions.redo(status, "Evaluated")
        missing = stored_at(run.name)
        seen = observed.Seen("failed", f"the evaluation ended without a report in {run.store}/{missing}", "NoReport")
    if seen.state == "failed":
        words = observed.last_words(_pods(context, stage))
        what = f"{stage.name} failed: {seen.reason}: {seen.message}".rstrip(": ")
        message = "\n".join(part for part in (what, words[-_MESSAGE_LENGTH:], stage.advice) if part)
        return transitions.fail(status, stage.done, seen.reason or "Failed", message, now=context.now)
    if stage.name == "merge":
        status = status.model_copy(update={"version": run.version})
    if evaluation is not None:
        status = status.model_copy(update={"accuracy": evaluation.accuracy})
    status = transitions.condition(status, stage.done, "True", "Succeeded", prepared or "", now=context.now)
    return transitions.enter(status, stage.phase, now=context.now)


def _evaluation(context: Context, seen: observed.Seen) -> Evaluation | None:
    """Return the document's gate, as it is now, over what the evaluation has stored."""
    run = context.run
    try:
        return context.store.decide_again(run.finetune, run.name, run.version)
    except InvalidInput:
        if seen.state == "failed":
            return None
        raise


def _reject(context: Context, status: Status, why: str) -> Status:
    message = f"the candidate did not pass the gate, the promoted version stays: {why}"
    status = transitions.condition(status, "Evaluated", "True", "GateFailed", why, now=context.now)
    status = transitions.condition(status, "Promoted", "False", "GateFailed", message, now=context.now)
    return transitions.finish(status, "Rejected", "GateFailed", message, now=context.now)
