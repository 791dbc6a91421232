"""Metric lines to MLflow and Weights & Biases, by transformers' own callbacks, configured by these packages' variables.

Knows no metric by name. A tracker that fails is left out from then on; the training goes on without it.
"""

import importlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callwright.errors import InvalidInput, without_secrets

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Arguments:
    """What the callbacks ask of `TrainingArguments`: names, and the settings to show."""

    run_name: str
    output_dir: str
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return dict(self.settings)


class Trackers:
    """Runs in MLflow and Weights & Biases, open until `close`."""

    def __init__(self, names: Sequence[str], *, run: str, folder: Path, settings: dict[str, Any]) -> None:
        """Begin a run in each of `names` (`mlflow`, `wandb`). Raises `InvalidInput` for one that is not installed."""
        from transformers import TrainerControl, TrainerState

        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trackers")  # MLflow knows its run by the thread
        self._callbacks = {name: _callback(name) for name in names}
        self._arguments = _Arguments(run, str(folder), _flat(settings))
        self._state, self._control = TrainerState(is_world_process_zero=True), TrainerControl()
        self._each(lambda callback: callback.on_train_begin(self._arguments, self._state, self._control, model=None))

    def add(self, line: dict[str, Any]) -> None:
        """Tell the numbers of a metric line, at its `step`."""
        self._state.global_step = line["step"]
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
        logs = {name: value for name, value in numbers.items() if name not in ("step", "steps", "time")}
        self._each(lambda callback: callback.on_log(self._arguments, self._state, self._control, logs=dict(logs)))

    def close(self) -> None:
        """End the runs."""
        self._each(self._end)
        self._thread.shutdown()

    def _end(self, callback: Any) -> None:
        callback.on_train_end(self._arguments, self._state, self._control, model=None)
        if callback is self._callbacks.get("wandb"):
            importlib.import_module("wandb").finish()  # which the callback leaves to the end of the process

    def _each(self, tell: Callable[[Any], None]) -> None:
        for name, callback in list(self._callbacks.items()):
            try:
                self._thread.submit(tell, callback).result()
            except Exception as error:  # noqa: BLE001 - of whatever kind, it is the tracker's own
                _log.warning("%s takes no metrics any more: %s", name, without_secrets(str(error)))
                del self._callbacks[name]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`lora: {rank: 8}` as `lora.rank: 8`, as trackers compare settings."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _callback(name: str) -> Any:
    from transformers import integrations

    there = integrations.is_mlflow_available() if name == "mlflow" else integrations.is_wandb_available()
    if not there:
        raise InvalidInput(
            f"training: train.reportTo names {name}; got no such package; expected it beside Callwright; "
            f"pip install {name}, or leave it out of train.reportTo"
        )
    return integrations.MLflowCallback() if name == "mlflow" else integrations.WandbCallback()
