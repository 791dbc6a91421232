"""Judges a canary: whether a version that takes a share of the requests keeps its bounds, by what the sidecars count.

    trial = canary.count(trial, pods, version, now=now)
    verdict = canary.judge(bounds, trial, is_healthy=True, now=now)

Pure functions of values that stand in an annotation, so a controller that begins anew goes on where the last one was.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from callwright.controller.observed import SeenCanary
from callwright.controller.sidecars import Counts, Pod
from callwright.spec.model import Canary, SpecModel
from callwright.spec.status import CanaryStatus, ServedFigures

LEAST_REQUESTS = 50
"""Answers of the candidate that are enough for a verdict."""
_LOOK_SECONDS = 10
"""How often it is counted."""
_SLOW = 0.05
"""Share of the streams that may take longer to their first token."""
_GOOD = ("Kept", "TooFewRequests", "NotAsked")
"""Ends of a trial after which the version is promoted."""
_SURE = 3.0
"""Standard deviations by which a bound must be broken for an early end."""


class Trial(SpecModel):
    """How a canary stands."""

    weight: int
    """Share of the requests that it takes, in percent."""
    since: str | None = None
    """When it was healthy first, from which on it is counted."""
    counted: str | None = None
    """When it was counted last."""
    candidate: Counts = Counts()
    """What the version has come to since."""
    standing: Counts = Counts()
    """What all other versions of the model have."""
    seen: dict[str, tuple[Counts, Counts]] = Field(default_factory=dict)
    """What each pod's sidecar told last, of both."""
    problem: str = ""
    """Why no sidecar tells anything; nothing is judged meanwhile."""
    reason: str = ""
    """How it ended, as one word; empty while it is under way."""
    message: str = ""
    """The figures and the bounds at the end, for people."""

    def is_due(self, *, now: str) -> bool:
        """Return whether it is to be counted."""
        return self.counted is None or _seconds(self.counted, now) >= _LOOK_SECONDS

    def seen_by(self, version: str, message: str) -> SeenCanary:
        """Return the trial of that version as a FineTune's status shows it; `message` while it is under way."""
        figures_now = CanaryStatus(
            version=version,
            weight=self.weight,
            since=self.since,
            until=self.counted,
            candidate=figures(self.candidate),
            standing=figures(self.standing),
        )
        if not self.reason:
            return SeenCanary(figures_now, "Unknown", "Trying", message)
        return SeenCanary(figures_now, "True" if self.reason in _GOOD else "False", self.reason, self.message)


@dataclass(frozen=True)
class Verdict:
    """How a trial ends."""

    is_kept: bool
    reason: str
    message: str


@dataclass(frozen=True)
class _Bound:
    """A share that must not be larger than `most`."""

    reason: str
    bad: float
    total: int
    most: float

    @property
    def is_broken(self) -> bool:
        return self.total > 0 and self.bad / self.total > self.most

    @property
    def is_surely_broken(self) -> bool:
        """Return whether it would be with more requests, too: the lower end of Wilson's interval is above it."""
        return self.is_broken and _ends(self.bad, self.total)[0] > self.most


def count(trial: Trial, pods: Collection[Pod], version: str, *, now: str) -> Trial:
    """Return the trial with what the sidecars have counted since the last look; the first is where it begins."""
    since = trial.since or now
    candidate, standing, seen = trial.candidate, trial.standing, dict[str, tuple[Counts, Counts]]()
    for pod in pods:
        before = trial.seen.get(pod.uid)
        if pod.counts is None:
            seen |= {pod.uid: before} if before else {}
            continue
        told = (pod.counts.get(version, Counts()), _sum(n for name, n in pod.counts.items() if name != version))
        seen[pod.uid] = told
        if before is None:  # of a pod that was there before, nobody knows what of it is new
            before = told if trial.since is None or pod.created < since else (Counts(), Counts())
        candidate, standing = candidate.plus(told[0].since(before[0])), standing.plus(told[1].since(before[1]))
    tells = any(pod.counts is not None for pod in pods)
    problem = "" if tells else next((pod.problem for pod in pods), "there is no pod with a sidecar")
    update = {"since": since if tells else trial.since, "counted": now, "candidate": candidate, "standing": standing}
    return trial.model_copy(update=update | {"seen": seen, "problem": problem})


