"""The metrics of a training while it runs: from the workers to the driver, into files, a curve, and the run's report.

Owns the board (a Ray actor that every worker can reach wherever it runs), `metrics.jsonl`, TensorBoard's event file,
the curve and `runs/<run>/report.json`. Knows no model and no data.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from callwright.errors import Temporary
from callwright.progress import Advance
from callwright.run import Run
from callwright.trainer.trackers import Trackers

_POLL_SECONDS = 0.5
_REPORT_SECONDS = 5.0


class Board:
    """A Ray actor that carries metric lines from the workers to the driver, and the request to stop back to them."""

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._stop = asyncio.Event()

    async def publish(self, line: dict[str, Any]) -> None:
        """Add a line: `step`, `steps`, `time` in seconds since the epoch, and metrics."""
        self._lines.append(line)

    async def drain(self) -> list[dict[str, Any]]:
        """Take the lines that came since the last call."""
        lines, self._lines = self._lines, []
        return lines

    async def stop(self) -> None:
        """Ask the workers to stop after their step."""
        self._stop.set()

    async def stopping(self) -> None:
        """Return when somebody has asked to stop."""
        await self._stop.wait()


def start_board() -> Any:
    """Start the board as an actor on the driver's node, for a worker's may be taken away; returns its handle."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()


class MetricsWriter:
    """Writes metric lines to `folder` (`metrics.jsonl`, TensorBoard events, `curve.png` at the end) and to trackers."""

    def __init__(self, folder: Path, trackers: Trackers | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder / "tensorboard"))
        self._trackers = trackers
        self.latest: dict[str, Any] = {}
        """The newest value of every metric."""

    def add(self, line: dict[str, Any]) -> None:
        """Keep one line."""
        self.latest.update(line)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in line.items():
            if name not in ("step", "steps", "time") and isinstance(value, int | float):
                self._events.add_scalar(name, value, line["step"], line["time"])
        if self._trackers:
            self._trackers.add(line)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files and draw the curve."""
        self._file.close()
        self._events.close()
        if self._trackers:
            self._trackers.close()
        draw_curve(read_metrics(self._folder / "metrics.jsonl"), self._folder / "curve.png")


@contextmanager
def follow(board: Any, metrics: MetricsWriter, run: Run, on_progress: Advance) -> Iterator[None]:
    """Take the workers' lines off the board in a thread until the block's end, and keep the run's report up to date."""
    ended = threading.Event()

    def take_lines() -> None:
        reported, last = 0.0, False
        while not last:
            last = ended.wait(_POLL_SECONDS)
            lines = ray.get(board.drain.remote())
            for line in lines:
                metrics.add(line)
            if lines:
                on_progress(metrics.latest["step"], metrics.latest["steps"], _words(metrics.latest))
            if lines and time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                with suppress(Temporary):  # the next report says more
                    write_report(run, {**metrics.latest, "status": "running"})

    thread = threading.Thread(target=take_lines, name="follow-training", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def write_report(run: Run, report: dict[str, Any]) -> None:
    """Write `runs/<run>/report.json`."""
    run.store.put_bytes(run.key("report.json"), (json.dumps({"run": run.name} | report, indent=2) + "\n").encode())


def _words(latest: dict[str, Any]) -> str:
    shown = (("loss", "loss {:.3f}"), ("eval_loss", "test loss {:.3f}"), ("token_accuracy", "accuracy {:.1%}"),
             ("tokens_per_second", "{:.0f} tokens/s"))  # fmt: skip
    return ", ".join(form.format(latest[name]) for name, form in shown if name in latest)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the metric lines in `path`; of a step that was run again after a failure, the last."""
    by_step: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        by_step[values["step"], "eval_loss" in values] = (
            by_step.get((values["step"], "eval_loss" in values), {}) | values
        )
    return [by_step[key] for key in sorted(by_step)]


def draw_curve(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw loss and token accuracy against steps as a PNG at `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.add_subplot(title="The training: loss and token accuracy")
    right = left.twinx()
    series = (
        (left, "loss", "training loss", "tab:red", "-"), (left, "eval_loss", "test loss", "tab:red", "o--"),
        (right, "token_accuracy", "training accuracy", "tab:blue", "-"),
        (right, "eval_token_accuracy", "test accuracy", "tab:blue", "o--"),
    )  # fmt: skip
    for axis, name, label, color, style in series:
        points = [(line["step"], line[name]) for line in lines if name in line]
        if points:
            axis.plot(*zip(*points, strict=True), style, color=color, label=label, linewidth=1.5, markersize=4)
    left.set(xlabel="optimizer steps", ylabel="weighted loss (nats per token)")
    left.set_ylim(bottom=0)
    right.set(ylabel="token accuracy", ylim=(0, 1.02))
    left.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=len(series), frameon=False)
    figure.savefig(path)
