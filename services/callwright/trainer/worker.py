"""What Ray Train runs in every worker: the train loop, with Ray's and torch.distributed's parts put in.

Owns the worker's device, its copy of the data, and how workers talk to each other and to the driver.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train as ray_train
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import get_device
from torch import Tensor

from callwright import machine
from callwright.errors import InvalidInput
from callwright.run import Run
from callwright.trainer.checkpoints import Checkpoints
from callwright.trainer.config import WorkerConfig
from callwright.trainer.forecast import forecast
from callwright.trainer.learner import Learner
from callwright.trainer.model import load_model, resolve_dtype
from callwright.trainer.rows import Rows
from callwright.trainer.train_loop import TrainLoop

DATA = "data"
"""Folder of the run that has its prepared conversations, in the store and where a worker copies them to."""


def train_loop_per_worker(settings: dict[str, Any]) -> None:
    """Train one worker's share of a run; Ray Train calls this in every worker, and again after a failure.

    `settings`: `config`, a `WorkerConfig` as a dict, and `board`, the actor that takes metric lines.
    """
    config, board = WorkerConfig.model_validate(settings["config"]), settings["board"]
    if config.directory.is_dir():
        os.chdir(config.directory)
    context = ray_train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    run, spec = config.open_run(), config.finetune.spec
    device = _device(gpu=spec.resources.gpus_per_worker > 0)
    data = config.data if config.data.is_dir() else fetch_data(run)
    rows = Rows.open(data / "train.arrow")
    sharded = config.sharded
    if sharded is None:
        sharded = broadcast_from_rank_zero(_needs_sharding(run, rows, device, workers))
    learner = Learner(
        load_model(run.base_dir, spec.base, spec.lora, spec.train, device, shards=workers if sharded else 1),
        rows,
        spec.train,
        rank=rank,
        workers=workers,
        sum_over_workers=_all_reduce if workers > 1 else lambda tensor: None,
    )
    stopping = board.stopping.remote() if rank == 0 else None
    TrainLoop(
        learner,
        Rows.open(data / "test.arrow"),
        Checkpoints(run.store, run.name),
        publish=lambda line: ray.get(board.publish.remote(line)),
        wants_stop=lambda: stopping is not None and bool(ray.wait([stopping], timeout=0)[0]),
        is_preempted=_PreemptionNotices(),
        broadcast=broadcast_from_rank_zero,
    ).run()


class _PreemptionNotices:
    """Asks Ray Train whether a worker's node will be taken away; the answer is the same on all workers.

    Asking makes every worker wait for all others, so it is done about as often as Ray Train itself looks: the number of
    steps between two questions follows from the seconds that a step takes.
    """

    def __init__(self) -> None:
        self._seconds = float(os.environ.get("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "5"))  # Ray Train's own
        self._every, self._steps, self._since = 1, 0, time.monotonic()

    def __call__(self) -> bool:
        self._steps += 1
        if self._steps < self._every:
            return False
        leaving = ray_train.get_preemption_info() is not None
        rate = self._steps / (time.monotonic() - self._since)
        self._every = broadcast_from_rank_zero(max(1, round(rate * self._seconds)))
        self._steps, self._since = 0, time.monotonic()
        return leaving


def device_bytes(device: torch.device) -> int:
    """Return the bytes of memory on the GPU, or else of this machine; a container's limit, where there is one."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return machine.memory_bytes()


def _needs_sharding(run: Run, rows: Rows, device: torch.device, workers: int) -> bool:
    """Return whether a worker like this one cannot hold the whole base."""
    spec = run.finetune.spec
    expected = forecast(
        run.base_settings, spec.base, spec.lora, spec.train, lengths=rows.lengths, workers=workers,
        dtype=resolve_dtype(spec.train.dtype, device), gpu=device.type == "cuda", capacity_bytes=device_bytes(device),
    )  # fmt: skip
    return bool(expected.sharded)


def fetch_data(run: Run) -> Path:
    """Return a copy of the run's prepared conversations in the store; workers that share a folder share one, whole."""
    copy = run.workdir / DATA
    if not copy.is_dir():
        run.workdir.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=run.workdir, prefix=f"{DATA}."))
        run.store.get_tree(run.key(DATA), staged)
        try:
            staged.rename(copy)
        except OSError:  # another was faster
            shutil.rmtree(staged)
    return copy


def _device(*, gpu: bool) -> torch.device:
    """This worker's device. Raises `InvalidInput` when it was to have a GPU and has none."""
    device: torch.device = get_device()
    if gpu and device.type == "cpu":
        raise InvalidInput(
            "training: resources.gpusPerWorker asks for a GPU; torch sees none in this worker; "
            "check the node's driver and torch's build, or set resources.gpusPerWorker to 0"
        )
    if device.type == "cpu":
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    return device


def _all_reduce(tensor: Tensor) -> None:
    torch.distributed.all_reduce(tensor)
