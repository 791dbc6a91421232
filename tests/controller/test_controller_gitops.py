"""Git owns the RayService, and the controller its version: two managers of one object, by server-side apply.

Against the real API server, with the chart rendered as Argo CD and Flux render it, under the controller's role.
"""

from typing import Any

import pytest
import yaml

from callwright.controller import rollout, serving
from callwright.controller.cluster import RAY_SERVICE, Cluster
from callwright.errors import InvalidInput
from callwright.spec.model import Canary
from callwright.store import Registry, Store
from cast import SERVICE, Play
from manifests import SERVING, only, render

Object = dict[str, Any]


def sync(play: Play, version: str = "", **serve: Any) -> Object:
    """Apply what Git has, as Argo CD and Flux do; a field that another manager owns is a conflict here."""
    values = SERVING | {
        "gitOps": True,
        "fullnameOverride": SERVICE,
        "model": {"name": "weather", "version": version},
        "serve": serve,
    }
    made = only(render("serving", values, namespace=play.namespace), "RayService")
    path, query = RAY_SERVICE.path(play.namespace, SERVICE), {"fieldManager": "argocd-controller"}
    return play.cluster._call("PATCH", path, body=made, content="application/apply-patch+yaml", query=query) or {}


def args(play: Play) -> Object:
    (application,) = yaml.safe_load(play.service()["spec"].get("serveConfigV2", "{applications: [{args: {}}]}"))[
        "applications"
    ]
    found: Object = application["args"]
    return found


def wait_for_settings(play: Play, version: str, target: int) -> None:
    """Until the RayService is to serve that version, with that many requests per replica."""

    def settled() -> bool:
        found = args(play)
        return [each["version"] for each in found.get("models", ())] == [version] and (
            found["targetOngoingRequests"] == target
        )

    play.wait_until(settled, f"{version} with {target}")


def owners(service: Object) -> dict[str, set[str]]:
    """The fields of `spec` that each manager owns."""
    fields = service["metadata"]["managedFields"]
    return {each["manager"]: set(each["fieldsV1"].get("f:spec", {})) for each in fields if "subresource" not in each}


def test_git_and_the_controller_do_not_fight(play: Play, store: Store, controller: None) -> None:
    sync(play)
    wait_for_settings(play, "promoted", 32)
    play.apply(play.document(deploy={"service": SERVICE}))
    run = play.finish()
    wait_for_settings(play, run, 32)
    sync(play, targetOngoingRequests=8, maxReplicas=3)  # in the middle of the rollout
    wait_for_settings(play, run, 8)
    play.rolled_out()
    play.wait_for("Promoted")
    assert Registry(store).promoted("weather") == run

    generation = play.service()["metadata"]["generation"]
    for _ in range(3):
        assert sync(play, targetOngoingRequests=8, maxReplicas=3)["metadata"]["generation"] == generation
    managed = owners(play.service())
    assert "f:serveConfigV2" in managed["callwright"]
    assert "f:serveConfigV2" not in managed["argocd-controller"]
    assert "f:rayClusterConfig" in managed["argocd-controller"]
    sync(play, targetOngoingRequests=9)
    wait_for_settings(play, run, 9)

    sync(play, version="v9")
    wait_for_settings(play, "v9", 32)
    with pytest.raises(InvalidInput, match=r"got model\.version v9 in Git, which pins it"):
        rollout.put_version(play.cluster, play.service(), model="weather", version=run, store=store.url)
    sync(play, version="v10")
    wait_for_settings(play, "v10", 32)
    sync(play)
    play.cluster.merge(RAY_SERVICE, play.namespace, SERVICE, {"spec": {"serveConfigV2": None}})
    wait_for_settings(play, "promoted", 32)


def with_two_versions(play: Play, store: Store) -> Registry:
    """The first of them promoted."""
    for version in ("v1", "v2"):
        play.publish("weather", version)
    registry = Registry(store)
    registry.promote("weather", "v1")
    return registry


def test_a_version_that_does_not_start_is_taken_back_with_the_settings_of_now(
    play: Play, store: Store, cluster: Cluster
) -> None:
    registry = with_two_versions(play, store)
    target = rollout.Target(
        "weather", "v2", store.url, "a test", lambda expect: registry.promote("weather", "v2", expect=expect)
    )
    sync(play)
    for begun in (False, True):
        rollout.advance(cluster, play.service(), target, registry, begun=begun, now="2026-01-01T01:00:00Z")
        sync(play, targetOngoingRequests=8)
        rollout.settle(cluster, play.service())
        assert [each["version"] for each in args(play)["models"]] == ["promoted" if begun else "v2"]
        assert args(play)["targetOngoingRequests"] == 8
        play.rolled_out("DEPLOY_FAILED")
    assert registry.promoted("weather") == "v1"


def test_a_sync_leaves_a_canary_where_it_is_with_the_settings_of_now(
    play: Play, store: Store, cluster: Cluster
) -> None:
    registry = with_two_versions(play, store)
    asked = Canary(weight=20)
    target = rollout.Target("weather", "v2", store.url, "a test", registry.promotable, canary=asked)
    sync(play)
    rollout.advance(cluster, play.service(), target, registry, begun=False, now="2026-01-01T01:00:00Z")
    sync(play, targetOngoingRequests=8, maxReplicas=10)
    rollout.settle(cluster, play.service())
    tried, standing = yaml.safe_load(play.service()["spec"]["serveConfigV2"])["applications"]
    assert [app["args"]["models"][0]["version"] for app in (tried, standing)] == ["v2", "promoted"]
    assert [app["args"]["targetOngoingRequests"] for app in (tried, standing)] == [8, 8]
    assert [app["args"]["maxReplicas"] for app in (tried, standing)] == [2, 10]
    generation = play.service()["metadata"]["generation"]
    rollout.settle(cluster, play.service())
    assert play.service()["metadata"]["generation"] == generation


@pytest.mark.parametrize("version", ["", "promoted"])
def test_versions_of_now_stand_in_for_those_that_git_leaves_open(version: str) -> None:
    app = {"import_path": serving.IMPORT_PATH}

    def text(one: str, two: str, **more: Any) -> str:
        models = [{"name": "one", "version": one}, {"name": "two", "version": two}]
        return yaml.safe_dump({"applications": [app | {"args": {"models": models} | more}]})

    kept = serving.with_versions_of(text(version, "v7", cpus=3), text("v1", "v2"))
    assert yaml.safe_load(kept) == yaml.safe_load(text("v1", "v7", cpus=3))
    for current in ("", text("", ""), "applications: []"):
        assert serving.with_versions_of(text(version, "v7"), current) == text(version, "v7")
