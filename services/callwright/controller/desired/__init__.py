"""From a FineTune document to the Kubernetes objects of its run: pure functions, no clock, no cluster.

`run` says names, labels and the ConfigMap, `train` the RayJob, `jobs` preparation, merge and evaluation, over `pods`,
which says what every pod has in common, `network` who reaches them. Does not know what exists, nor in which order the
objects are made.
"""

from callwright.controller.desired.jobs import evaluation_job, merge_job, preparation_job
from callwright.controller.desired.network import network_policy
from callwright.controller.desired.run import FINE_TUNE_LABEL, MAKES, RUN_LABEL, STAGE_LABEL, Manifest, Run
from callwright.controller.desired.train import ray_job

__all__ = [
    "FINE_TUNE_LABEL", "MAKES", "RUN_LABEL", "STAGE_LABEL", "Manifest", "Run", "evaluation_job", "merge_job",
    "network_policy", "preparation_job", "ray_job",
]  # fmt: skip
