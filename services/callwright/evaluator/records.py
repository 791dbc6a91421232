"""Where evaluations stand in the object store: the whole under its run, the figures in the version's manifest.

Owns those two places. A version's manifest says which run evaluated it, so that a later candidate can be held against
the promoted version without measuring that one again.
"""

from pydantic import ValidationError

from callwright.errors import Conflict, NotFound
from callwright.evaluator.findings import Findings
from callwright.evaluator.report import Report
from callwright.store import Manifest, Registry, Store
from callwright.store.manifest import manifest_key

_ATTEMPTS = 5


def key(run: str) -> str:
    """Key of a run's evaluation."""
    return f"runs/{run}/evaluation.json"


def write(store: Store, run: str, findings: Findings) -> None:
    """Keep a run's evaluation; an earlier one is replaced."""
    store.put_bytes(key(run), findings.model_dump_json(indent=2).encode("utf-8", "replace"))


def write_figures(store: Store, name: str, version: str, run: str, findings: Findings) -> None:
    """Put the figures into the version's manifest, under `metrics.evaluation`.

    Raises `NotFound` when the version is not whole and `Conflict` when somebody keeps changing its manifest.
    """
    for _ in range(_ATTEMPTS):
        stored = store.read(manifest_key(name, version))
        manifest = Manifest.model_validate_json(stored.data)
        metrics = manifest.metrics | {"evaluation": {"run": run, **findings.summary()}}
        changed = manifest.model_copy(update={"metrics": metrics})
        try:
            store.put_bytes(
                manifest_key(name, version), changed.model_dump_json(indent=2).encode(), if_match=stored.etag
            )
        except Conflict:
            continue
        return
    raise Conflict(f"recording the evaluation of {name} {version}: its manifest keeps changing; run it again")


def read_promoted(store: Store, name: str, *, other_than: str) -> tuple[str | None, Report | None]:
    """The promoted version, if it is another one, and its report, if it was evaluated into this store."""
    registry = Registry(store)
    version = registry.promoted(name)
    if version is None or version == other_than:
        return None, None
    try:
        run = registry.manifest(name, version).metrics["evaluation"]["run"]
        return version, Findings.model_validate_json(store.get_bytes(key(run))).candidate
    except (NotFound, KeyError, TypeError, ValidationError):
        return version, None
