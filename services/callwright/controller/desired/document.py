"""The ConfigMap of a run: the document, and the configuration of the engine that measures its candidate."""

import yaml

from callwright.controller.desired.run import SCRATCH_FOLDER, Manifest, Run
from callwright.server.trial import Trial, plan_trial

BASE_FOLDER = f"{SCRATCH_FOLDER}/base"
"""Where the evaluation's pod puts the base."""
CACHE_FOLDER = f"{SCRATCH_FOLDER}/cache"


def config_map(run: Run) -> Manifest:
    """What the pods of the run read from their folder of the specification."""
    document = run.finetune.model_dump(mode="json", by_alias=True, exclude_none=True)
    server = trial(run).server.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    data = {"finetune.yaml": _yaml(document), "server.yaml": _yaml(server)}
    return run.manifest("v1", "ConfigMap", name=run.name, stage="spec") | {"data": data}


def trial(run: Run) -> Trial:
    """What the evaluation's engine serves, exactly as on one machine."""
    return plan_trial(
        run.finetune,
        version=run.version,
        base_path=BASE_FOLDER,
        promoted=run.standing,
        store=run.store,
        cache_dir=CACHE_FOLDER,
    )


def _yaml(document: Manifest) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
