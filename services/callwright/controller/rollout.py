"""A rollout: a RayService takes a version of a model, and the promoted pointer follows once the version is served.

    seen = rollout.advance(cluster, service, target, registry, begun=False, now=now)

Each call does the next thing: version in the service → healthy → pointer moved. A version that does not start is taken
back: pointer and traffic are where they were. Where the target asks for a canary, the version takes a share of the
requests before that, in an application of its own, and is taken back where its figures break a bound. How the last
rollout of each model stands is an annotation of the RayService, written together with the version. For the controller
and `callwright promote` alike.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from callwright.controller import canary, observed, serving, sidecars
from callwright.controller.cluster import FIELD_MANAGER, RAY_SERVICE, Cluster, Forbidden, Object
from callwright.controller.observed import Seen
from callwright.errors import Conflict, InvalidInput
from callwright.spec.model import Canary, SpecModel
from callwright.store import Registry

ROLLOUTS = "callwright.io/rollouts"
"""Annotation of a RayService: the last rollout of each model, as JSON."""
SERVE_CONFIG = "callwright.io/serve-config"
"""Annotation of a RayService whose `serveConfigV2` the controller alone writes: what Git has in its place."""
Outcome = Literal["Succeeded", "DeployFailed", "DeadlineExceeded", "CanaryFailed", "Superseded"]


class Rollout(SpecModel):
    version: str
    """Version that the service takes, or has taken."""
    by: str
    """Who brings it."""
    before: dict[str, str]
    """Version that each Serve application had before."""
    pointer: str | None = None
    """Promoted version when it began."""
    since: str | None = None
    """When the service, or the canary's application, was given the version; none where an earlier release did it."""
    trial: canary.Trial | None = None
    """How its canary stands, or ended."""
    outcome: Outcome | None = None
    """How it ended; none while it is under way."""
    message: str = ""
    """Why it did not succeed."""

    @property
    def is_tried(self) -> bool:
        """Return whether its canary is under way."""
        return self.outcome is None and self.trial is not None and not self.trial.reason


_KEPT = TypeAdapter(dict[str, Rollout])


@dataclass(frozen=True)
class Target:
    """Which version of which model is to be served, from which store, and who says so."""

    model: str
    version: str
    store: str
    by: str
    move_pointer: Callable[[str | None], object]
    """Moves the promoted pointer to the version if it is at this one. Raises `Conflict` where it is not."""
    canary: Canary | None = None
    """The trial that goes before."""
    deadline_seconds: float | None = None
    """Seconds after which a version that is not served yet is taken back, those of the trial not counted; none when
    absent."""


def advance(cluster: Cluster, service: Object, target: Target, registry: Registry, *, begun: bool, now: str) -> Seen:
    """Do the next thing for the rollout, and return how it stands; `begun` where an earlier call has begun it.

    It has failed as `DeployFailed`, as `DeadlineExceeded`, as `CanaryFailed`, or as `Superseded` by what somebody else
    did meanwhile. Raises `InvalidInput` where the service can't take the version, and `Conflict` when somebody changed
    it since it was read.
    """
    check(service, model=target.model, version=target.version, store=target.store)
    last, promoted = rollouts(service).get(target.model), registry.promoted(target.model)
    applications = serving.versions(_text(service), model=target.model)
    is_there = set(applications.values()) == {target.version}
    if last is not None and (last.version, last.by) == (target.version, target.by):
        if last.outcome is None:
            return _go_on(cluster, service, target, last, registry, promoted=promoted, now=now)
        _hand_over(cluster, service)  # in case the request for it failed after the last write
        if begun and last.outcome != "Succeeded":
            return _seen(last, "failed", last.message, last.outcome or "")
    if promoted == target.version and is_there:
        if last is not None and last.is_tried and not begun:  # whoever wants what stands wants no canary beside it
            said = f"{target.by} has brought version {target.version}, which stands"
            _leave_canary(cluster, service, target.model, last, said)
        return observed.see_service(service, applications.keys(), now=now)
    if last is not None and begun:
        return Seen("failed", f"{last.by} has brought version {last.version} meanwhile", "Superseded")
    before = last.before if last is not None and last.outcome is None else applications
    rollout = Rollout(version=target.version, by=target.by, before=before, pointer=promoted, since=now)
    if target.canary is None or promoted is None or is_there:
        return _take(cluster, service, target, rollout, now=now)
    if (other := serving.canary(_text(service))) is not None and other.model != target.model:
        return Seen("waiting", f"waits for the end of the canary of {other.model} {other.version}", "CanaryOfAnother")
    rollout = rollout.model_copy(update={"trial": canary.Trial(weight=target.canary.weight)})
    return _try(cluster, service, target, rollout, target.canary, _back(_text(service), target, rollout))


