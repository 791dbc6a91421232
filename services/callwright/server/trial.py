"""Decides what is served while a candidate is measured: itself, its base and, where needed, the promoted version.

A laptop and a cluster serve the same. Does not know who starts the engine, who measures, or what the gate says.
"""

from dataclasses import dataclass

from callwright.errors import InvalidInput, NotFound
from callwright.server.config import ServedModel, ServerConfig
from callwright.spec import FineTune
from callwright.store import Registry


@dataclass(frozen=True)
class Trial:
    """The server of an evaluation, and the model ids in it; they differ, for no model's name has a `.` or an `@`."""

    server: ServerConfig
    candidate: str
    base: str | None
    promoted: str | None


def plan_trial(
    finetune: FineTune, *, version: str, base_path: str, promoted: str | None, store: str, cache_dir: str
) -> Trial:
    """Return the trial of `version` of the document's model; `promoted` is the version to measure beside it, if any.

    `base_path` is the folder of the base where the engine runs. The base is talked to as the candidate is: what its
    chat template gets and shows in training is said by the candidate's manifest.
    """
    name, engine = finetune.model_name, finetune.spec.deploy.engine
    models = [ServedModel(id=name, name=name, version=version, engine=engine)]
    base = f"{name}.base" if finetune.spec.evaluate.compare_base else None
    if base:
        models.append(ServedModel(id=base, path=base_path, as_version=f"{name}@{version}", engine=engine))
    beside = f"{name}@{promoted}" if promoted else None
    if beside and promoted:
        models.append(ServedModel(id=beside, name=name, version=promoted, engine=engine))
    device = "gpu" if finetune.spec.resources.gpus_per_worker else "cpu"
    server = ServerConfig(models=tuple(models), store=store, cache_dir=cache_dir, device=device)
    return Trial(server, name, base, beside)


def promoted_to_serve(finetune: FineTune, registry: Registry, *, other_than: str) -> str | None:
    """Return the promoted version, if the candidate must be measured beside it.

    None when it is the candidate itself, or when its evaluation says that every set of the document was measured: the
    evaluator then holds the candidate against that report, and no engine is needed. A run's own test split is another
    one under other data, so it is always measured.
    """
    name = finetune.model_name
    version = registry.promoted(name)
    if version is None or version == other_than:
        return None
    try:
        report = registry.evaluation(name, version)["reports"]["candidate"]
        measured = set(report["sets"])
    except (InvalidInput, KeyError, TypeError):
        return version
    except NotFound:  # it cannot be served either
        return None
    asked = {part.name for part in finetune.spec.evaluate.sets}
    return None if asked and asked <= measured else version
