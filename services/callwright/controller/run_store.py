"""`RunStore`: what the controller reads from a run's store, and the promoted pointer, which it moves.

A report that does not exist yet or is no JSON counts as empty; one that the store refuses to show does not.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from callwright.errors import InvalidInput, NotFound
from callwright.evaluator.decision import decide_again, reports, stored_at
from callwright.run import REFUSED, is_trained
from callwright.spec import FineTune
from callwright.store import Registry, Store
from callwright.store.documents import read_object

_PATIENCE_SECONDS = 5.0
"""Seconds for a store to answer; the controller comes again."""


@dataclass(frozen=True)
class Evaluation:
    """The evaluation's outcome: whether the gate lets the candidate through, and why not."""

    passed: bool
    message: str
    accuracy: float | None


class RunStore:
    """The store of one run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.registry = Registry(store)

    @classmethod
    def open(cls, url: str, credentials: Path | None) -> Self:
        """Return the store at `url`, opened by the credentials in a folder, else by the controller's own."""
        return cls(Store.open(url, patience_seconds=_PATIENCE_SECONDS, credentials=credentials))

    def prepared(self, run: str) -> str | None:
        """Return what there is to train on, in words, by `runs/<run>/prepared.json`; None where nothing is prepared."""
        record = self._json(f"runs/{run}/prepared.json")
        if not record:
            return None
        rows, tokens = _whole(record.get("rows")), _whole(record.get("tokens"))
        return "" if rows is None or tokens is None else f"{rows:,} rows and {tokens:,} tokens to train on"

    def progress(self, run: str) -> tuple[str | None, float | None]:
        """Steps as `done/total` and the newest loss from `runs/<run>/report.json`; None for what is not known."""
        try:
            report = self._json(f"runs/{run}/report.json")
        except InvalidInput:  # a run goes on without; how it ends is told by what the store is asked then
            return None, None
        done, total = _whole(report.get("step")), _whole(report.get("steps"))
        loss = _real(report.get("loss"))
        return None if done is None else f"{done}/{total or '?'}", None if loss is None else round(loss, 4)

    def refusal(self, run: str) -> str | None:
        """Return why the trainer would not train, by `runs/<run>/report.json`; None where it has."""
        report = self._json(f"runs/{run}/report.json")
        return str(report.get("message", "")) if report.get("status") == REFUSED else None

    def trained(self, run: str) -> bool:
        """Return whether the store has the run's adapter, whole."""
        return is_trained(self._store, run, self._json(f"runs/{run}/report.json"))

    def measured(self, run: str) -> bool:
        """Return whether the store has reports of the run's evaluation."""
        return reports(self._json(stored_at(run))) is not None

    def decide_again(self, finetune: FineTune, run: str, version: str) -> Evaluation | None:
        """Return the document's gate over the stored reports; None where the version has to be measured first."""
        decision = decide_again(self._store, finetune, run=run, version=version)
        if decision is None:
            return None
        return Evaluation(decision.gate.passed, decision.gate.message, decision.accuracy)

    def published(self, model: str, version: str) -> bool:
        """Return whether the registry has the complete version."""
        try:
            self.registry.manifest(model, version)
        except NotFound:
            return False
        return True

    def promote(self, model: str, version: str) -> None:
        """Point at `version` by compare-and-swap of the pointer. Raises `Conflict` if somebody else moved it."""
        standing = self.registry.promoted(model)
        if standing != version:
            self.registry.promote(model, version, expect=standing)

    def _json(self, key: str) -> dict[str, Any]:
        """Raises what the store refuses with."""
        try:
            data = self._store.get_bytes(key)
        except NotFound:
            return {}
        try:
            return read_object(data, key)
        except InvalidInput:
            return {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
