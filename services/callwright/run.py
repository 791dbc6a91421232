"""One run of a FineTune document, and how a pod's process does one of its stages.

Every stage is a function of a `Run`, here and in a cluster alike: it reads the document and what earlier stages left in
the store, writes its result to the store, and goes on where it was interrupted. `prepare` is a cluster's alone: it does
the stage `data` where no GPU waits, and brings the base.

| stage | function | leaves in the store | an interrupted one |
|---|---|---|---|
| data | `datasets.prepare.prepare_run` | nothing: Arrow files in the scratch folder | is made anew |
| prepare | `trainer.stage.prepare_training` | `runs/<run>/data/`, the base, `prepared.json` | is made anew |
| train | `trainer.stage.train_run` | `runs/<run>/adapter/`, `report.json` | goes on from the newest checkpoint |
| merge | `merger.stage.merge_run` | `models/<model>/versions/<version>/` | keeps the files that are whole |
| evaluate | `evaluator.stage.evaluate_run` | `runs/<run>/evaluation.json` | keeps the answers that it has |

Knows no stage's work.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from callwright import spec
from callwright.errors import CallwrightError, InvalidInput, NotFound
from callwright.spec import FineTune
from callwright.store import Store, check_weights, kept_base, resolve_base
from callwright.store.documents import read_object

T = TypeVar("T", bound="StageConfig")
REFUSALS = "CALLWRIGHT_REFUSALS"
"""Variable of the environment, `report` where whoever started the trainer reads in the run's report what it refuses.

KubeRay tries again whatever does not exit 0, on a Ray cluster of its own each time.
"""
REFUSED = "refused"
"""Status in the report of a run whose training would fail however often it is tried."""
COMPLETED = "completed"
"""Status in the report of a run whose training has come to its end."""


@dataclass(frozen=True)
class Run:
    """A document, the name of the run that it asks for, the object store, and a folder for scratch files."""

    finetune: FineTune
    name: str
    store: Store
    root: Path

    @property
    def model(self) -> str:
        """Name of the model that the run makes a version of."""
        return self.finetune.model_name

    @property
    def version(self) -> str:
        """Name of the version that its adapter becomes."""
        return spec.version_name(self.finetune, self.name)

    @cached_property
    def base_dir(self) -> Path:
        """Folder of the base model, fetched on first use. Raises as `resolve_base` does."""
        return self._base(weights=True)

    @cached_property
    def base_settings(self) -> Path:
        """Folder of the base's configuration and tokenizer, likewise; its weights need not be there."""
        return self._base(weights=False)

    def check_weights(self) -> None:
        """Raise as `resolve_base` does where the base cannot be used for its files of weights; fetches none of them."""
        check_weights(self._located_base()[0], self.cache)

    def _base(self, *, weights: bool) -> Path:
        return resolve_base(*self._located_base(), self.cache, weights=weights)

    def _located_base(self) -> tuple[str, str | None]:
        """Return base and revision as `resolve_base` takes them: where the run's preparation has put it."""
        base = self.finetune.spec.base
        return kept_base(self.store, self.name, base.model, base.revision)

    @property
    def workdir(self) -> Path:
        """Folder for the run's own scratch files, metrics and logs."""
        return self.root / "runs" / self.name

    @property
    def cache(self) -> Path:
        """Folder for bases and model versions that are fetched, shared by all runs."""
        return self.root / "cache"

    @property
    def data(self) -> Path:
        """Folder for prepared conversations, shared by all runs."""
        return self.root / "data"

    def key(self, path: str) -> str:
        """Return the key of one of the run's objects: `run.key("report.json")` is `runs/<run>/report.json`."""
        return f"runs/{self.name}/{path}"

    def read_json(self, path: str) -> dict[str, Any]:
        """Read one of the run's JSON objects, such as `report.json`; empty where it is not there.

        Raises `InvalidInput` for what is no JSON.
        """
        try:
            return read_object(self.store.get_bytes(self.key(path)), f"run {self.name}: {self.key(path)}")
        except NotFound:
            return {}


def is_trained(store: Store, run: str, report: Mapping[str, Any]) -> bool:
    """Return whether the adapter of a run that has this report is in the store, whole."""
    return report.get("status") == COMPLETED and store.exists(f"runs/{run}/adapter/adapter_config.json")


class StageConfig(BaseModel):
    """What the process of a stage is told, a flag per field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    spec: Path
    """The FineTune document."""
    run: str = Field(min_length=1)
    """Name of the run."""
    store: str | None = None
    """URL of the object store; spec.store, else CALLWRIGHT_STORE when absent."""
    workdir: Path = Path("/tmp/callwright")
    """Folder for scratch files."""

    def open_run(self, *, default_store: str | None = None) -> Run:
        """Read the document and open the store. Raises `InvalidInput` where no store is named."""
        finetune = spec.load(self.spec)
        url = self.store or finetune.spec.store or default_store
        if not url:
            raise InvalidInput(f"run {self.run}: got no store; expected --store, spec.store or CALLWRIGHT_STORE")
        return Run(finetune, self.run, Store.open(url), self.workdir)


def stage_main(
    config: type[T], work: Callable[[Run, T, logging.Logger], None], *, room: str, description: str | None
) -> None:
    """Do a stage as `python -m callwright.<room>`: flags in, log lines and errors to stderr, errors to exit codes."""
    parser = argparse.ArgumentParser(prog=f"python -m callwright.{room}", description=description)
    for name, field in config.model_fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", required=field.is_required(), help=field.description)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # So that what has been done is kept: a pod's first process would not heed it, and any other end where it stands.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        chosen = _validated(config, given)
        run = chosen.open_run(default_store=os.environ.get("CALLWRIGHT_STORE"))
        work(run, chosen, logging.getLogger(f"callwright.{room}"))
    except CallwrightError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _validated(config: type[T], given: dict[str, str]) -> T:
    """Raises `InvalidInput` with a line for each flag whose value is wrong."""
    try:
        return config.model_validate(given)
    except ValidationError as error:
        problems = [f"--{fault['loc'][0]}: got {fault['input']!r}; {fault['msg']}" for fault in error.errors()]
        raise InvalidInput("reading the flags:", tuple(each.replace("_", "-", 1) for each in problems)) from None