def check(service: Object, *, model: str, version: str, store: str) -> None:
    """Raise `InvalidInput` where the RayService can't serve `version` of `model`: it serves no such model, or reads
    another store, or Git says which version it serves.
    """
    serving.set_version(_text(service), model=model, version=version, store=store)
    for pinned in serving.versions(_in_git(service) or "", model=model).values():
        if pinned not in (*serving.UNPINNED, version):
            raise InvalidInput(
                f"setting the version of {model}: got model.version {pinned} in Git, which pins it; expected none; "
                f"leave it empty there, or set it to {version}"
            )


def settle(cluster: Cluster, service: Object) -> None:
    """Write the `serveConfigV2` that Git has in an annotation, with the versions that the RayService has come to serve.

    Raises `InvalidInput` where the annotation is no YAML, and `Conflict` when somebody changed it since it was read.
    """
    if (text := _in_git(service)) is not None:
        _write(cluster, service, serving.with_versions_of(text, service["spec"].get("serveConfigV2", "")), {})


def _in_git(service: Object) -> str | None:
    return (service["metadata"].get("annotations") or {}).get(SERVE_CONFIG)


def _text(service: Object) -> str:
    return service["spec"].get("serveConfigV2") or _in_git(service) or ""


def put_version(cluster: Cluster, service: Object, *, model: str, version: str, store: str) -> None:
    """Have the RayService serve `version` of `model`, whatever becomes of it.

    Raises `InvalidInput` when it serves no such model, or from another store than the version's, and `Conflict` when
    somebody changed it since it was read.
    """
    check(service, model=model, version=version, store=store)
    text = _without_canary(_text(service), model)
    _write(cluster, service, serving.set_version(text, model=model, version=version, store=store), {})


def leave(cluster: Cluster, service: Object, *, by: str) -> None:
    """End what `by` has begun in a RayService and asks for no more: a canary; a rollout, whose version is taken back.

    Raises `Conflict` when somebody changed it since it was read.
    """
    for model, last in rollouts(service).items():
        if last.by != by or last.outcome is not None:
            continue
        text, said = _text(service), f"{by} asks for it no more"
        if last.is_tried:
            return _leave_canary(cluster, service, model, last, said)
        with contextlib.suppress(InvalidInput):  # it serves the model no more
            if set(serving.versions(text, model=model).values()) == {last.version}:
                text = serving.set_version(text, model=model, version=last.before, store="")
        ended = last.model_copy(update={"outcome": "Superseded", "message": said})
        return _write(cluster, service, text, {model: ended})


def rollouts(service: Object) -> dict[str, Rollout]:
    """Return the last rollout of each model in a RayService; none where the annotation is not ours."""
    annotations = service["metadata"].get("annotations") or {}
    try:
        return _KEPT.validate_json(annotations.get(ROLLOUTS, "{}"))
    except ValidationError:
        return {}


def _go_on(
    cluster: Cluster,
    service: Object,
    target: Target,
    last: Rollout,
    registry: Registry,
    *,
    promoted: str | None,
    now: str,
) -> Seen:
    """Do the next thing for a rollout that is under way."""
    text, applications = _text(service), serving.versions(_text(service), model=target.model)
    if applications != last.before if last.is_tried else set(applications.values()) != {target.version}:
        said = f"somebody has put {', '.join(applications.values())} in its place"
        return _end(cluster, service, target, text, last, "Superseded", said)
    if promoted not in (last.pointer, target.version):
        return _supersede(cluster, service, target, last, promoted)
    if last.trial is not None and last.is_tried:
        if target.canary is None or promoted == target.version:  # nobody asks for it any more
            return _take(cluster, service, target, _tried(last, last.trial, "NotAsked", ""), now=now)
        return _go_on_trying(cluster, service, target, last, last.trial, target.canary, now=now)
    seen = observed.see_service(service, applications.keys(), now=now)
    if seen.state == "succeeded" and (lag := _lag(cluster, service, target)):
        seen = Seen("running", lag)
    if seen.state == "succeeded":
        return _succeed(cluster, service, target, last, registry)
    late = _late(target, last, now=now)
    if seen.state == "failed" or late:
        outcome: Outcome = "DeployFailed" if seen.state == "failed" else "DeadlineExceeded"
        said = f"version {', '.join(sorted(set(last.before.values())))} is back in its place: {late}{seen.message}"
        return _end(cluster, service, target, _back(text, target, last), last, outcome, said)
    _hand_over(cluster, service)
    return seen


