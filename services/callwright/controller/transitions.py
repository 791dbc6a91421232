"""Pure functions that compute the new status after something happened, and the Kubernetes Event that reports it.

They set phases, conditions and their times, and know nothing of clusters.
"""

import hashlib
from typing import Any, Literal

from callwright.spec import API_VERSION
from callwright.spec.status import FINAL, Condition, ConditionType, Phase, Status

Truth = Literal["True", "False", "Unknown"]
_STAGES: tuple[ConditionType, ...] = ("Prepared", "Trained", "Merged", "Evaluated", "Canary", "Promoted", "Deployed")
_MESSAGE_LENGTH = 1000
"""Characters of an Event's message; Kubernetes takes 1,024 bytes."""


def begin(*, run: str, generation: int, now: str) -> Status:
    """Return the status of a new run, which takes nothing over from an earlier one."""
    fresh = Status(run=run, observed_generation=generation, started_at=now)
    return condition(fresh, "Accepted", "True", "Valid", now=now)


def resume(status: Status, *, generation: int, now: str) -> Status:
    """Return the same run under a document that has changed or is taken again: what is done stays done, a failed stage
    is tried again.
    """
    failed = status.phase == "Failed" and any(
        each.type in _STAGES and each.status == "False" for each in status.conditions
    )
    undone = {"Failed", "Complete"}
    kept = tuple(
        entry
        for entry in status.conditions
        if (entry.status == "True" or entry.reason == "Superseded") and entry.type not in undone
    )
    resumed = status.model_copy(
        update={"attempt": status.attempt + failed, "conditions": kept, "observed_generation": generation}
    )
    accepted = condition(resumed, "Accepted", "True", "Valid", now=now)
    return enter(accepted, "Pending" if status.phase in FINAL else status.phase, now=now)


def with_preparation(status: Status, *, now: str) -> Status:
    """Return the status with the preparation as done where the training has begun without: earlier releases prepared in
    the training's own pods.
    """
    trained = status.condition("Trained")
    if status.condition("Prepared") is not None or trained is None or trained.status == "False":
        return status
    return condition(status, "Prepared", "True", "WithTraining", now=now)


def redo(status: Status, first: ConditionType) -> Status:
    """Return the status in which the stage of the condition `first` and what follows it are done anew, by new
    objects.
    """
    undone = _STAGES[_STAGES.index(first) :]
    kept = tuple(entry for entry in status.conditions if entry.type not in undone)
    return status.model_copy(update={"conditions": kept, "attempt": status.attempt + 1})


def refuse(status: Status, reason: str, message: str, *, generation: int, now: str) -> Status:
    """Return the status of a document that asks for no run that may be; the same again where it was refused before.

    What a run has done by then stays known, for when it may go on.
    """
    kept = tuple(entry for entry in status.conditions if entry.status != "Unknown" and entry.type != "Complete")
    stopped = status.model_copy(update={"observed_generation": generation, "conditions": kept})
    return fail(stopped, "Accepted", reason, message, now=now)


def is_refused(status: Status) -> bool:
    """Return whether this is the status of a document that asked for no run that may be."""
    accepted = status.condition("Accepted")
    return status.phase == "Failed" and accepted is not None and accepted.status == "False"


def is_tried(status: Status) -> bool:
    """Return whether the run's version takes a share of the requests."""
    tried = status.condition("Canary")
    return tried is not None and tried.status == "Unknown"


def enter(status: Status, phase: Phase, message: str = "", *, now: str) -> Status:
    """Return the status in `phase`; entering a final one notes the time."""
    finished = (status.finished_at or now) if phase in FINAL else None
    return status.model_copy(update={"phase": phase, "message": message or None, "finished_at": finished})


def condition(status: Status, kind: ConditionType, truth: Truth, reason: str, message: str = "", *, now: str) -> Status:
    """Return the status with this condition set; its time changes only when its truth does."""
    before = status.condition(kind)
    since = before.last_transition_time if before is not None and before.status == truth else now
    made = Condition(
        type=kind,
        status=truth,
        reason=reason,
        message=message or None,
        last_transition_time=since,
        observed_generation=status.observed_generation,
    )
    if before is None:
        return status.model_copy(update={"conditions": (*status.conditions, made)})
    replaced = tuple(made if entry.type == kind else entry for entry in status.conditions)
    return status.model_copy(update={"conditions": replaced})


def fail(status: Status, kind: ConditionType, reason: str, message: str, *, now: str) -> Status:
    """Return the status of a failed run: the stage's condition is False, `Failed` is True."""
    status = condition(status, kind, "False", reason, message, now=now)
    status = condition(status, "Failed", "True", reason, message, now=now)
    return enter(status, "Failed", message, now=now)


def finish(status: Status, phase: Phase, reason: str, message: str, *, now: str) -> Status:
    """Return the status of a run that came to its end: `Complete` is True."""
    return enter(condition(status, "Complete", "True", reason, message, now=now), phase, message, now=now)


def judge(status: Status, *, now: str) -> Status:
    """Return the status with `Ready` as its phase has it: True once the run has come to its end well."""
    failed = status.condition("Failed") if status.phase == "Failed" else None
    reason = failed.reason if failed else status.phase
    truth: Truth = "True" if status.phase in ("Promoted", "Completed") else "False"
    return condition(status, "Ready", truth, reason, status.message or "", now=now)


def hold_up(status: Status, reason: str, message: str, *, now: str) -> Status:
    """Return the status of a document that cannot be looked at: what fails, while its run stands where it stood."""
    return condition(status.model_copy(update={"message": message}), "Ready", "False", reason, message, now=now)


def is_told(status: Status, reason: str, message: str) -> bool:
    """Return whether the status says already what fails; how long it took, and the like, may be another each time."""
    ready = status.condition("Ready")
    if ready is None or (ready.status, ready.reason) != ("False", reason):
        return False
    return (ready.message or "").partition(": ")[0] == message.partition(": ")[0]


def is_event(before: Status, after: Status) -> bool:
    """Return whether users are told: when the phase changes, of one run and attempt or from one to the next, and when
    something else holds the document up.
    """
    return _told(before) != _told(after)


def _told(status: Status) -> tuple[str, str | None, int, str]:
    ready = status.condition("Ready") or judge(status, now="").condition("Ready")
    return status.phase, status.run, status.attempt, ready.reason if ready else status.phase


def event(metadata: dict[str, Any], before: Status, after: Status, *, now: str) -> dict[str, Any]:
    """Return the Event for the document of `metadata`; its name is derived from what happened, so that it is told
    once, also where the status could not be written after it and the document was held up meanwhile.
    """
    *stood, held_up_by = _told(before)
    *stands, reason = _told(after)
    what = (metadata["uid"], stood, held_up_by if stood == stands else "", stands, reason, after.observed_generation)
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
    held_up = stood == stands and reason != after.phase
    named = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "type": "Warning" if after.phase in ("Failed", "Rejected") or held_up else "Normal",
        "reason": reason if held_up else after.phase,
        "message": (after.message or f"run {after.run}: {after.phase}")[:_MESSAGE_LENGTH],
        "involvedObject": {"apiVersion": API_VERSION, "kind": "FineTune", **named},
        "source": {"component": "callwright"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
