"""Everything one evaluation found: reports, comparisons between them, the gate's decision. In one JSON file, and kept
in the object store: the whole under its run, the figures beside the version.

These say which run evaluated the version, so that a later candidate can be held against the promoted version
without measuring that one again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from callwright.errors import InvalidInput, NotFound
from callwright.evaluator.compare import Comparison, compare
from callwright.evaluator.decision import stored_at
from callwright.evaluator.gate import GateResult
from callwright.evaluator.report import Report, ReportModel
from callwright.store import Registry, Store
from callwright.store.manifest import evaluation_key


class Findings(ReportModel):
    """The whole of an evaluation; the last report is the candidate's."""

    accuracy: float | None
    """The candidate's accuracy."""
    reports: dict[str, Report] = Field(min_length=1)
    """By heading, in order: base, promoted, candidate."""
    comparisons: tuple[Comparison, ...] = ()
    """The candidate against each other report."""
    gate: GateResult | None = None
    """The decision, where there is a gate."""
    measurement: str | None = None
    """What was measured, as `callwright.spec.measurement` says it, where a run was."""

    @property
    def candidate(self) -> Report:
        """The last report."""
        return list(self.reports.values())[-1]

    def summary(self) -> dict[str, Any]:
        """Return the figures without rows."""
        return self.model_dump(mode="json", exclude={"reports"}) | {
            "reports": {heading: report.summary() for heading, report in self.reports.items()}
        }


def gather(reports: Mapping[str, Report], gate: GateResult | None = None, measurement: str | None = None) -> Findings:
    """Put reports together and compare the last with every other that was asked any of the same requests."""
    *others, candidate = reports
    return Findings(
        accuracy=reports[candidate].total.accuracy,
        reports=dict(reports),
        comparisons=tuple(made for other in others if (made := compare(reports, other, candidate))),
        gate=gate,
        measurement=measurement,
    )


def load(path: Path) -> Findings:
    """Read `path`, or `report.json` in it. Raises `NotFound`, and `InvalidInput` for anything but findings."""
    path = path / "report.json" if path.is_dir() else path
    try:
        return Findings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"reading an evaluation: no file {path}; expected the report.json of `evaluate --out`") from None
    except (OSError, ValidationError) as error:
        raise InvalidInput(f"reading an evaluation: {path} holds none: {str(error).splitlines()[0]}") from None


def store_findings(store: Store, run: str, findings: Findings) -> None:
    """Keep a run's findings; earlier ones are replaced."""
    store.put_bytes(stored_at(run), findings.model_dump_json(indent=2).encode())


def store_figures(store: Store, name: str, version: str, run: str, findings: Findings) -> None:
    """Keep the figures beside the version's manifest, with the run that has the whole."""
    figures = {"run": run, **findings.summary()}
    store.put_bytes(evaluation_key(name, version), json.dumps(figures, indent=2, ensure_ascii=False).encode())


def promoted_report(store: Store, name: str, *, other_than: str) -> tuple[str | None, Report | None]:
    """Return the promoted version, if it is another one, and its report, if it was evaluated into this store."""
    registry = Registry(store)
    version = registry.promoted(name)
    if version is None or version == other_than:
        return None, None
    try:
        run = registry.evaluation(name, version)["run"]
        return version, Findings.model_validate_json(store.get_bytes(stored_at(run))).candidate
    except (NotFound, InvalidInput, KeyError, ValidationError):
        return version, None
