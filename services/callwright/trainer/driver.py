"""The driver's side of a training on Ray Train: the cluster, the workers, signals, and how a training can end.

Knows no store layout beyond checkpoints, and no model; what a worker does is in `callwright.trainer.worker`.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import ray
from ray._private import ray_constants
from ray.exceptions import RayActorError
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from callwright import machine
from callwright.errors import CallwrightError, Interrupted, InvalidInput, NotFound, StageFailed
from callwright.progress import Advance
from callwright.run import Run
from callwright.spec.model import Resources
from callwright.trainer.checkpoints import Checkpoint, Checkpoints
from callwright.trainer.config import WorkerConfig
from callwright.trainer.metrics import MetricsWriter, follow, start_board
from callwright.trainer.signals import run_aside, stopping_on_signals, termination_ends
from callwright.trainer.worker import train_loop_per_worker


def fit(
    run: Run,
    config: WorkerConfig,
    metrics: MetricsWriter,
    *,
    on_progress: Advance,
    on_note: Callable[[str], None],
) -> Checkpoint:
    """Train on Ray to the end; returns the last checkpoint.

    Raises `InvalidInput` or `NotFound` for what a worker finds impossible, `StageFailed` when the loss is no number or
    the workers failed more often than allowed, and `Interrupted` when SIGTERM or Ctrl-C stopped it before its end.
    """
    spec, checkpoints = run.finetune.spec, Checkpoints(run.store, run.name)
    with _cluster(spec.resources):
        board = start_board()
        trainer = TorchTrainer(
            train_loop_per_worker,
            train_loop_config={"config": config.model_dump(mode="json", by_alias=True), "board": board},
            scaling_config=_scaling(spec.resources),
            torch_config=TorchConfig(backend="nccl" if spec.resources.gpus_per_worker else "gloo"),
            run_config=RunConfig(
                name="ray",
                storage_path=str(run.workdir.absolute()),  # for Ray's own marker only: checkpoints go to the store
                failure_config=FailureConfig(max_failures=spec.train.max_failures),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )
        try:
            with follow(board, metrics, run, on_progress), stopping_on_signals(board.stop.remote, on_note) as notice:
                run_aside(trainer.fit)
        except KeyboardInterrupt:
            raise Interrupted(f"training: stopped by Ctrl-C; {checkpoints.describe_newest()}") from None
        except TrainingFailedError as error:
            raise explain(error, allowed=spec.train.max_failures, checkpoints=checkpoints) from error
    return _last_checkpoint(metrics, checkpoints, notice.number)


def joins_cluster() -> bool:
    """Return whether the training runs on a Ray cluster that is there already."""
    return ray.is_initialized() or bool(os.environ.get("RAY_ADDRESS"))


@contextmanager
def _cluster(resources: Resources) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine and stop it again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if joins_cluster():
        with termination_ends(partial(ray.init, ignore_reinit_error=True, logging_level="ERROR", log_to_driver=False)):
            yield
        return
    # Logical CPUs: those of this process, or as many as the workers and Ray Train's controller ask for.
    logical = max(machine.cpus(), int(resources.workers * resources.cpus_per_worker + 1))
    ray_constants.ENABLE_RAY_CLUSTER = False  # else Ray takes 127.0.0.1 for the machine's address, and listens on all
    start = partial(
        ray.init,
        "local",  # and none that happens to run on this machine
        num_cpus=logical, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
        _node_ip_address="127.0.0.1", object_store_memory=200_000_000,
    )  # fmt: skip
    with termination_ends(start):
        try:
            yield
        finally:
            ray.shutdown()


def _scaling(resources: Resources) -> ScalingConfig:
    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    return ScalingConfig(
        num_workers=resources.workers, use_gpu=resources.gpus_per_worker > 0, resources_per_worker=per_worker
    )


def _last_checkpoint(metrics: MetricsWriter, checkpoints: Checkpoints, stopped_by: signal.Signals | None) -> Checkpoint:
    """Return the last checkpoint of a training whose workers returned. Raises for one that gave up or was stopped."""
    latest = metrics.latest
    if failed := latest.get("failed"):
        raise StageFailed(failed)
    whole = checkpoints.list()
    if not whole:
        raise StageFailed("training: got no checkpoint; expected one at the last step")
    if stopped_by and latest.get("stopped_step") == whole[-1].step:
        where = f"after step {whole[-1].step} of {latest['steps']}, with a checkpoint"
        raise Interrupted(f"training: stopped by {stopped_by.name} {where}", stopped_by)
    return whole[-1]


def explain(error: TrainingFailedError, *, allowed: int, checkpoints: Checkpoints) -> CallwrightError:
    """Return the error to raise for `error`, after `allowed` restarts: a worker's own `InvalidInput` or
    `NotFound`, else `StageFailed`.
    """
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        for cause in _causes(failure):
            if isinstance(cause, InvalidInput | NotFound):
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
    """Return the failure that is the others' cause, as far as can be told: a process that is gone before what missed
    it.
    """
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
