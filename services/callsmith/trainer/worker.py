"""The training loop that runs in every Ray Train worker: set up, step, evaluate, tell, checkpoint, resume, stop.

Owns the order of these and what a checkpoint holds. The step itself is the learner's.
"""

import json
import math
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch
from peft import PeftModel
from ray import train as ray_train
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import get_device
from torch import Tensor

from callsmith.errors import InvalidInput
from callsmith.store import Store, resolve_base
from callsmith.trainer.checkpoints import Checkpoint, Checkpoints
from callsmith.trainer.config import WorkerConfig
from callsmith.trainer.learner import Learner, StepResult
from callsmith.trainer.model import load_model
from callsmith.trainer.rows import Rows

ADAPTER = "adapter"
"""Folder of a checkpoint with PEFT's files."""
_STATE_FILE = "trainer_state.pt"
_FAILED_BATCH = "failed-batch.json"


def run_worker(settings: dict[str, Any]) -> None:
    """Train until the plan is done or somebody says stop; Ray Train calls this in each worker, again after a failure.

    `settings`: `config`, a `WorkerConfig` as a dict, and `board`, the actor that takes metric lines.
    """
    _Worker(WorkerConfig.model_validate(settings["config"]), settings["board"]).run()


class _Worker:
    def __init__(self, config: WorkerConfig, board: Any) -> None:
        context = ray_train.get_context()
        self.rank, workers = context.get_world_rank(), context.get_world_size()
        self.config, self.board = config, board
        device = _device(config)
        self.store = Store.open(config.store)
        self.checkpoints = Checkpoints(self.store, config.run)
        data = self._data_folder()
        self.test = Rows.open(data / "test.arrow")
        base_dir = resolve_base(config.base.model, config.base.revision, Path(config.cache))
        self.learner = Learner(
            load_model(base_dir, config.base, config.lora, config.train, device),
            Rows.open(data / "train.arrow"),
            config.train,
            rank=self.rank,
            workers=workers,
            sum_over_workers=_all_reduce if workers > 1 else lambda tensor: None,
        )
        self.evaluations: list[tuple[int, float]] = []
        """Step and loss of every evaluation so far."""
        self.metrics: dict[str, float] = {}
        """The newest training metrics."""

    def run(self) -> None:
        learner = self.learner
        self._restore()
        if not self.evaluations:
            self._evaluate()
        meter = _Meter(learner.plan.workers)
        stop = self.board.stopping.remote() if self.rank == 0 else None
        while learner.step < learner.plan.steps and not self._is_enough():
            wanted = stop is not None and bool(ray.wait([stop], timeout=0)[0])
            result = learner.advance(stop=wanted)
            meter.add(result)
            health, stopping = result.decisive()
            if not math.isfinite(health):
                self._give_up(result)
                return
            self._after_step(result, meter, stopping=stopping)
            if stopping and learner.step < learner.plan.steps:
                self._publish({"stopped_step": learner.step})
                return

    def _after_step(self, result: StepResult, meter: "_Meter", *, stopping: bool) -> None:
        """Log, evaluate and save where this step's number says so."""
        step, train, last = self.learner.step, self.config.train, self.learner.step == self.learner.plan.steps
        if step % train.log_steps == 0 or last or stopping:
            rate = self.learner.plan.learning_rate(step)
            self.metrics = {**result.metrics(), **meter.read(), "learning_rate": rate}
            self._publish(self.metrics)
        saves = step % train.save_steps == 0 or last
        if step % train.eval_steps == 0 or last or (saves and train.publish == "best"):
            self._evaluate()
            meter.restart()
        if saves or stopping or self._is_enough():
            self._save()
            meter.restart()

    def _is_enough(self) -> bool:
        """Whether the last evaluations brought no lower loss than those before them."""
        patience = self.config.train.early_stopping
        losses = [loss for _, loss in self.evaluations]
        return patience is not None and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])

    def _evaluate(self) -> None:
        if self.test.lengths:
            metrics = self.learner.evaluate(self.test)
            self.evaluations.append((self.learner.step, metrics["eval_loss"]))
            self._publish(metrics)

    def _publish(self, line: dict[str, Any]) -> None:
        if self.rank == 0:
            place = {"step": self.learner.step, "steps": self.learner.plan.steps, "time": time.time()}
            ray.get(self.board.publish.remote({**place, **_memory(self.learner.device), **line}))

    def _give_up(self, result: StepResult) -> None:
        """Keep the step's rows and say why nothing goes on: trying again would do the same again."""
        learner, key = self.learner, f"runs/{self.config.run}/{_FAILED_BATCH}"
        if self.rank == 0:
            rows = learner.rows.describe(learner.plan.sequences(learner.step))
            figures = {name: str(value) for name, value in result.metrics().items()}
            content = {"step": learner.step, **figures, "rows": rows}
            self.store.put_bytes(key, json.dumps(content, ensure_ascii=False).encode())
            self._publish(
                {
                    "failed": f"training: got loss {figures['loss']} and gradient norm {figures['grad_norm']} in step "
                    f"{learner.step}; expected finite ones; its sequences are in {key} of the store; look for faulty "
                    "rows, lower train.learningRate, or set train.dtype to float32"
                }
            )

    def _save(self) -> None:
        """Write a checkpoint, on rank 0: adapter, optimizer, step, evaluations."""
        if self.rank != 0:
            return
        step = self.learner.step
        loss = dict(self.evaluations).get(step)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_adapter(self.learner.model, folder / ADAPTER)
            told = {"evaluations": self.evaluations, "metrics": self.metrics}
            torch.save({**self.learner.state(), **told}, folder / _STATE_FILE)
            self.checkpoints.write(folder, step=step, eval_loss=loss, keep=self.config.train.save_total_limit)
        self._publish({"saved_step": step})

    def _restore(self) -> None:
        """Go on from the newest whole checkpoint; all workers from the one that rank 0 finds."""
        with tempfile.TemporaryDirectory() as name:
            found = self.checkpoints.fetch_newest(Path(name)) if self.rank == 0 else None
            record = broadcast_from_rank_zero(found.model_dump_json() if found else "")
            if not record:
                return
            if self.rank != 0:
                self.checkpoints.fetch(Checkpoint.model_validate_json(record), Path(name))
            state = torch.load(Path(name) / _STATE_FILE, map_location=self.learner.device, weights_only=True)
        self.learner.load_state(state)
        self.evaluations = [(step, loss) for step, loss in state["evaluations"]]
        self.metrics = state["metrics"]
        self._publish({**self.metrics, "resumed_step": self.learner.step})

    def _data_folder(self) -> Path:
        """The prepared rows: where the driver made them, or a copy from the store on another node."""
        made = Path(self.config.data)
        if made.is_dir():
            return made
        copy = Path(self.config.cache) / self.config.run / "data"
        self.store.get_tree(f"runs/{self.config.run}/data", copy)
        return copy


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
    model.save_pretrained(folder, save_embedding_layers=False)  # else PEFT asks the hub whether it was resized
    (folder / "README.md").unlink(missing_ok=True)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()), indent=2, sort_keys=True) + "\n")


def _device(config: WorkerConfig) -> torch.device:
    """This worker's device. Raises `InvalidInput` when it was to have a GPU and has none."""
    device: torch.device = get_device()
    if config.gpu and device.type == "cpu":
        raise InvalidInput(
            "training: resources.gpusPerWorker asks for a GPU; torch sees none in this worker; "
            "check the node's driver and torch's build, or set resources.gpusPerWorker to 0"
        )
    if device.type == "cpu":
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    return device


def _all_reduce(tensor: Tensor) -> None:
    torch.distributed.all_reduce(tensor)


def _memory(device: torch.device) -> dict[str, int]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024}
    if device.type == "cuda":
        memory["peak_gpu_bytes"] = torch.cuda.max_memory_allocated(device)
    return memory
