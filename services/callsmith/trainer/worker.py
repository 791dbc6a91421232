"""The training loop that runs in every Ray Train worker: set up, step, evaluate, report, checkpoint, resume.

Owns the order of these and what Ray Train is told. The step itself is the learner's.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from ray import train as ray_train
from ray.train.torch import get_device
from torch import Tensor

from callsmith.store import Store, resolve_base
from callsmith.trainer.config import WorkerConfig
from callsmith.trainer.learner import Learner, Rows, StepResult
from callsmith.trainer.model import load_model

STATE_FILE = "trainer_state.pt"


def run_worker(settings: dict[str, Any]) -> None:
    """Train until the plan is done; Ray Train calls this in each worker, again after a failure.

    `settings`: `config`, a `WorkerConfig` as a dict, and `board`, the actor that takes metric lines.
    """
    _Worker(WorkerConfig.model_validate(settings["config"]), settings["board"]).run()


class _Worker:
    def __init__(self, config: WorkerConfig, board: Any) -> None:
        context = ray_train.get_context()
        self.rank, workers = context.get_world_rank(), context.get_world_size()
        self.config, self.board = config, board
        device = get_device()
        if device.type == "cpu":
            torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
        data = _data_folder(config)
        self.test = Rows.open(data / "test.arrow")
        base_dir = resolve_base(config.base.model, config.base.revision, Path(config.cache))
        model = load_model(base_dir, config.base, config.lora, config.train, device)
        self.learner = Learner(
            model,
            Rows.open(data / "train.arrow"),
            config.train,
            rank=self.rank,
            workers=workers,
            sum_over_workers=_all_reduce if workers > 1 else lambda tensor: None,
        )

    def run(self) -> None:
        learner, train = self.learner, self.config.train
        self._restore()
        if learner.step == 0:
            self._evaluate()
        meter = _Meter(learner.plan.workers)
        while learner.step < learner.plan.steps:
            result = learner.advance()
            meter.add(result)
            last = learner.step == learner.plan.steps
            if learner.step % train.log_steps == 0 or last:
                rate = learner.plan.learning_rate(learner.step)
                self._publish({**result.metrics(), **meter.read(), "learning_rate": rate})
            if learner.step % train.eval_steps == 0 or last:
                self._evaluate()
                meter.restart()
            if learner.step % train.save_steps == 0 or last:
                self._save()
                meter.restart()

    def _evaluate(self) -> None:
        if self.test.lengths:
            self._publish(self.learner.evaluate(self.test))

    def _publish(self, metrics: dict[str, float]) -> None:
        if self.rank == 0:
            place = {"step": self.learner.step, "steps": self.learner.plan.steps, "time": time.time()}
            self.board.publish.remote({**place, "peak_rss_bytes": _peak_rss_bytes(), **metrics})

    def _save(self) -> None:
        """Report a checkpoint: a barrier over the workers. Rank 0 writes it, Ray Train keeps only a whole one."""
        learner, name = self.learner, f"step-{self.learner.step:08d}"
        if self.rank != 0:
            ray_train.report({"step": learner.step}, checkpoint=None, checkpoint_dir_name=name)
            return
        with tempfile.TemporaryDirectory() as folder:
            save_adapter(learner.model, Path(folder) / "adapter")
            torch.save(learner.state(), Path(folder) / STATE_FILE)
            checkpoint = ray_train.Checkpoint.from_directory(folder)
            ray_train.report({"step": learner.step}, checkpoint=checkpoint, checkpoint_dir_name=name)

    def _restore(self) -> None:
        checkpoint = ray_train.get_checkpoint()
        if checkpoint is None:
            return
        with checkpoint.as_directory() as folder:
            path = Path(folder) / STATE_FILE
            self.learner.load_state(torch.load(path, map_location=self.learner.device, weights_only=True))


class _Meter:
    """Throughput since the last reading."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.restart()

    def restart(self) -> None:
        self._tokens, self._places, self._since = 0, 0, time.monotonic()

    def add(self, result: StepResult) -> None:
        self._tokens, self._places = self._tokens + result.tokens, self._places + result.places

    def read(self) -> dict[str, float]:
        seconds = time.monotonic() - self._since
        rate, padding = self._tokens * self._workers / seconds, 1 - self._tokens / max(1, self._places)
        self.restart()
        return {"tokens_per_second": rate, "padding_share": padding}


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, PEFT's own layout and nothing else."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()), indent=2, sort_keys=True) + "\n")


def _data_folder(config: WorkerConfig) -> Path:
    """The prepared rows: where the driver made them, or a copy from the store on another node."""
    made = Path(config.data)
    if made.is_dir():
        return made
    copy = Path(config.cache) / config.run / "data"
    Store.open(config.store).get_tree(f"runs/{config.run}/data", copy)
    return copy


def _all_reduce(tensor: Tensor) -> None:
    torch.distributed.all_reduce(tensor)


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
