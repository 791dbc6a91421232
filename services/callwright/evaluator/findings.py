"""Everything one evaluation found, to keep in one JSON file: reports, comparisons between them, the gate's decision.

Owns that file's shape and its reading. Knows nothing of how it is shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from callwright.errors import InvalidInput, NotFound
from callwright.evaluator.compare import Comparison, compare
from callwright.evaluator.gate import GateResult
from callwright.evaluator.report import Part, Report


class Findings(Part):
    """The whole of an evaluation; the last report is the candidate's."""

    accuracy: float | None
    """The candidate's accuracy."""
    reports: dict[str, Report]
    """By heading, in order: base, promoted, candidate."""
    comparisons: tuple[Comparison, ...] = ()
    """The candidate against each other report."""
    gate: GateResult | None = None
    """The decision, where there is a gate."""

    @property
    def candidate(self) -> Report:
        """The last report."""
        return list(self.reports.values())[-1]

    def summary(self) -> dict[str, Any]:
        """The figures without rows, for a manifest."""
        return {
            "accuracy": self.accuracy,
            "reports": {heading: report.summary() for heading, report in self.reports.items()},
            "comparisons": [comparison.model_dump(mode="json") for comparison in self.comparisons],
            "gate": self.gate.model_dump(mode="json") if self.gate else None,
        }


def gather(reports: Mapping[str, Report], gate: GateResult | None = None) -> Findings:
    """Put reports together and compare the last with every other that was asked any of the same requests."""
    *others, candidate = reports
    return Findings(
        accuracy=reports[candidate].total.accuracy,
        reports=dict(reports),
        comparisons=tuple(made for other in others if (made := compare(reports, other, candidate))),
        gate=gate,
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
