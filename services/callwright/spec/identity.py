"""What a run, its version and its evaluation are named by: digests of what each depends on, and of nothing else.

    name = run_name(finetune)                    "demo-3f9c2a1b": the training, of base, corpora and settings
    version = version_name(finetune, name)       the same, or another one where `merge` shapes the weights
    measurement(finetune, version)               "9c1f0a77d2e4": the requests that a version is measured with

Only what differs from a field's first default counts, whether the user or the API server has written it: a field that
a later release adds names no existing run anew. Where a later release changes a default, a document that has the first
one written into it keeps its run; one that says nothing asks for another one, and `earlier_run_name` is what the run
was called that it asked for before. The gate, what training tells of itself, and what it runs on are no part of any of
them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from callwright.spec.model import FineTune

_Fields = Mapping[str, tuple[str, ...]]
# KubeRay refuses RayJob names over 47 characters: name + "-" + digest + "-train-" + attempt digits.
_NAME_LENGTH = 29
_SCHEME = "2"
"""Changes with how digests are made. Every document's run is then a new one: do not change it."""
TRAINING: _Fields = {
    "base": (),
    "dialect": (),
    "data": (),
    "lora": (),
    "train": ("log_steps", "report_to", "max_failures", "save_total_limit"),
}
"""Fields of `spec` that shape the adapter, and which of their parts do not."""
MERGE: _Fields = {"merge": ("tolerance",)}
"""Those that shape the merged weights beside it."""
MEASUREMENT: _Fields = {"evaluate": ("concurrency", "gate", "promote")}
"""Those that shape an evaluation's figures."""
FIRST_DEFAULTS: dict[str, Any] = {"FineTuneSpec.dialect": "ms_agent"}
"""The default that a field had when it was added, where that is another one today: `{"Train.seed": 42}`."""


def run_name(finetune: FineTune, corpora_digest: str = "") -> str:
    """Return the name of the run that `finetune` asks for; the same document gives the same name.

    `corpora_digest` makes a new run of changed corpora, where the caller can see them.
    """
    return _name(finetune, _digest(finetune.model_name, _chosen(finetune, TRAINING), corpora_digest))


def earlier_run_name(finetune: FineTune, corpora_digest: str = "") -> str:
    """Return the name that `run_name` gave while every default was the first one; for most documents the same."""
    chosen = _chosen(finetune, TRAINING, said=True)
    return _name(finetune, _digest(finetune.model_name, chosen, corpora_digest))


def version_name(finetune: FineTune, run: str) -> str:
    """Return the name of the version that the run's adapter becomes: the run's own where `merge` is as it comes."""
    settings = _chosen(finetune, MERGE)
    return _name(finetune, _digest(run, settings)) if settings else run


def measurement(finetune: FineTune, version: str) -> str:
    """Return what tells evaluations of `version` apart: 12 hexadecimal digits."""
    return _digest(version, _chosen(finetune, MEASUREMENT))[:12]


def _name(finetune: FineTune, digest: str) -> str:
    name = finetune.metadata.name
    prefix = name if name[0].isalpha() else f"r{name}"  # a RayJob's name is a DNS-1035 label
    return f"{prefix[:_NAME_LENGTH].rstrip('-')}-{digest[:8]}"


def _digest(*parts: object) -> str:
    text = json.dumps([_SCHEME, *parts], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _chosen(finetune: FineTune, fields: _Fields, *, said: bool = False) -> dict[str, Any]:
    """Return what the document chooses of these fields, as JSON; keys are attributes' names. `said` leaves out what it
    does not set itself.
    """
    chosen = _choices(finetune.spec, said)
    return {
        name: value for name, left_out in fields.items() if (value := _without(chosen.get(name, {}), left_out)) != {}
    }


def _without(value: Any, left_out: tuple[str, ...]) -> Any:
    return {key: part for key, part in value.items() if key not in left_out} if left_out else value


def _choices(model: BaseModel, said: bool) -> dict[str, Any]:
    """Return the fields that have another value than their first default."""
    chosen: dict[str, Any] = {}
    for name, field in sorted(type(model).model_fields.items()):
        value, default = getattr(model, name), field.get_default(call_default_factory=True)
        first = FIRST_DEFAULTS.get(f"{type(model).__name__}.{name}", default)
        if said and name not in model.model_fields_set:
            continue
        if isinstance(value, BaseModel):
            if inner := _choices(value, said):
                chosen[name] = inner
        elif value == first:
            continue
        elif isinstance(value, tuple) and any(isinstance(each, BaseModel) for each in value):
            chosen[name] = [_choices(each, said) for each in value]
        else:
            chosen[name] = model.model_dump(mode="json", include={name})[name]
    return chosen
