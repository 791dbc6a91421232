"""A training that Ray Train has given up, told in words: what failed, how often, what is kept, what to do.

Knows Ray Train's errors. What becomes of a training that ends otherwise is `training`'s.
"""

from collections.abc import Iterator

from ray.exceptions import RayActorError
from ray.train import TrainingFailedError

from callwright.errors import CallwrightError, InvalidInput, StageFailed
from callwright.trainer.checkpoints import Checkpoints


def explain(error: TrainingFailedError, *, allowed: int, checkpoints: Checkpoints) -> CallwrightError:
    """The error to raise for `error`, after `allowed` restarts: a worker's own `InvalidInput`, else `StageFailed`."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        for cause in _causes(failure):
            if isinstance(cause, InvalidInput):
                return cause
    if failures:
        again = f" again after {allowed} restart{'s' if allowed > 1 else ''}" if allowed else ""
        what = f"its workers failed{again}, and train.maxFailures {allowed} allows no more"
    else:
        what = "Ray Train gave up"
    return StageFailed(
        f"training: {what}: {_reason(error, failures)}; {checkpoints.describe_newest()}; "
        "mend what made it fail, then run the same again to carry on from there"
    )


def _reason(error: TrainingFailedError, failures: dict[int, Exception]) -> str:
    """The failure that is the others' cause, as far as can be told: a process that is gone before what missed it."""
    for rank, failure in failures.items():
        if any(isinstance(cause, RayActorError) for cause in _causes(failure)):
            return f"worker {rank}'s process is gone (killed, out of memory, or its node was lost)"
    for rank, failure in failures.items():
        return f"worker {rank}: {_last_line(failure)}"
    return _last_line(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or getattr(error, "cause", None) or getattr(error, "health_check_failure", None)


def _last_line(error: Exception) -> str:
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
