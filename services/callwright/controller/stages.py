"""The stages that an object in the cluster carries out: made, watched, held, and what their ends mean.

Owns train, merge and evaluate, in order. What follows them is in `callwright.controller.promotion`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from callwright.controller import desired, observed, transitions
from callwright.controller.cluster import CONFIG_MAP, JOB, POD, RAY_JOB, Kind
from callwright.controller.desired import Manifest, Run
from callwright.controller.look import Look, Object
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


def carry_out(look: Look, stage: Stage, status: Status) -> Status:
    """Do the next thing for the stage: make its object, or see how it stands."""
    found = look.cluster.get(stage.kind, look.run.namespace, look.run.child(stage.name))
    if found is not None and not _ours(look, found):
        message = f"{stage.name}: waiting until an earlier {found['kind']} is gone"
        return transitions.enter(status, status.phase, message, now=look.now)
    if look.finetune.spec.suspend and (found is None or stage.see(found).state in ("waiting", "running")):
        return _hold(look, stage, found, status)
    if found is None:
        try:
            _start(look, stage)
        except InvalidInput as error:
            return _fail(look, stage, status, observed.Seen("failed", str(error), "Refused"))
        return look.under_way(status, stage.done, stage.phase, "Started")
    _release(look, stage, found)
    seen = stage.see(found)
    status = _with_progress(look, stage, status)
    match seen.state:
        case "succeeded":
            return _finish(look, stage, status)
        case "failed":
            return _fail(look, stage, status, seen)
        case "waiting":
            message = observed.stuck(_pods(look, stage)) or seen.message
            return look.under_way(status, stage.done, stage.phase, "Waiting", message)
        case "running":
            return look.under_way(status, stage.done, stage.phase, "Running", seen.message)


def _ours(look: Look, found: Object) -> bool:
    owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences", ())}
    return look.run.uid in owners and "deletionTimestamp" not in found["metadata"]


def _start(look: Look, stage: Stage) -> None:
    run = look.run
    if stage.name == "evaluate":
        run = replace(run, standing=look.reports.promoted_to_serve(look.finetune, other_than=run.version))
    look.cluster.apply(CONFIG_MAP, desired.config_map(run))
    if stage.kind is JOB:  # a Job's pods can't be changed: made once, never applied over
        look.cluster.create(stage.kind, stage.make(run))
    else:
        look.cluster.apply(stage.kind, stage.make(run))


def _hold(look: Look, stage: Stage, found: Object | None, status: Status) -> Status:
    """Stop what runs: a RayJob is suspended; a Job is deleted, for its rerun finds in the store what is done."""
    metadata = {} if found is None else found["metadata"]
    if found is not None and stage.kind is JOB:
        look.cluster.delete(stage.kind, look.run.namespace, metadata["name"])
    elif found is not None and not found["spec"].get("suspend"):
        patch = {"metadata": {"annotations": {HELD: "true"}}, "spec": {"suspend": True}}
        look.cluster.merge(stage.kind, look.run.namespace, metadata["name"], patch)
    status = transitions.condition(status, stage.done, "Unknown", "Suspended", now=look.now)
    message = f"{stage.name} is held; set spec.suspend to false to carry on"
    return transitions.enter(status, "Suspended", message, now=look.now)


def _release(look: Look, stage: Stage, found: Object) -> None:
    if HELD in found["metadata"].get("annotations", {}):
        patch = {"metadata": {"annotations": {HELD: None}}, "spec": {"suspend": False}}
        look.cluster.merge(stage.kind, look.run.namespace, found["metadata"]["name"], patch)


def _with_progress(look: Look, stage: Stage, status: Status) -> Status:
    if stage.name != "train":
        return status
    progress = look.reports.progress(look.run.name)
    text = None if progress.done is None else f"{progress.done}/{progress.total or '?'}"
    return status.model_copy(update={"progress": text or status.progress, "loss": progress.loss or status.loss})


def _pods(look: Look, stage: Stage) -> list[Object]:
    labels = {desired.RUN_LABEL: look.run.name, desired.STAGE_LABEL: stage.name}
    return look.cluster.find(POD, look.run.namespace, labels=labels)


def _finish(look: Look, stage: Stage, status: Status) -> Status:
    """The stage's object says it succeeded: hold it against what it should have left in the store."""
    run = look.run
    match stage.name:
        case "merge":
            if not look.reports.published(look.finetune.model_name, run.version):
                missing = f"models/{look.finetune.model_name}/versions/{run.version}/manifest.json"
                words = f"the merge ended without {missing} in {run.store}"
                return _fail(look, stage, status, observed.Seen("failed", words, "NotPublished"))
            status = status.model_copy(update={"version": run.version})
        case "evaluate":
            evaluation = look.reports.evaluation(run.name)
            if evaluation is None:
                words = f"the evaluation ended without runs/{run.name}/evaluation.json in {run.store}"
                return _fail(look, stage, status, observed.Seen("failed", words, "NoReport"))
            status = status.model_copy(update={"accuracy": evaluation.accuracy})
            if not evaluation.passed:
                return _reject(look, status, evaluation.message)
    status = transitions.condition(status, stage.done, "True", "Succeeded", now=look.now)
    return transitions.enter(status, stage.phase, now=look.now)


def _fail(look: Look, stage: Stage, status: Status, seen: observed.Seen) -> Status:
    evaluation = look.reports.evaluation(look.run.name) if stage.name == "evaluate" else None
    if evaluation is not None and not evaluation.passed:  # the evaluator's exit code says so too
        return _reject(look, status.model_copy(update={"accuracy": evaluation.accuracy}), evaluation.message)
    words = observed.last_words(_pods(look, stage))
    what = f"{stage.name} failed: {seen.reason}: {seen.message}".rstrip(": ")
    message = "\n".join(part for part in (what, words[-_MESSAGE_LENGTH:], stage.advice) if part)
    return transitions.fail(status, stage.done, seen.reason or "Failed", message, now=look.now)


def _reject(look: Look, status: Status, why: str) -> Status:
    message = f"the candidate did not pass the gate, the promoted version stays: {why}"
    status = transitions.condition(status, "Evaluated", "True", "GateFailed", why, now=look.now)
    status = transitions.condition(status, "Promoted", "False", "GateFailed", message, now=look.now)
    return transitions.finish(status, "Rejected", "GateFailed", message, now=look.now)
