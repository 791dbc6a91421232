"""One look at one FineTune: compare what should be with what is, do the next thing, say how it stands.

Everything it needs to know stands in the API server and the store, so it may be killed between any two writes: the next
look carries on. Knows nothing of kopf; blocking.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from callsmith import spec
from callsmith.controller import desired, events, observed, serving, transitions
from callsmith.controller.cluster import (
    CONFIG_MAP,
    FIELD_MANAGER,
    FINE_TUNE,
    JOB,
    POD,
    RAY_JOB,
    RAY_SERVICE,
    Cluster,
    Kind,
)
from callsmith.controller.config import ControllerConfig
from callsmith.controller.desired import Manifest, Run
from callsmith.controller.reports import RunReports
from callsmith.errors import InvalidInput
from callsmith.spec import FineTune
from callsmith.spec.status import FINAL, ConditionType, Phase, Status

Object = dict[str, Any]
HELD = "callsmith.io/held"
"""Annotation of a RayJob that the controller has suspended, as opposed to a queue such as Kueue."""
_MESSAGE_LENGTH = 4000


@dataclass(frozen=True)
class World:
    """What a look looks at."""

    cluster: Cluster
    config: ControllerConfig
    open_reports: Callable[[str], RunReports]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def timestamp(self) -> str:
        """The time as Kubernetes writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")


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
    return _Look(world, run, world.open_reports(run.store)).step(status)