def _lag(cluster: Cluster, service: Object, target: Target) -> str:
    """Return where another version of the model is served still; empty where all sidecars that tell list this one.

    KubeRay goes on telling what Serve said of the configuration before, for as long as Serve has not begun.
    """
    try:
        listed = sidecars.listed(cluster, service)
    except Forbidden:  # whoever promotes by hand may not be allowed to look
        return ""
    for pod, ids in listed.items():
        found = sorted(each for each in ids if each.startswith(f"{target.model}@"))
        if others := [each for each in found if each != f"{target.model}@{target.version}"]:
            return f"pod {pod} serves {', '.join(others)} still"
    return ""


def _late(target: Target, last: Rollout, *, now: str) -> str:
    """Return that the version's time is over; empty while it is not."""
    seconds = target.deadline_seconds
    if seconds is None or observed.seconds_between(last.since, now) < seconds:
        return ""
    return f"not served within {seconds:g} seconds: "


def _take(cluster: Cluster, service: Object, target: Target, rollout: Rollout, *, now: str) -> Seen:
    """Have the version served in place of the one before, without a canary."""
    rollout = rollout.model_copy(update={"since": now})
    text = _without_canary(_text(service), target.model)
    text = serving.set_version(text, model=target.model, version=target.version, store=target.store)
    _write(cluster, service, text, {target.model: rollout})
    return _seen(rollout, "running", f"takes version {target.version}")


def _try(cluster: Cluster, service: Object, target: Target, rollout: Rollout, asked: Canary, text: str) -> Seen:
    """Have the version served as a canary, beside what serves the model in `text`."""
    trial = rollout.trial or canary.Trial(weight=asked.weight)
    rollout = rollout.model_copy(update={"trial": trial.model_copy(update={"weight": asked.weight})})
    text = serving.with_canary(text, model=target.model, version=target.version, weight=asked.weight)
    _write(cluster, service, text, {target.model: rollout})
    return _seen(rollout, "running", f"takes version {target.version} as a canary of {asked.weight} %")


def _go_on_trying(
    cluster: Cluster, service: Object, target: Target, last: Rollout, trial: canary.Trial, asked: Canary, *, now: str
) -> Seen:
    """Count what the canary has come to, and end it where that says so."""
    text, version = _text(service), target.version
    found = serving.canary(text)
    if found is None or (found.model, found.version, found.weight) != (target.model, version, asked.weight):
        return _try(cluster, service, target, last, asked, text)  # it was written over, or is to be another
    seen = observed.see_service(service, [found.application], now=now)
    if seen.state == "failed":
        return _end(cluster, service, target, text, last, "DeployFailed", f"its canary does not start: {seen.message}")
    late = _late(target, last, now=now)
    if trial.since is None and seen.state != "succeeded":
        if late:
            return _end(cluster, service, target, text, last, "DeadlineExceeded", f"its canary is {late}{seen.message}")
        _hand_over(cluster, service)
        return _seen(last, seen.state, f"canary: {seen.message}")
    if trial.is_due(now=now):
        pods = sidecars.read(cluster, service, serving.names(text, target.model))
        trial = canary.count(trial, pods, version, now=now)
    if late and trial.since is None:
        return _end(cluster, service, target, text, last, "DeadlineExceeded", f"its canary is {late}{trial.problem}")
    is_healthy = not observed.ails(service, found.application)
    match canary.judge(asked, trial, is_healthy=is_healthy, now=now):
        case None:
            last = last.model_copy(update={"trial": trial})
            _write(cluster, service, text, {target.model: last})
            return _seen(last, "running", canary.told(asked, trial))
        case verdict if verdict.is_kept:
            return _take(cluster, service, target, _tried(last, trial, verdict.reason, verdict.message), now=now)
        case verdict:
            ended = _tried(last, trial, verdict.reason, verdict.message)
            said = f"{verdict.reason}: {verdict.message}"
            return _end(cluster, service, target, text, ended, "CanaryFailed", said)


