"""From a FineTune document to the Kubernetes objects of its run: pure functions, no clock, no cluster.

A module for each stage, over `run` (names, labels) and `pods` (what every pod has in common). Does not know what
exists, nor in which order the objects are made.
"""

from callwright.controller.desired.document import config_map
from callwright.controller.desired.evaluate import evaluation_job
from callwright.controller.desired.merge import merge_job
from callwright.controller.desired.run import FINE_TUNE_LABEL, RUN_LABEL, STAGE_LABEL, Manifest, Run
from callwright.controller.desired.train import ray_job

__all__ = [
    "FINE_TUNE_LABEL", "RUN_LABEL", "STAGE_LABEL", "Manifest", "Run", "config_map", "evaluation_job", "merge_job",
    "ray_job",
]  # fmt: skip
