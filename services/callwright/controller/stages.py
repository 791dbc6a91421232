"""The stages that an object in the cluster carries out: made, watched, held, and what their ends mean.

Owns train, merge and evaluate, in order. What follows them is in `callwright.controller.promotion`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from callwright.controller import desired, observed, transitions
from callwright.controller.cluster import CONFIG_MAP, JOB, POD, RAY_JOB, Kind, Object
from callwright.controller.context import Context
from callwright.controller.desired import Manifest, Run
from callwright.errors import InvalidInput
from callwright.spec.status import ConditionType, Phase, Status

HELD = "callwright.io/held"
"""Annotation of a RayJob that the controller has suspended, as opposed to a queue such as Kueue."""
_MESSAGE_LENGTH = 4000


@dataclass(frozen=True)
class Stage:
    """A stage that one object carries out."""

    name: str
    kind: Kind
    done: ConditionType
    phase: Phase
    make: Callable[[Run], Manifest]
    see: Callable[[Object], observed.Seen]
    advice: str


_APPLY_AGAIN = "fix the cause and apply the document again with a change, such as more memory:"
STAGES = (
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
    """Do the next thing for the stage: make its object, or see how it stands."""
    found = context.cluster.get(stage.kind, context.run.namespace, context.run.child(stage.name))
    if found is not None and not _ours(context, found):
        message = f"{stage.name}: waiting until an earlier {found['kind']} is gone"
        return transitions.enter(status, status.phase, message, now=context.now)
    if context.run.finetune.spec.suspend and (found is None or stage.see(found).state in ("waiting", "running")):
        return _hold(context, stage, found, status)
    if found is None:
        try:
            _start(context, stage)
        except InvalidInput as error:
            return _fail(context, stage, status, observed.Seen("failed", str(error), "Refused"))
        return context.under_way(status, stage.done, stage.phase, "Started")
    _release(context, stage, found)
    seen = stage.see(found)
    status = _with_progress(context, stage, status)
    match seen.state:
        case "succeeded":
            return _finish(context, stage, status)
        case "failed":
            return _fail(context, stage, status, seen)
        case "waiting":
            message = observed.stuck(_pods(context, stage)) or seen.message
            return context.under_way(status, stage.done, stage.phase, "Waiting", message)
        case "running":
            return context.under_way(status, stage.done, stage.phase, "Running", seen.message)


def _ours(context: Context, found: Object) -> bool:
    owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences", ())}
    return context.run.uid in owners and "deletionTimestamp" not in found["metadata"]


def _start(context: Context, stage: Stage) -> None:
    run = context.run
    if stage.name == "evaluate":
        run = replace(run, standing=context.store.promoted_to_serve(context.run.finetune, other_than=run.version))
    context.cluster.apply(CONFIG_MAP, run.config_map())
    if stage.kind is JOB:  # a Job's pods can't be changed: made once, never applied over
        context.cluster.create(stage.kind, stage.make(run))
    else:
        context.cluster.apply(stage.kind, stage.make(run))


def _hold(context: Context, stage: Stage, found: Object | None, status: Status) -> Status:
    """Stop what runs: a RayJob is suspended; a Job is deleted, for its rerun finds in the store what is done."""
    metadata = {} if found is None else found["metadata"]
    if found is not None and stage.kind is JOB:
        context.cluster.delete(stage.kind, context.run.namespace, metadata["name"])
    elif found is not None and not found["spec"].get("suspend"):
        patch = {"metadata": {"annotations": {HELD: "true"}}, "spec": {"suspend": True}}
        context.cluster.merge(stage.kind, context.run.namespace, metadata["name"], patch)
    status = transitions.condition(status, stage.done, "Unknown", "Suspended", now=context.now)
    message = f"{stage.name} is held; set spec.suspend to false to carry on"
    return transitions.enter(status, "Suspended", message, now=context.now)


def _release(context: Context, stage: Stage, found: Object) -> None:
    if HELD in found["metadata"].get("annotations", {}):
        patch = {"metadata": {"annotations": {HELD: None}}, "spec": {"suspend": False}}
        context.cluster.merge(stage.kind, context.run.namespace, found["metadata"]["name"], patch)


def _with_progress(context: Context, stage: Stage, status: Status) -> Status:
    if stage.name != "train":
        return status
    steps, loss = context.store.progress(context.run.name)
    return status.model_copy(update={"progress": steps or status.progress, "loss": loss or status.loss})


def _pods(context: Context, stage: Stage) -> list[Object]:
    labels = {desired.RUN_LABEL: context.run.name, desired.STAGE_LABEL: stage.name}
    return context.cluster.find(POD, context.run.namespace, labels=labels)


def _finish(context: Context, stage: Stage, status: Status) -> Status:
    """The stage's object says it succeeded: hold it against what it should have left in the store."""
    run = context.run
    match stage.name:
        case "merge":
            if not context.store.published(context.run.model, run.version):
                missing = f"models/{context.run.model}/versions/{run.version}/manifest.json"
                words = f"the merge ended without {missing} in {run.store}"
                return _fail(context, stage, status, observed.Seen("failed", words, "NotPublished"))
            status = status.model_copy(update={"version": run.version})
        case "evaluate":
            evaluation = context.store.evaluation(run.name)
            if evaluation is None:
                words = f"the evaluation ended without runs/{run.name}/evaluation.json in {run.store}"
                return _fail(context, stage, status, observed.Seen("failed", words, "NoReport"))
            status = status.model_copy(update={"accuracy": evaluation.accuracy})
            if not evaluation.passed:
                return _reject(context, status, evaluation.message)
    status = transitions.condition(status, stage.done, "True", "Succeeded", now=context.now)
    return transitions.enter(status, stage.phase, now=context.now)


def _fail(context: Context, stage: Stage, status: Status, seen: observed.Seen) -> Status:
    evaluation = context.store.evaluation(context.run.name) if stage.name == "evaluate" else None
    if evaluation is not None and not evaluation.passed:  # the evaluator's exit code says so too
        return _reject(context, status.model_copy(update={"accuracy": evaluation.accuracy}), evaluation.message)
    words = observed.last_words(_pods(context, stage))
    what = f"{stage.name} failed: {seen.reason}: {seen.message}".rstrip(": ")
    message = "\n".join(part for part in (what, words[-_MESSAGE_LENGTH:], stage.advice) if part)
    return transitions.fail(status, stage.done, seen.reason or "Failed", message, now=context.now)


def _reject(context: Context, status: Status, why: str) -> Status:
    message = f"the candidate did not pass the gate, the promoted version stays: {why}"
    status = transitions.condition(status, "Evaluated", "True", "GateFailed", why, now=context.now)
    status = transitions.condition(status, "Promoted", "False", "GateFailed", message, now=context.now)
    return transitions.finish(status, "Rejected", "GateFailed", message, now=context.now)