@dataclass(frozen=True)
class _Look:
    """One look at one run."""

    world: World
    run: Run
    reports: RunReports

    def step(self, status: Status) -> Status:
        """The status after doing the next thing."""
        for stage in STAGES:
            if not status.holds(stage.done):
                status = self._carry_out(stage, status)
                if not status.holds(stage.done) or status.phase in FINAL:
                    return status
        if self._finetune.spec.suspend:
            return transitions.enter(status, "Suspended", "suspended before the promotion", now=self._now)
        if not status.holds("Promoted"):
            status = self._promote(status)
            if not status.holds("Promoted"):
                return status
        return self._deploy(status)

    @property
    def _now(self) -> str:
        return self.world.timestamp

    @property
    def _finetune(self) -> FineTune:
        return self.run.finetune

    def _carry_out(self, stage: Stage, status: Status) -> Status:
        found = self.world.cluster.get(stage.kind, self.run.namespace, self.run.child(stage.name))
        if found is not None and not self._ours(found):
            return transitions.enter(
                status, status.phase, f"{stage.name}: waiting until an earlier {found['kind']} is gone", now=self._now
            )
        if self._finetune.spec.suspend and (found is None or stage.see(found).state in ("waiting", "running")):
            return self._hold(stage, found, status)
        if found is None:
            try:
                self._start(stage)
            except InvalidInput as error:
                return self._fail(stage, status, observed.Seen("failed", str(error), "Refused"))
            status = transitions.condition(status, stage.done, "Unknown", "Started", now=self._now)
            return transitions.enter(status, stage.phase, now=self._now)
        self._release(stage, found)
        seen = stage.see(found)
        status = self._with_progress(stage, status)
        match seen.state:
            case "succeeded":
                return self._finish(stage, status)
            case "failed":
                return self._fail(stage, status, seen)
            case state:
                held_up = observed.stuck(self._pods(stage)) if state == "waiting" else ""
                reason = "Running" if state == "running" else "Waiting"
                message = held_up or seen.message
                status = transitions.condition(status, stage.done, "Unknown", reason, message, now=self._now)
                return transitions.enter(status, stage.phase, message, now=self._now)

    def _ours(self, found: Object) -> bool:
        owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences", ())}
        return self.run.uid in owners and "deletionTimestamp" not in found["metadata"]

    def _start(self, stage: Stage) -> None:
        cluster = self.world.cluster
        cluster.apply(CONFIG_MAP, desired.config_map(self.run))
        if stage.kind is JOB:  # a Job's pods can't be changed: made once, never applied over
            cluster.create(stage.kind, stage.make(self.run))
        else:
            cluster.apply(stage.kind, stage.make(self.run))

    def _hold(self, stage: Stage, found: Object | None, status: Status) -> Status:
        """Stop what runs: a RayJob is suspended; a Job is deleted, for its rerun finds in the store what is done."""
        metadata = {} if found is None else found["metadata"]
        if found is not None and stage.kind is JOB:
            self.world.cluster.delete(stage.kind, self.run.namespace, metadata["name"])
        elif found is not None and not found["spec"].get("suspend"):
            patch = {"metadata": {"annotations": {HELD: "true"}}, "spec": {"suspend": True}}
            self.world.cluster.merge(stage.kind, self.run.namespace, metadata["name"], patch)
        status = transitions.condition(status, stage.done, "Unknown", "Suspended", now=self._now)
        message = f"{stage.name} is held; set spec.suspend to false to carry on"
        return transitions.enter(status, "Suspended", message, now=self._now)

    def _release(self, stage: Stage, found: Object) -> None:
        if HELD in found["metadata"].get("annotations", {}):
            patch = {"metadata": {"annotations": {HELD: None}}, "spec": {"suspend": False}}
            self.world.cluster.merge(stage.kind, self.run.namespace, found["metadata"]["name"], patch)

    def _with_progress(self, stage: Stage, status: Status) -> Status:
        if stage.name != "train":
            return status
        progress = self.reports.progress(self.run.name)
        text = None if progress.done is None else f"{progress.done}/{progress.total or '?'}"
        return status.model_copy(update={"progress": text or status.progress, "loss": progress.loss or status.loss})

    def _pods(self, stage: Stage) -> list[Object]:
        labels = {desired.RUN_LABEL: self.run.name, desired.STAGE_LABEL: stage.name}
        return self.world.cluster.find(POD, self.run.namespace, labels=labels)

    def _finish(self, stage: Stage, status: Status) -> Status:
        """The stage's object says it succeeded: hold it against what it should have left in the store."""
        match stage.name:
            case "merge":
                if not self.reports.published(self._finetune.model_name, self.run.version):
                    missing = f"models/{self._finetune.model_name}/versions/{self.run.version}/manifest.json"
                    seen = observed.Seen(
                        "failed", f"the merge ended without {missing} in {self.run.store}", "NotPublished"
                    )
                    return self._fail(stage, status, seen)
                status = status.model_copy(update={"version": self.run.version})
            case "evaluate":
                evaluation = self.reports.evaluation(self.run.name)
                if evaluation is None:
                    missing = f"runs/{self.run.name}/evaluation.json"
                    seen = observed.Seen(
                        "failed", f"the evaluation ended without {missing} in {self.run.store}", "NoReport"
                    )
                    return self._fail(stage, status, seen)
                status = status.model_copy(update={"accuracy": evaluation.accuracy})
                if not evaluation.passed:
                    return self._reject(status, evaluation.message)
        status = transitions.condition(status, stage.done, "True", "Succeeded", now=self._now)
        return transitions.enter(status, stage.phase, now=self._now)

    def _fail(self, stage: Stage, status: Status, seen: observed.Seen) -> Status:
        evaluation = self.reports.evaluation(self.run.name) if stage.name == "evaluate" else None
        if evaluation is not None and not evaluation.passed:  # the evaluator's exit code says so too
            return self._reject(status.model_copy(update={"accuracy": evaluation.accuracy}), evaluation.message)
        words = observed.last_words(self._pods(stage))
        what = f"{stage.name} failed: {seen.reason}: {seen.message}".rstrip(": ")
        message = "\n".join(part for part in (what, words[-_MESSAGE_LENGTH:], stage.advice) if part)
        return transitions.fail(status, stage.done, seen.reason or "Failed", message, now=self._now)

    def _reject(self, status: Status, why: str) -> Status:
        message = f"the candidate did not pass the gate, the promoted version stays: {why}"
        status = transitions.condition(status, "Evaluated", "True", "GateFailed", why, now=self._now)
        status = transitions.condition(status, "Promoted", "False", "GateFailed", message, now=self._now)
        return transitions.finish(status, "Rejected", "GateFailed", message, now=self._now)

    def _promote(self, status: Status) -> Status:
        model, version = self._finetune.model_name, self.run.version
        match self._finetune.spec.evaluate.promote:
            case "never":
                message = f"version {version} of {model} is published, and not to be promoted"
                return transitions.finish(status, "Completed", "NotPromoted", message, now=self._now)
            case "manual" if self.reports.promoted(model) != version:
                message = f"passed the gate; to promote: callsmith promote {model} {version}"
                status = transitions.condition(
                    status, "Promoted", "Unknown", "AwaitingPromotion", message, now=self._now
                )
                return transitions.enter(status, "AwaitingPromotion", message, now=self._now)
        self.reports.promote(model, version)
        status = transitions.condition(status, "Promoted", "True", "Succeeded", now=self._now)
        return transitions.enter(status, "Promoting", now=self._now)

    def _deploy(self, status: Status) -> Status:
        service, model = self._finetune.spec.deploy.service, self._finetune.model_name
        if service is None:
            message = f"version {self.run.version} of {model} is promoted"
            return transitions.finish(status, "Promoted", "Promoted", message, now=self._now)
        found = self.world.cluster.get(RAY_SERVICE, self.run.namespace, service)
        if found is None:
            return self._deploying(
                status, "Waiting", f"no RayService {service} in {self.run.namespace}; install charts/serving"
            )
        text = found["spec"].get("serveConfigV2", "")
        try:
            wanted = serving.set_version(text, model=model, version=self.run.version)
        except InvalidInput as error:
            return transitions.fail(status, "Deployed", "NotServed", f"RayService {service}: {error}", now=self._now)
        if wanted != text:
            hand_over(self.world.cluster, found, wanted)
            return self._deploying(status, "Updating", f"RayService {service} takes version {self.run.version}")
        seen = observed.see_service(found)
        match seen.state:
            case "succeeded":
                status = transitions.condition(status, "Deployed", "True", "Succeeded", now=self._now)
                message = f"RayService {service} serves version {self.run.version} of {model}"
                return transitions.finish(status, "Promoted", "Deployed", message, now=self._now)
            case "failed":
                message = f"RayService {service} does not take version {self.run.version}: {seen.message}"
                return transitions.fail(status, "Deployed", seen.reason, message, now=self._now)
        return self._deploying(status, "Updating", f"RayService {service}: {seen.message}")

    def _deploying(self, status: Status, reason: str, message: str) -> Status:
        status = transitions.condition(status, "Deployed", "Unknown", reason, message, now=self._now)
        return transitions.enter(status, "Deploying", message, now=self._now)


def hand_over(cluster: Cluster, service: Object, text: str) -> None:
    """Write `serveConfigV2`, then give the field back: its author's next apply, Helm's for one, meets no conflict."""
    metadata = service["metadata"]
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": {"serveConfigV2": text}}
    written = cluster.merge(RAY_SERVICE, metadata["namespace"], metadata["name"], patch)
    if written is None:
        return
    theirs = [entry for entry in written["metadata"].get("managedFields", ()) if entry["manager"] != FIELD_MANAGER]
    given_back = {"resourceVersion": written["metadata"]["resourceVersion"], "managedFields": theirs}
    cluster.merge(RAY_SERVICE, metadata["namespace"], metadata["name"], {"metadata": given_back})
