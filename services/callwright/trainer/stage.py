"""The stage `train` of a run: prepare its conversations, train on Ray, put the adapter and a report into the store.

On a cluster the stage `prepare` goes before: it does where no GPU waits all that the training would wait for. Owns the
order of these, what is told before the first step, and the report. Ray's side is in `callwright.trainer.driver`.
"""

import importlib.metadata
import json
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import callwright
from callwright.datasets.prepare import prepare_run
from callwright.errors import CallwrightError, Interrupted, InvalidInput, Temporary
from callwright.progress import Advance, silent
from callwright.run import COMPLETED, REFUSED, Run, is_trained
from callwright.store import keep_base
from callwright.trainer.checkpoints import Checkpoint, Checkpoints
from callwright.trainer.config import WorkerConfig
from callwright.trainer.driver import fit, joins_cluster
from callwright.trainer.forecast import Forecast, forecast
from callwright.trainer.metrics import MetricsWriter, write_report
from callwright.trainer.model import quantization, resolve_dtype
from callwright.trainer.rows import Rows
from callwright.trainer.trackers import Trackers
from callwright.trainer.train_loop import ADAPTER
from callwright.trainer.worker import DATA, device_bytes, fetch_data

PREPARED = "prepared.json"
"""Record of what the stage `prepare` has done, written last."""


