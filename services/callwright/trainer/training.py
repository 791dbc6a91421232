"""The stage `train`: start Ray Train on the prepared rows, follow it, and put adapter and report into the store.

Owns the driver's side: resources, failures, signals, results. What a worker does is in `callwright.trainer.worker`.
"""

import importlib.metadata
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

import callwright
from callwright.errors import CallwrightError, Interrupted, InvalidInput, StageFailed, Temporary
from callwright.spec import FineTune
from callwright.store import Store, resolve_base
from callwright.trainer.checkpoints import Checkpoint, Checkpoints
from callwright.trainer.config import WorkerConfig
from callwright.trainer.failures import explain
from callwright.trainer.following import Advance, Follower, write_report
from callwright.trainer.forecast import Forecast, forecast
from callwright.trainer.loop import ADAPTER
from callwright.trainer.model import quantization, resolve_dtype
from callwright.trainer.progress import Journal, start_board
from callwright.trainer.rows import Rows
from callwright.trainer.signals import run_aside, stopping_on_signals, termination_ends
from callwright.trainer.trackers import Trackers
from callwright.trainer.worker import device_bytes, run_worker


def train(
    document: FineTune,
    *,
    run: str,
    store: Store,
    data: Path,
    workdir: Path,
    on_progress: Advance | None = None,
    on_note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train the run's adapter from `data` (`train.arrow`, `test.arrow`), or carry on from its newest checkpoint.

    Writes `runs/<run>/adapter/`, `runs/<run>/report.json` and the checkpoints to `store`; metrics and the curve to
    `workdir`; a line on what is going to be trained to `on_note`. Returns the report. Raises `InvalidInput` for what
    the base or this machine cannot do, `StageFailed` when the loss is no number or the workers failed more often than
    allowed, and `Interrupted` when SIGTERM or Ctrl-C stopped it before its end.
    """
    spec = document.spec
    cache = (workdir / "cache").absolute()
    expected = _expected(document, data, cache)
    if on_note:
        on_note(f"train: {expected.describe()}")
    trackers = _trackers(document, run, workdir)
    store.put_tree(f"runs/{run}/data", data)
    config = WorkerConfig(
        run=run, base=spec.base, lora=spec.lora, train=spec.train, store=store.url, data=str(data.absolute()),
        cache=str(cache), sharded=expected.sharded, gpu=spec.resources.gpus_per_worker > 0,
    )  # fmt: skip
    began = time.time()
    with _ray(workers=spec.resources.workers, cpus=spec.resources.cpus_per_worker):
        board = start_board()
        trainer = TorchTrainer(
            run_worker,
            train_loop_config={"config": config.model_dump(), "board": board},
            scaling_config=_scaling(document),
            torch_config=TorchConfig(backend="nccl" if config.gpu else "gloo"),
            run_config=RunConfig(
                name="ray",
                storage_path=str(workdir.absolute()),  # for Ray's own marker only: checkpoints go to the store
                failure_config=FailureConfig(max_failures=spec.train.max_failures),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )
        journal, checkpoints = Journal(workdir, trackers), Checkpoints(store, run)
        following = Follower(board, journal, store, run, on_progress)
        try:
            last = _fit(trainer, following, checkpoints, ask=board.stop.remote, on_note=on_note)
        except CallwrightError as error:
            status = "stopped" if isinstance(error, Interrupted) else "failed"
            with suppress(Temporary):  # the store may be what failed
                write_report(store, run, {**journal.latest, "run": run, "status": status, "message": str(error)})
            raise
    best = checkpoints.best()
    chosen = best if best and spec.train.publish == "best" else last
    _publish_adapter(checkpoints, chosen)
    report = {
        **journal.latest,
        "run": run, "status": "completed", "seconds": round(time.time() - began, 1),
        "workers": spec.resources.workers, "trained_parameters": expected.trained_parameters,
        "published_step": chosen.step, "best_checkpoint": best and {"step": best.step, "eval_loss": best.eval_loss},
        "versions": _versions(),
    }  # fmt: skip
    write_report(store, run, report)
    for name in ("metrics.jsonl", "curve.png"):
        store.put_file(f"runs/{run}/{name}", workdir / name)
    return report


def _trackers(document: FineTune, run: str, folder: Path) -> Trackers | None:
    if not (names := document.spec.train.report_to):
        return None
    shown = {"base", "dialect", "lora", "train", "resources"}
    settings = document.spec.model_dump(mode="json", by_alias=True, include=shown)
    return Trackers(names, run=run, folder=folder, settings=settings)


def _expected(document: FineTune, data: Path, cache: Path) -> Forecast:
    """What the training takes. Raises `InvalidInput` when that is not possible, or not on this machine."""
    spec = document.spec
    workers, gpus = spec.resources.workers, spec.resources.gpus_per_worker
    joins = _joins_cluster()
    if gpus and not joins and (found := torch.cuda.device_count()) < workers * gpus:
        raise InvalidInput(
            f"training: resources.gpusPerWorker is {gpus:g} for {workers} workers; got {found} GPUs for torch; "
            "set resources.gpusPerWorker to 0, or run where they are"
        )
    device = torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")
    if not (gpus and joins):
        quantization(spec.lora, device)
    capacity, where = None, "a worker"
    if device.type == "cuda":
        capacity, where = device_bytes(device), "a GPU here"
    elif not joins and not gpus:
        shared = f", shared by {workers} workers," if workers > 1 else ""
        capacity, where = device_bytes(device) // workers, f"this machine{shared}"
    expected = forecast(
        resolve_base(spec.base.model, spec.base.revision, cache), spec.base, spec.lora, spec.train,
        lengths=Rows.open(data / "train.arrow").lengths, workers=workers,
        dtype=torch.bfloat16 if gpus and joins else resolve_dtype(spec.train.dtype, device), capacity_bytes=capacity,
    )  # fmt: skip
    if capacity is not None:
        expected.check_memory(capacity, where=where)
    return expected


def _joins_cluster() -> bool:
    return ray.is_initialized() or bool(os.environ.get("RAY_ADDRESS"))


@contextmanager
def _ray(*, workers: int, cpus: float) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine and stop it again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if _joins_cluster():
        with termination_ends(partial(ray.init, ignore_reinit_error=True, logging_level="ERROR", log_to_driver=False)):
            yield
        return
    # Logical CPUs: the machine's own, or as many as the workers and Ray Train's controller ask for.
    logical = max(os.cpu_count() or 1, int(workers * cpus + 1))
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


def _scaling(document: FineTune) -> ScalingConfig:
    resources = document.spec.resources
    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    return ScalingConfig(
        num_workers=resources.workers, use_gpu=resources.gpus_per_worker > 0, resources_per_worker=per_worker
    )


def _fit(
    trainer: TorchTrainer,
    following: Follower,
    checkpoints: Checkpoints,
    *,
    ask: Callable[[], object],
    on_note: Callable[[str], None] | None,
) -> Checkpoint:
    """Train to the end; the last checkpoint. A signal calls `ask`, which ends it early."""
    try:
        with following, stopping_on_signals(ask, on_note) as notice:
            run_aside(trainer.fit)
    except KeyboardInterrupt:
        raise Interrupted(f"training: stopped by Ctrl-C; {checkpoints.describe_newest()}") from None
    except TrainingFailedError as error:
        allowed = trainer.run_config.failure_config.max_failures
        raise explain(error, allowed=allowed, checkpoints=checkpoints) from error
    return _finished(following.journal.latest, checkpoints, notice.number)


def _finished(latest: dict[str, Any], checkpoints: Checkpoints, stopped_by: signal.Signals | None) -> Checkpoint:
    """The last checkpoint of a training that ended well. Raises `StageFailed` or `Interrupted` for another end."""
    if failed := latest.get("failed"):
        raise StageFailed(failed)
    whole = checkpoints.list()
    if not whole:
        raise StageFailed("training: got no checkpoint; expected one at the last step")
    if stopped_by and latest.get("stopped_step") == whole[-1].step:
        where = f"after step {whole[-1].step} of {latest['steps']}, with a checkpoint"
        raise Interrupted(f"training: stopped by {stopped_by.name} {where}", stopped_by)
    return whole[-1]


def _publish_adapter(checkpoints: Checkpoints, chosen: Checkpoint) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.fetch(chosen, Path(folder))
        checkpoints.store.put_tree(f"runs/{checkpoints.run}/adapter", Path(folder) / ADAPTER)


def _versions() -> dict[str, str]:
    names = ("torch", "ray", "transformers", "peft")
    installed = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "callwright": callwright.__version__, **installed}