def _tried(last: Rollout, trial: canary.Trial, reason: str, message: str) -> Rollout:
    """Return the rollout whose canary has ended."""
    ended = {"reason": reason, "message": message, "seen": {}}
    return last.model_copy(update={"trial": trial.model_copy(update=ended)})


def _leave_canary(cluster: Cluster, service: Object, model: str, last: Rollout, message: str) -> None:
    """End a rollout whose canary is under way; what stands goes on."""
    if last.trial is not None:
        last = _tried(last, last.trial, "Superseded", message)
    ended = last.model_copy(update={"outcome": "Superseded", "message": message})
    _write(cluster, service, _without_canary(_text(service), model), {model: ended})


def _without_canary(text: str, model: str) -> str:
    """`text` without the canary, if it is the model's."""
    found = serving.canary(text)
    return text if found is None or found.model != model else serving.without_canary(text)


def _seen(rollout: Rollout, state: observed.State, message: str = "", reason: str = "") -> Seen:
    """Return how the rollout stands, with its canary."""
    tried = None if rollout.trial is None else rollout.trial.seen_by(rollout.version, message)
    return Seen(state, message, reason, tried)


def _succeed(cluster: Cluster, service: Object, target: Target, last: Rollout, registry: Registry) -> Seen:
    """Move the pointer, then note the end of the rollout: killed in between, the next call finds the pointer moved."""
    if registry.promoted(target.model) != target.version:
        try:
            target.move_pointer(last.pointer)
        except Conflict:
            return _supersede(cluster, service, target, last, registry.promoted(target.model))
    _end(cluster, service, target, _text(service), last, "Succeeded", "")
    return _seen(last, "succeeded")


def _supersede(cluster: Cluster, service: Object, target: Target, last: Rollout, promoted: str | None) -> Seen:
    text = _back(_text(service), target, last)
    return _end(cluster, service, target, text, last, "Superseded", f"{promoted or 'none'} was promoted meanwhile")


def _end(
    cluster: Cluster, service: Object, target: Target, text: str, last: Rollout, outcome: Outcome, message: str
) -> Seen:
    if last.trial is not None and not last.trial.reason:
        last = _tried(last, last.trial, outcome, message)
    ended = last.model_copy(update={"outcome": outcome, "message": message})
    _write(cluster, service, _without_canary(text, target.model), {target.model: ended})
    return _seen(ended, "failed", message, outcome)


def _back(text: str, target: Target, last: Rollout) -> str:
    return serving.set_version(text, model=target.model, version=last.before, store=target.store)


def _write(cluster: Cluster, service: Object, text: str, changed: Mapping[str, Rollout]) -> None:
    """Write the text and the rollouts at once, if nobody has changed the RayService since it was read."""
    metadata, patch = service["metadata"], {}
    if text != service["spec"].get("serveConfigV2"):
        patch["spec"] = {"serveConfigV2": text}
    noted = {"resourceVersion": metadata["resourceVersion"]}
    if changed:
        kept = _KEPT.dump_python(rollouts(service) | dict(changed), mode="json", exclude_defaults=True)
        noted["annotations"] = {ROLLOUTS: json.dumps(kept)}
    if len(noted) + len(patch) > 1:
        written = cluster.merge(RAY_SERVICE, metadata["namespace"], metadata["name"], patch | {"metadata": noted})
        service = written or service
    _hand_over(cluster, service)


def _hand_over(cluster: Cluster, service: Object) -> None:
    """Give up owning what is written, so that its author's next apply (Helm's, say) has no conflict; what Git leaves to
    the controller stays the controller's.
    """
    if _in_git(service) is not None:
        return
    metadata = service["metadata"]
    owned = metadata.get("managedFields", ())
    theirs = [entry for entry in owned if entry["manager"] != FIELD_MANAGER or "subresource" in entry]
    if len(theirs) < len(owned):
        given_back = {"resourceVersion": metadata["resourceVersion"], "managedFields": theirs}
        cluster.merge(RAY_SERVICE, metadata["namespace"], metadata["name"], {"metadata": given_back})