def prepare_training(
    run: Run, *, on_progress: Advance = silent, on_note: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Prepare a run's training elsewhere, or find it prepared. Returns the record, `runs/<run>/prepared.json`.

    Writes `runs/<run>/data/`; a base of the hub goes to the store too, see `callwright.store.keep_base`. Raises what
    `prepare_run` and `resolve_base` raise, weights that are not there included, and `InvalidInput` for what the base
    cannot do.
    """
    if found := run.read_json(PREPARED):
        return found
    if _is_trained(run):  # by an earlier release, which prepared in the training's pods
        return _record(run, {"trained": True})
    base = run.finetune.spec.base
    keep_base(run.store, run.name, base.model, base.revision, run.cache, on_progress=on_progress)
    run.check_weights()
    prepared = prepare_run(run, on_progress=on_progress)
    for line in (*prepared.notes, _forecast(run, prepared.folder, elsewhere=True).describe()):
        on_note(f"prepare: {line}")
    run.store.put_tree(run.key(DATA), prepared.folder)
    return _record(run, {"rows": prepared.train_rows, "tokens": prepared.train_tokens})


def _record(run: Run, record: dict[str, Any]) -> dict[str, Any]:
    run.store.put_bytes(run.key(PREPARED), json.dumps(record).encode())
    return record


def train_run(
    run: Run,
    *,
    data: Path | None = None,
    on_progress: Advance = silent,
    on_note: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train the run's adapter, go on with it from its newest checkpoint, or find it trained. Returns the run's report.

    Writes `runs/<run>/adapter/`, `runs/<run>/report.json` and the checkpoints to the store; metrics and the curve to
    `run.workdir`; a line on what is going to be trained to `on_note`. `data` is a folder with `train.arrow` and
    `test.arrow` to train on in place of the document's conversations, which `prepare_training` may have left in the
    store. Raises as `resolve_base` does for the base's weights, `InvalidInput` for what the base or this machine cannot
    do, and what `driver.fit` raises.
    """
    if _is_trained(run):
        return run.read_json("report.json")
    run.check_weights()
    is_prepared = data is None and bool(run.read_json(PREPARED))
    if data is None:
        data = fetch_data(run) if is_prepared else prepare_run(run, on_progress=on_progress).folder
    spec, expected = run.finetune.spec, _forecast(run, data, elsewhere=joins_cluster())
    on_note(f"train: {expected.describe()}")
    trackers = _trackers(run)
    if not is_prepared:
        run.store.put_tree(run.key(DATA), data)
    config = WorkerConfig(
        finetune=run.finetune, run=run.name, store=run.store.url, root=run.root.absolute(), data=data.absolute(),
        directory=Path.cwd(), sharded=expected.sharded,
    )  # fmt: skip
    began = time.time()
    with MetricsWriter(run.workdir, trackers) as metrics:
        try:
            last = fit(run, config, metrics, on_progress=on_progress, on_note=on_note)
        except CallwrightError as error:
            status = "stopped" if isinstance(error, Interrupted) else "failed"
            with suppress(Temporary):  # the store may be what failed
                write_report(run, {**metrics.latest, "status": status, "message": str(error)})
            raise
    checkpoints = Checkpoints(run.store, run.name)
    best = checkpoints.best()
    chosen = best if best and spec.train.publish == "best" else last
    _publish_adapter(run, checkpoints, chosen)
    report = {
        **metrics.latest,
        "run": run.name, "status": COMPLETED, "seconds": round(time.time() - began, 1),
        "workers": spec.resources.workers, "trained_parameters": expected.trained_parameters,
        "published_step": chosen.step, "best_checkpoint": best and {"step": best.step, "eval_loss": best.eval_loss},
        "versions": _versions(),
    }  # fmt: skip
    for name in ("metrics.jsonl", "curve.png"):
        run.store.put_file(run.key(name), run.workdir / name)
    write_report(run, report)
    return report


def keep_refusal(run: Run, error: CallwrightError) -> bool:
    """Write into the run's report why its training is refused, and return whether it is there.

    A training that comes to its end writes the report anew.
    """
    try:
        write_report(run, run.read_json("report.json") | {"status": REFUSED, "message": str(error)})
    except CallwrightError:
        return False
    return True


def _is_trained(run: Run) -> bool:
    return is_trained(run.store, run.name, run.read_json("report.json"))


def _trackers(run: Run) -> Trackers | None:
    if not (names := run.finetune.spec.train.report_to):
        return None
    shown = {"base", "dialect", "lora", "train", "resources"}
    settings = run.finetune.spec.model_dump(mode="json", by_alias=True, include=shown)
    return Trackers(names, run=run.name, folder=run.workdir, settings=settings)


def _forecast(run: Run, data: Path, *, elsewhere: bool) -> Forecast:
    """Return what the training takes. Raises `InvalidInput` when that is not possible, or not on this machine, unless
    it is done `elsewhere`.
    """
    spec = run.finetune.spec
    workers, gpus = spec.resources.workers, spec.resources.gpus_per_worker
    if gpus and not elsewhere and (found := torch.cuda.device_count()) < workers * gpus:
        raise InvalidInput(
            f"training: resources.gpusPerWorker is {gpus:g} for {workers} workers; got {found} GPUs for torch; "
            "set resources.gpusPerWorker to 0, or run where they are"
        )
    device = torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")
    if not (gpus and elsewhere):
        quantization(spec.lora, device)
    capacity, where = None, "a worker"
    if device.type == "cuda":
        capacity, where = device_bytes(device), "a GPU here"
    elif not elsewhere and not gpus:
        shared = f", shared by {workers} workers," if workers > 1 else ""
        capacity, where = device_bytes(device) // workers, f"this machine{shared}"
    expected = forecast(
        run.base_settings, spec.base, spec.lora, spec.train, lengths=Rows.open(data / "train.arrow").lengths,
        workers=workers, dtype=torch.bfloat16 if gpus and elsewhere else resolve_dtype(spec.train.dtype, device),
        gpu=bool(gpus), capacity_bytes=capacity,
    )  # fmt: skip
    if capacity is not None:
        expected.check_memory(capacity, where=where)
    return expected


def _publish_adapter(run: Run, checkpoints: Checkpoints, chosen: Checkpoint) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.fetch(chosen, Path(folder))
        run.store.put_tree(run.key(ADAPTER), Path(folder) / ADAPTER)


def _versions() -> dict[str, str]:
    names = ("torch", "ray", "transformers", "peft")
    installed = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "callwright": callwright.__version__, **installed}
