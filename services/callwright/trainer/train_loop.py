"""The train loop of one worker: step, log, evaluate, save checkpoints, resume, stop early.

Owns the order of these and what a checkpoint holds. Knows no Ray: where metric lines go, whether to stop, and how rank
0's checkpoint reaches all workers are arguments. The step itself is the learner's.
"""

import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from callwright.trainer.checkpoints import Checkpoint, Checkpoints
from callwright.trainer.learner import Learner, StepResult
from callwright.trainer.rows import Rows

ADAPTER = "adapter"
"""Folder of a checkpoint with PEFT's files."""
_STATE_FILE = "trainer_state.pt"
_FAILED_BATCH = "failed-batch.json"


@dataclass
class TrainLoop:
    """Runs the learner's steps from the newest checkpoint to the end of its plan.

    Every worker runs one, in step with the others; rank 0 publishes metrics and saves checkpoints.
    """

    learner: Learner
    test: Rows
    checkpoints: Checkpoints
    publish: Callable[[dict[str, Any]], None]
    """Takes a metric line; called on rank 0."""
    wants_stop: Callable[[], bool] = lambda: False
    """Whether this worker was asked to stop; the others learn of it in the step."""
    is_preempted: Callable[[], bool] = lambda: False
    """Whether a worker's machine will soon be taken away, the same for all workers; all ask after every step."""
    broadcast: Callable[[str], str] = lambda text: text
    """Returns rank 0's text on all workers."""
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """Step and loss of every evaluation so far."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The newest training metrics."""
    _noticed: bool = False
    """Whether a checkpoint was saved because a machine will be taken away."""

    def run(self) -> None:
        """Train until the plan is done, evaluations improve no more, a stop is asked for, or the loss is not finite."""
        learner, plan, train = self.learner, self.learner.plan, self.learner.plan.train
        self._restore()
        if not self.evaluations:
            self._evaluate()
        throughput = _Throughput(plan.workers)
        while learner.step < plan.steps and not self._should_stop_early():
            result = learner.advance(stop=self.wants_stop())
            throughput.add(result)
            health, stopping = result.health()
            if not math.isfinite(health):
                self._give_up(result)
                return
            step, last = learner.step, learner.step == plan.steps
            if step % train.log_steps == 0 or last or stopping:
                self.metrics = {**result.metrics(), **throughput.read(), "learning_rate": plan.learning_rate(step)}
                self._publish(self.metrics)
            saves = step % train.save_steps == 0 or last
            if step % train.eval_steps == 0 or last or (saves and train.publish == "best"):
                self._evaluate()
                throughput.restart()
            if self._is_newly_preempted() or saves or stopping or self._should_stop_early():
                self._save()
                throughput.restart()
            if stopping and not last:
                self._publish({"stopped_step": step})
                return

    def _should_stop_early(self) -> bool:
        """Return whether the last `train.earlyStopping` evaluations brought no lower loss than those before them."""
        patience = self.learner.plan.train.early_stopping
        losses = [loss for _, loss in self.evaluations]
        return patience is not None and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])

    def _is_newly_preempted(self) -> bool:
        """Return whether the first notice has come that a worker's machine will be taken away.

        The training goes on until it is; the steps after this checkpoint are then done again elsewhere.
        """
        if self._noticed or not self.is_preempted():
            return False
        self._noticed = True
        self._publish({"notice_step": self.learner.step})
        return True

    def _evaluate(self) -> None:
        if self.test.lengths:
            metrics = self.learner.evaluate(self.test)
            self.evaluations.append((self.learner.step, metrics["eval_loss"]))
            self._publish(metrics)

    def _publish(self, line: dict[str, Any]) -> None:
        if self.learner.rank == 0:
            place = {"step": self.learner.step, "steps": self.learner.plan.steps, "time": time.time()}
            self.publish({**place, **_memory(self.learner.device), **line})

    def _give_up(self, result: StepResult) -> None:
        """Store the rows of a step whose loss is not finite, and publish why the training ends.

        It does not fail, because a restart would do the same again.
        """
        learner, key = self.learner, f"runs/{self.checkpoints.run}/{_FAILED_BATCH}"
        if learner.rank != 0:
            return
        figures = {name: str(value) for name, value in result.metrics().items()}
        content = {"step": learner.step, **figures, "rows": learner.rows.describe(learner.plan.sequences(learner.step))}
        self.checkpoints.store.put_bytes(key, json.dumps(content, ensure_ascii=False).encode())
        self._publish(
            {
                "failed": f"training: got loss {figures['loss']} and gradient norm {figures['grad_norm']} in step "
                f"{learner.step}; expected finite ones; its sequences are in {key} of the store; look for faulty rows, "
                "lower train.learningRate, or set train.dtype to float32"
            }
        )

    def _save(self) -> None:
        """Save a checkpoint, on rank 0: adapter, optimizer, step, evaluations."""
        if self.learner.rank != 0:
            return
        step, keep = self.learner.step, self.learner.plan.train.save_total_limit
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_adapter(self.learner.model, folder / ADAPTER)
            told = {"evaluations": self.evaluations, "metrics": self.metrics}
            torch.save({**self.learner.state(), **told}, folder / _STATE_FILE)
            self.checkpoints.write(folder, step=step, eval_loss=dict(self.evaluations).get(step), keep=keep)
        self._publish({"saved_step": step})

    def _restore(self) -> None:
        """Load the newest whole checkpoint, on all workers the one that rank 0 finds."""
        with tempfile.TemporaryDirectory() as name:
            found = self.checkpoints.fetch_newest(Path(name)) if self.learner.rank == 0 else None
            record = self.broadcast(found.model_dump_json() if found else "")
            if not record:
                return
            if self.learner.rank != 0:
                self.checkpoints.fetch(Checkpoint.model_validate_json(record), Path(name))
            state = torch.load(Path(name) / _STATE_FILE, map_location=self.learner.device, weights_only=True)
        self.learner.load_state(state)
        self.evaluations = [(step, loss) for step, loss in state["evaluations"]]
        self.metrics = state["metrics"]
        self._publish({**self.metrics, "resumed_step": self.learner.step})


class _Throughput:
    """Counts tokens and seconds between two readings."""

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


def _memory(device: torch.device) -> dict[str, int]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024}
    if device.type == "cuda":
        memory["peak_gpu_bytes"] = torch.cuda.max_memory_allocated(device)
    return memory
