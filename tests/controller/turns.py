"""Looks of the controller in turn with what everybody else does, without kopf: quick, and each step is seen."""

from typing import Any

import pytest
import yaml
from cast import Play, evaluated, publish

from callwright.controller.cluster import JOB, RAY_JOB, RAY_SERVICE, Cluster
from callwright.controller.config import ControllerConfig, Images
from callwright.controller.look import World
from callwright.controller.reconcile import reconcile
from callwright.controller.reports import RunReports
from callwright.store import Store

SERVICE = "assistant"
_SUCCEEDED = {
    "train": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"},
    "merge": {"conditions": [{"type": "Complete", "status": "True"}]},
    "evaluate": {"conditions": [{"type": "Complete", "status": "True"}]},
}


def world_of(cluster: Cluster, store: Store) -> World:
    images = Images(trainer="t:1", merger="m:1", evaluator="e:1", server="s:1", sidecar="c:1")
    return World(cluster, ControllerConfig(store=store.url, images=images), lambda url: RunReports(Store.open(url)))


def live(
    world: World,
    play: Play,
    store: Store,
    name: str = "weather",
    *,
    until: str = "Promoted",
    but: str = "",
    model: str = "",
) -> dict[str, Any]:
    """Look and let the others act, in turn, until the phase is reached; nobody acts on the stage `but`.

    `model` is the document's, where it is not its name.
    """
    for _ in range(40):
        reconcile(world, play.namespace, name)
        if play.status(name).get("phase") == until:
            return play.status(name)
        environment(play, store, name, but=but, model=model or name)
    pytest.fail(f"not {until} after 40 looks: {play.status(name)}")


def environment(play: Play, store: Store, name: str, *, but: str, model: str) -> None:
    """One turn of everybody else: what has been started comes to its end, with what it leaves in the store."""
    run = str(play.status(name).get("run"))
    for stage, status in _SUCCEEDED.items():
        kind = RAY_JOB if stage == "train" else JOB
        labels = {"callwright.io/run": run, "callwright.io/stage": stage}
        for child in play.cluster.find(kind, play.namespace, labels=labels):
            if stage == but or child.get("status", {}).keys() & status.keys():
                continue
            if stage == "merge":
                publish(store, model, run)
            if stage == "evaluate":
                evaluated(store, run)
            play.cluster.merge(
                kind, play.namespace, child["metadata"]["name"], {"status": status}, subresource="status"
            )
    if (service := play.cluster.get(RAY_SERVICE, play.namespace, SERVICE)) and but != "deploy":
        rolled_out(play, service)


def serve_config(*models: str) -> str:
    entries = [{"id": model, "name": model, "version": ""} for model in models]
    application = {"name": "llm", "import_path": "callwright.server.app:build", "args": {"models": entries}}
    return yaml.safe_dump({"applications": [application]})


def install_service(play: Play, *models: str) -> None:
    """A RayService that serves these models, as Helm installs it."""
    play.cluster.apply(
        RAY_SERVICE,
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {"name": SERVICE, "namespace": play.namespace},
            "spec": {"serveConfigV2": serve_config(*models), "rayClusterConfig": {}},
        },
        manager="helm",
    )


def rolled_out(play: Play, service: dict[str, Any], status: str = "RUNNING", message: str = "") -> None:
    """What KubeRay writes when it has given Serve the configuration."""
    active = {"applicationStatuses": {"llm": {"status": status, "message": message}}}
    written = {"observedGeneration": service["metadata"]["generation"], "activeServiceStatus": active}
    if service.get("status") != written:
        play.cluster.merge(RAY_SERVICE, play.namespace, SERVICE, {"status": written}, subresource="status")
