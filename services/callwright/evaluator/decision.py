"""The gate's decision over an evaluation that the store has: taken again in seconds, without a model, a GPU or a pod.

    decision = decide_again(store, finetune, run="demo-3f9c2a1b", version="demo-3f9c2a1b")
    decision is None or decision.gate.passed

So a changed gate is a decision, and nothing is measured anew.
"""

import json
from dataclasses import dataclass
from typing import Any

from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.evaluator.gate import GateResult, decide
from callwright.evaluator.report import Report
from callwright.spec import FineTune, measurement
from callwright.store import Registry, Store
from callwright.store.documents import read_object


@dataclass(frozen=True)
class Decision:
    """What the gate says, and the candidate's accuracy."""

    gate: GateResult
    accuracy: float | None


def stored_at(run: str) -> str:
    """Return the key of a run's findings in the store."""
    return f"runs/{run}/evaluation.json"


def reports(found: dict[str, Any]) -> dict[str, Report] | None:
    """Return the reports of a run's findings; None where they are not to be read, or none is the candidate's."""
    try:
        read = {heading: Report.model_validate(report) for heading, report in found["reports"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):  # pydantic's is a ValueError
        return None
    return read if "candidate" in read else None


def _beside_one(found: dict[str, Any]) -> bool:
    """Return whether a version was promoted when the findings were made, be it one without a report."""
    return "maxRegression" in str(found.get("gate"))


def decide_again(store: Store, finetune: FineTune, *, run: str, version: str) -> Decision | None:
    """Hold the stored reports of a run's version against the document's gate as it is now, and record the decision.

    Returns None where the store has no reports, those of other requests, too few answers for what the gate asks, or the
    promoted version is another than the one that they were held against: then the version has to be measured. Raises as
    the store does.
    """
    key = stored_at(run)
    try:
        stored = store.get_bytes(key)
    except NotFound:
        return None
    try:
        found = read_object(stored, key)
    except InvalidInput:
        return None
    measured = reports(found)
    if measured is None:
        return None
    if found.get("measurement") not in (None, measurement(finetune, version)):  # None: an older release's
        return None
    candidate, base = measured["candidate"], measured.get("base")
    asked = finetune.spec.evaluate.gate
    promoted, standing = measured.get("promoted"), Registry(store).promoted(finetune.model_name)
    if standing == version:
        promoted = standing = None
    elif promoted is None:
        if standing is not None and asked.max_regression < 1 and not _beside_one(found):
            return None
    elif promoted.version not in (None, standing):
        return None
    try:
        result = decide(asked, candidate, promoted=promoted, expects_promoted=standing is not None, base=base)
    except Unavailable:
        return None
    gate = result.model_dump(mode="json")
    if gate != found.get("gate"):
        store.put_bytes(key, json.dumps(found | {"gate": gate}, indent=2, ensure_ascii=False).encode())
    return Decision(result, candidate.total.accuracy)
