"""The stages of a run on one machine, in order: data, train, merge, evaluate, promote.

Owns what a stage needs, when it is done already, and how the candidate is served while it is measured. Each stage's
work belongs to its room; what a cluster does instead is in `callwright.controller`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callwright import spec
from callwright.cli.options import store_url
from callwright.cli.output import Advance, note
from callwright.errors import Conflict, GateFailed, NotFound
from callwright.spec import FineTune
from callwright.store import Manifest, Registry, Store, resolve_base

if TYPE_CHECKING:
    from callwright.datasets.prepare import Prepared
    from callwright.evaluator import Findings
    from callwright.server.local import Stack
    from callwright.server.trial import Trial

STAGES = ("data", "train", "merge", "evaluate", "promote")

Progress = Callable[[str], AbstractContextManager[Advance]]
"""Opens a progress bar with a title."""


class LocalRun:
    """One run of a FineTune document on this machine."""

    def __init__(self, document: FineTune, *, store: str | None = None, root: Path = Path(".callwright")) -> None:
        self.document = document
        self.store = Store.open(store_url(store, document.spec.store))
        self.root = root
        self.base_dir = resolve_base(document.spec.base.model, document.spec.base.revision, root / "cache")

    @cached_property
    def name(self) -> str:
        """Name of the run, and of the version that it makes: other settings or other corpora give another."""
        from callwright.datasets import prepare

        digest = prepare.digest(self.document.spec.data, self.document.spec.dialect, self.base_dir)
        return spec.run_name(self.document, digest)

    @cached_property
    def trial(self) -> "Trial":
        """What is served while the candidate is measured."""
        from callwright.server.trial import plan_trial, promoted_to_serve

        return plan_trial(
            self.document,
            version=self.name,
            base_path=str(self.base_dir),
            promoted=promoted_to_serve(self.document, Registry(self.store), other_than=self.name),
            store=self.store.url,
            cache_dir=str(self.root / "cache"),
        )

    @property
    def workdir(self) -> Path:
        """Scratch files, metrics and logs of the run."""
        return self.root / "runs" / self.name

    def data(self, progress: Progress) -> "Prepared":
        """Mix, split and encode the conversations, or find them made."""
        from callwright.datasets.prepare import prepare

        with progress("data") as advance:
            return prepare(
                self.document.spec.data,
                dialect=self.document.spec.dialect,
                base_dir=self.base_dir,
                folder=self.root / "data",
                on_progress=advance,
            )

    def train(self, progress: Progress) -> dict[str, Any]:
        """Train the adapter, carry on with it, or find it trained. Returns the run's report."""
        report = self._json("report.json")
        if report.get("status") == "completed" and self.store.exists(f"runs/{self.name}/adapter/adapter_config.json"):
            return report
        from callwright.trainer.training import train

        prepared = self.data(progress)
        with progress("train") as advance:
            return train(
                self.document, run=self.name, store=self.store, data=prepared.folder, workdir=self.workdir,
                on_progress=advance, on_note=note,
            )  # fmt: skip

    def merge(self, progress: Progress) -> Manifest:
        """Publish the merged model as a version, or find it published."""
        from callwright.merger.stage import Source, merge_run

        with progress("merge") as advance:
            return merge_run(
                self.document,
                Source(self.name),
                store=self.store,
                workdir=self.workdir,
                on_progress=lambda done, total, what: advance(done >> 10, total >> 10, f"KiB {what}"),
            )

    def evaluation(self) -> dict[str, Any]:
        """The record of the evaluation; empty where the run has none."""
        return self._json("evaluation.json")

    def evaluate(self, stack: "Stack", progress: Progress, on_note: Callable[[str], None]) -> "Findings":
        """Measure the candidate, and what is served beside it, through the endpoint; the gate decides."""
        from callwright.evaluator.stage import Served, evaluate_run

        bars: list[AbstractContextManager[Advance]] = []

        def open_bar(heading: str) -> Advance:
            close_bars()
            bars.append(progress(heading))
            return bars[-1].__enter__()

        def close_bars() -> None:
            while bars:
                bars.pop().__exit__(None, None, None)

        try:
            return evaluate_run(
                self.document,
                run=self.name,
                version=self.name,
                store=self.store,
                base_url=stack.base_url,
                served=Served(self.trial.candidate, self.trial.base, self.trial.promoted),
                workdir=self.workdir,
                on_progress=open_bar,
                on_note=on_note,
            )
        finally:
            close_bars()

    @contextmanager
    def serving_candidate(self, *, port: int | None = None, engine_port: int | None = None) -> Iterator["Stack"]:
        """Serve what the candidate is measured with, behind the sidecar; on free ports where none are named."""
        from callwright.server import local
        from callwright.server.preflight import free_ports

        first, second = free_ports(2)
        config = self.trial.server.model_copy(update={"port": engine_port or first})
        folder = self.workdir / "serving"
        with local.serving(config, workdir=folder, port=port or second, dialects=self.trial.dialects) as stack:
            yield stack

    def promote(self) -> str:
        """Promote as the document says. Returns a line on what happened. Raises `GateFailed` for a failed gate."""
        gate, model = self.evaluation().get("gate"), self.document.model_name
        if gate is None:
            raise NotFound(f"promoting {self.name}: it was not evaluated; run `callwright run` from stage evaluate")
        if not gate["passed"]:
            raise GateFailed(f"the gate keeps {model} {self.name} back: {gate['message']}")
        registry = Registry(self.store)
        standing = registry.promoted(model)
        match self.document.spec.evaluate.promote:
            case _ if standing == self.name:
                return f"{model} {self.name} is promoted"
            case "auto":
                registry.promote(model, self.name, expect=standing)
                return f"promoted {model} {self.name}"
            case "manual":
                return f"{model} {self.name} passed the gate; promote it with `callwright promote {model} {self.name}`"
            case "never":
                return f"{model} {self.name} passed the gate; evaluate.promote is never, so nothing is promoted"

    def redo(self, stage: str) -> None:
        """Forget what `stage` and the stages after it have made. Raises `Conflict` where that version is promoted."""
        first = STAGES.index(stage)
        model = self.document.model_name
        if first <= STAGES.index("merge"):
            registry = Registry(self.store)
            if registry.promoted(model) == self.name:
                raise Conflict(
                    f"running again from {stage}: {model} {self.name} is promoted and stays as it is; "
                    f"promote another version first (`callwright rollback {model}`) or change metadata.name"
                )
            self.store.delete(f"models/{model}/versions/{self.name}")
        if first <= STAGES.index("evaluate"):
            self.store.delete(f"runs/{self.name}/evaluation.json")
            for journal in (self.workdir / "evaluation").glob("*.jsonl"):
                journal.unlink()
        if first <= STAGES.index("train"):
            self.store.delete(f"runs/{self.name}")
            (self.workdir / "metrics.jsonl").unlink(missing_ok=True)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.store.get_bytes(f"runs/{self.name}/{name}"))
        except NotFound:
            return {}
        return found
