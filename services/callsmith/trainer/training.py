"""The stage `train`: start Ray Train on the prepared rows, follow it, and put adapter and report into the store.

Owns the driver's side: resources, failures, progress, results. What a worker does is in `callsmith.trainer.worker`.
"""

import importlib.metadata
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.train import (
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    Result,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchConfig, TorchTrainer

import callsmith
from callsmith.errors import InvalidInput, StageFailed
from callsmith.spec import FineTune
from callsmith.store import Store
from callsmith.trainer.config import WorkerConfig
from callsmith.trainer.progress import Journal, start_board
from callsmith.trainer.worker import run_worker

Advance = Callable[[int, int, str], None]
_POLL_SECONDS = 0.5
_REPORT_SECONDS = 5.0


def train(
    document: FineTune,
    *,
    run: str,
    store: Store,
    data: Path,
    workdir: Path,
    on_progress: Advance | None = None,
) -> dict[str, Any]:
    """Train the run's adapter from `data` (`train.arrow`, `test.arrow`), or carry on from its newest checkpoint.

    Writes `runs/<run>/adapter/`, `runs/<run>/report.json` and the checkpoints to `store`; metrics and the curve to
    `workdir`. Returns the report. Raises `StageFailed` when the workers failed more often than allowed.
    """
    spec = document.spec
    store.put_tree(f"runs/{run}/data", data)
    config = WorkerConfig(
        run=run, base=spec.base, lora=spec.lora, train=spec.train, store=store.url, data=str(data.absolute()),
        cache=str((workdir / "cache").absolute()),
    )  # fmt: skip
    began = time.time()
    with _ray(workers=spec.resources.workers, cpus=spec.resources.cpus_per_worker):
        board = start_board()
        trainer = TorchTrainer(
            run_worker,
            train_loop_config={"config": config.model_dump(), "board": board},
            scaling_config=_scaling(document),
            torch_config=TorchConfig(backend="nccl" if spec.resources.gpus_per_worker else "gloo"),
            run_config=RunConfig(
                name="checkpoints",
                storage_path=_storage(store, f"runs/{run}"),
                failure_config=FailureConfig(max_failures=spec.train.max_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=spec.train.save_total_limit),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )
        follower = _Follower(board, Journal(workdir), store, run, on_progress)
        with follower:
            result = _fit(trainer)
        _publish_adapter(result, store, run)
    report = {
        **follower.journal.latest,
        "run": run, "status": "completed", "seconds": round(time.time() - began, 1),
        "workers": spec.resources.workers, "versions": _versions(),
    }  # fmt: skip
    store.put_bytes(f"runs/{run}/report.json", _json(report))
    for name in ("metrics.jsonl", "curve.png"):
        store.put_file(f"runs/{run}/{name}", workdir / name)
    return report


@contextmanager
def _ray(*, workers: int, cpus: float) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine and stop it again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized() or os.environ.get("RAY_ADDRESS"):
        ray.init(ignore_reinit_error=True, logging_level="ERROR", log_to_driver=False)
        yield
        return
    # Logical CPUs: the machine's own, or as many as the workers and Ray Train's controller ask for.
    logical = max(os.cpu_count() or 1, int(workers * cpus + 1))
    ray.init(
        num_cpus=logical, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
        _node_ip_address="127.0.0.1", object_store_memory=200_000_000,
    )  # fmt: skip
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


def _storage(store: Store, prefix: str) -> str:
    return str(store.root / prefix) if store.root is not None else f"{store.url.rstrip('/')}/{prefix}"


def _fit(trainer: TorchTrainer) -> Result:
    try:
        return trainer.fit()
    except TrainingFailedError as error:
        for failure in getattr(error, "worker_failures", {}).values():
            cause: BaseException | None = failure
            while cause is not None:
                if isinstance(cause, InvalidInput):
                    raise cause from None
                cause = cause.__cause__ or getattr(cause, "cause", None)
        last = [line for line in str(error).strip().splitlines() if line.strip()][-1:]
        raise StageFailed(f"training: the workers failed: {' '.join(last)}") from error


def _publish_adapter(result: Result, store: Store, run: str) -> None:
    if result.checkpoint is None:
        raise StageFailed("training: got no checkpoint; expected one at the last step")
    with result.checkpoint.as_directory() as folder:
        store.put_tree(f"runs/{run}/adapter", Path(folder) / "adapter")


class _Follower:
    """Takes the workers' lines off the board in a thread: into the journal, the store's report and the progress bar."""

    def __init__(self, board: Any, journal: Journal, store: Store, run: str, on_progress: Advance | None) -> None:
        self.journal = journal
        self._board, self._store, self._run, self._on_progress = board, store, run, on_progress
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-training", daemon=True)
        self._reported = 0.0

    def __enter__(self) -> "_Follower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._take()
        self.journal.close()

    def _follow(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            self._take()

    def _take(self) -> None:
        lines = ray.get(self._board.drain.remote())
        for line in lines:
            self.journal.add(line)
        if not lines:
            return
        latest = self.journal.latest
        if self._on_progress:
            self._on_progress(latest["step"], latest["steps"], _note(latest))
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            self._reported = time.monotonic()
            report = {**latest, "run": self._run, "status": "running"}
            self._store.put_bytes(f"runs/{self._run}/report.json", _json(report))


def _note(latest: dict[str, Any]) -> str:
    shown = (("loss", "loss {:.3f}"), ("eval_loss", "test loss {:.3f}"), ("token_accuracy", "accuracy {:.1%}"),
             ("tokens_per_second", "{:.0f} tokens/s"))  # fmt: skip
    return ", ".join(form.format(latest[name]) for name, form in shown if name in latest)


def _versions() -> dict[str, str]:
    names = ("torch", "ray", "transformers", "peft")
    installed = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "callsmith": callsmith.__version__, **installed}


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
