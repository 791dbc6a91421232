"""The merge as a Job: adapter and base become a published version."""

from callwright.controller.desired import pods
from callwright.controller.desired.run import Manifest, Run

STAGE = "merge"


def merge_job(run: Run) -> Manifest:
    """One pod, without GPUs."""
    container = pods.container(run, "merge", run.config.images.merger, run.config.pods.merge)
    return pods.job(run, STAGE, pods.pod(run, STAGE, [container | {"command": run.command("merger")}]))