def judge(bounds: Canary, trial: Trial, *, is_healthy: bool, now: str) -> Verdict | None:
    """Return how the trial ends; None while it goes on.

    It ends early where a bound is surely broken. With too few requests it goes on for as long again; then the figures
    that are there decide, and without any the tokens that each replica has generated before it was ready.
    """
    if trial.since is None or trial.problem:
        return None
    kept, words = trial.candidate, told(bounds, trial)
    lines = (
        _Bound("Errors", kept.failed, kept.answered + kept.failed, bounds.max_error_rate),
        _Bound("MalformedCalls", kept.malformed, kept.calls + kept.malformed, bounds.max_malformed_rate),
        _Bound("FirstTokens", *_slow(kept, bounds.max_ttft_seconds), _SLOW),
    )
    asked, others = _asked(kept), _asked(trial.standing)
    # A 4xx, or a client that goes, may be the client's doing: so these are compared with the version that stands.
    more = (
        _Bound("Refusals", kept.refused, asked, _ends(trial.standing.refused, others)[1] + bounds.max_error_rate),
        _Bound("GivenUp", kept.left, asked, _ends(trial.standing.left, others)[1] + bounds.max_error_rate),
    )
    is_enough = kept.answered + kept.failed >= LEAST_REQUESTS
    early = (*(lines if is_enough else ()), *(more if asked >= LEAST_REQUESTS else ()))
    if sure := next((line for line in early if line.is_surely_broken), None):
        return Verdict(False, sure.reason, words)
    minutes = _seconds(trial.since, now) / 60
    if minutes < bounds.minutes * (1 if is_enough else 2):
        return None
    if not is_healthy:
        return Verdict(False, "Unhealthy", f"it is not healthy at its end; {words}")
    broken = [line for line in lines if line.is_broken] + [line for line in more if line.is_surely_broken]
    if broken:
        return Verdict(False, broken[0].reason, words)
    return Verdict(True, "Kept" if is_enough else "TooFewRequests", words)


def told(bounds: Canary, trial: Trial) -> str:
    """Return figures and bounds for people."""
    if trial.problem:
        return f"canary of {trial.weight} %: no sidecar tells its metrics: {trial.problem}"
    mine, other = figures(trial.candidate), figures(trial.standing)
    lines = (
        ("errors", _percent, mine.error_rate, bounds.max_error_rate, other.error_rate),
        ("malformed calls", _percent, mine.malformed_rate, bounds.max_malformed_rate, other.malformed_rate),
        ("first token, p95", _time, mine.ttft_seconds, bounds.max_ttft_seconds, other.ttft_seconds),
    )
    said = [f"{what} {put(got)} (at most {put(most)}; standing {put(its)})" for what, put, got, most, its in lines]
    more = (("refused", mine.refused_rate, other.refused_rate), ("given up", mine.left_rate, other.left_rate))
    said += [f"{what} {_percent(got)} (standing {_percent(its)})" for what, got, its in more if got]
    return f"canary of {trial.weight} % with {mine.requests} requests: {', '.join(said)}"


def figures(counts: Counts) -> ServedFigures:
    """Return counts as shares."""
    requests, calls = counts.answered + counts.failed, counts.calls + counts.malformed
    return ServedFigures(
        requests=requests,
        error_rate=_share(counts.failed, requests),
        refused_rate=_share(counts.refused, _asked(counts)),
        left_rate=_share(counts.left, _asked(counts)),
        calls=calls,
        malformed_rate=_share(counts.malformed, calls),
        streams=_streams(counts),
        ttft_seconds=_quantile(counts, 1 - _SLOW),
    )


def _asked(counts: Counts) -> int:
    return counts.answered + counts.failed + counts.refused + counts.left


def _ends(bad: float, total: int) -> tuple[float, float]:
    """Return the ends of Wilson's interval of a share; none of nothing."""
    if not total:
        return 0.0, 0.0
    share, square = bad / total, _SURE**2
    spread = _SURE * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    middle, scale = share + square / (2 * total), 1 + square / total
    return (middle - spread) / scale, (middle + spread) / scale


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for each in counts:
        total = total.plus(each)
    return total


def _buckets(counts: Counts) -> list[tuple[float, int]]:
    """Return the buckets of first tokens by their upper ends: how many took so long at most."""
    return sorted((float(edge), number) for edge, number in counts.first_tokens.items())


def _streams(counts: Counts) -> int:
    return max(counts.first_tokens.values(), default=0)


def _quantile(counts: Counts, share: float) -> float | None:
    """Return the time that this share of the streams kept, between the ends of its bucket as Prometheus reckons it."""
    if not (streams := _streams(counts)):
        return None
    begin, below = 0.0, 0
    for end, number in _buckets(counts):
        if number >= share * streams:
            if math.isinf(end):
                return begin
            return round(begin + (end - begin) * (share * streams - below) / (number - below), 3)
        begin, below = end, number
    return begin


def _slow(counts: Counts, seconds: float) -> tuple[float, int]:
    """Return how many streams took longer to their first token, and of how many."""
    streams, begin, below = _streams(counts), 0.0, 0
    for end, number in _buckets(counts):
        if seconds < end:
            within = 0.0 if math.isinf(end) else (seconds - begin) / (end - begin)
            return streams - below - within * (number - below), streams
        begin, below = end, number
    return 0.0, streams


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.3g} %"


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:.3g} s"


def _seconds(then: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds()
