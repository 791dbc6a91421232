"""One run of a document: the names, labels and owner of all of its objects, its ConfigMap, its stages' commands."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from callwright.controller.config import ControllerConfig
from callwright.server.trial import Trial, plan_trial
from callwright.spec import API_VERSION, FineTune, measurement, version_name

Manifest = dict[str, Any]

FINE_TUNE_LABEL = "callwright.io/finetune"
RUN_LABEL = "callwright.io/run"
STAGE_LABEL = "callwright.io/stage"
MAKES = "callwright.io/makes"
"""Annotation of a Job: what comes of it, see `Run.makes`."""
_QUEUE_LABELS = "kueue.x-k8s.io/"
SPEC_FOLDER = "/etc/callwright"
"""Where pods find the run's ConfigMap."""
SCRATCH_FOLDER = "/scratch"
"""Volume where pods may write large files."""
BASE_FOLDER = f"{SCRATCH_FOLDER}/base"
"""Where the evaluation's pod puts the base."""
CACHE_FOLDER = f"{SCRATCH_FOLDER}/cache"
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where there is one, four times as fast."""


@dataclass(frozen=True)
class Run:
    """One run of a document: what to do, where, and under which names."""

    finetune: FineTune
    namespace: str
    uid: str
    name: str
    attempt: int
    config: ControllerConfig
    """That of the run's namespace."""
    store: str
    """URL of the run's store."""
    standing: str | None = None
    """Promoted version that the candidate must be measured beside, see `callwright.server.trial`."""

    @property
    def model(self) -> str:
        """Name of the model that the run makes a version of."""
        return self.finetune.model_name

    @property
    def version(self) -> str:
        """Version under which the merged model is published; a rerun publishes the same."""
        return version_name(self.finetune, self.name)

    @cached_property
    def trial(self) -> Trial:
        """What the evaluation's engine serves, exactly as on one machine."""
        return plan_trial(
            self.finetune, version=self.version, base_path=BASE_FOLDER, promoted=self.standing, store=self.store,
            cache_dir=CACHE_FOLDER,
        )  # fmt: skip

    def child(self, stage: str) -> str:
        """Return the name of the object of `stage`; a new attempt has new names, so nothing waits for deletions."""
        return f"{self.name}-{stage}" if self.attempt == 0 else f"{self.name}-{stage}-{self.attempt}"

    def makes(self, stage: str) -> str | None:
        """Return what a Job of `stage` comes to, which an edit of the document changes; None where none of the same run
        does.
        """
        match stage:
            case "merge":
                return self.version
            case "evaluate":
                return measurement(self.finetune, self.version)
            case _:
                return None

    def labels(self, stage: str) -> dict[str, str]:
        """Labels of an object: those of the document that Kueue goes by, and those of its pods.

        No other of the document's: by them Argo CD, Flux and Helm find what is theirs, and remove what they don't know.
        """
        document = self.finetune.metadata.labels
        return {key: document[key] for key in document if key.startswith(_QUEUE_LABELS)} | self.pod_labels(stage)

    def pod_labels(self, stage: str) -> dict[str, str]:
        """Labels of pods: none of the user's, by which a pod could come under somebody's Service or NetworkPolicy."""
        return {
            "app.kubernetes.io/name": "callwright",
            "app.kubernetes.io/component": stage,
            "app.kubernetes.io/managed-by": "callwright",
            FINE_TUNE_LABEL: self.finetune.metadata.name,
            RUN_LABEL: self.name,
            STAGE_LABEL: stage,
        }

    def command(self, room: str) -> list[str]:
        """Return the command of a stage whose work `room` does."""
        return [
            "python", "-m", f"callwright.{room}", "--spec", f"{SPEC_FOLDER}/finetune.yaml", "--run", self.name,
            "--store", self.store, "--workdir", f"{SCRATCH_FOLDER}/work",
        ]  # fmt: skip

    def config_map(self) -> Manifest:
        """Return what the pods read from `SPEC_FOLDER`: the document, and the configuration of the evaluation's
        engine.
        """
        document = self.finetune.model_dump(mode="json", by_alias=True, exclude_none=True)
        server = self.trial.server.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        texts = {"finetune.yaml": document, "server.yaml": server}
        data = {
            name: yaml.dump(each, Dumper=_DUMPER, sort_keys=False, allow_unicode=True) for name, each in texts.items()
        }
        return self.manifest("v1", "ConfigMap", name=self.name, stage="spec") | {"data": data}

    def manifest(self, api_version: str, kind: str, *, name: str, stage: str) -> Manifest:
        """Return an object of the run without its body: named, labelled, and gone when the document goes."""
        owner = {
            "apiVersion": API_VERSION,
            "kind": "FineTune",
            "name": self.finetune.metadata.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels(stage),
            "ownerReferences": [owner],
        }
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
