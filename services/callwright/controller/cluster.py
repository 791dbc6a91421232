"""A client of the Kubernetes API server: get, find, apply, create, merge, delete and log, for any kind.

    cluster, namespace = connect()
    cluster.get(FINE_TUNE, namespace, "weather")

Maps HTTP failures to Callwright's errors. Objects are plain dicts; blocking; thread-safe.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from callwright.errors import CallwrightError, Conflict, InvalidInput, StageFailed, Unavailable

Object = dict[str, Any]
FIELD_MANAGER = "callwright"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Kind:
    """Where the API server keeps the objects of a kind."""

    api: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The URL path of one object, or of the collection."""
        root = f"/api/{self.api}" if "/" not in self.api else f"/apis/{self.api}"
        parts = [root, *(("namespaces", namespace) if namespace else ()), self.plural, *((name,) if name else ())]
        return "/".join(part for part in parts if part)


FINE_TUNE = Kind("callwright.io/v1alpha1", "finetunes")
CONFIG_MAP = Kind("v1", "configmaps")
POD = Kind("v1", "pods")
EVENT = Kind("v1", "events")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "networkpolicies")
JOB = Kind("batch/v1", "jobs")
RAY_JOB = Kind("ray.io/v1", "rayjobs")
RAY_SERVICE = Kind("ray.io/v1", "rayservices")


_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(context: str | None = None) -> tuple["Cluster", str]:
    """The API server of the pod, else of the kubeconfig, with its namespace. Raises `InvalidInput` without either."""
    settings = client.Configuration()
    try:
        if context is None and _POD_NAMESPACE.exists():
            config.load_incluster_config(client_configuration=settings)
            return Cluster(client.ApiClient(settings)), _POD_NAMESPACE.read_text(encoding="utf-8").strip()
        config.load_kube_config(context=context, client_configuration=settings)
        contexts, active = config.list_kube_config_contexts()
    except config.ConfigException as error:
        raise InvalidInput(f"finding the cluster: {error}; expected a kubeconfig: set KUBECONFIG") from None
    chosen = next((each for each in contexts if each["name"] == context), active)
    return Cluster(client.ApiClient(settings)), chosen["context"].get("namespace", "default")


class Cluster:
    """One API server."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none."""
        return self._call("GET", kind.path(namespace, name), missing_ok=True)

    def find(self, kind: Kind, namespace: str | None, *, labels: dict[str, str] | None = None) -> list[Object]:
        """The objects with these labels, in one namespace or in all."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        found = self._call("GET", kind.path(namespace), query={"labelSelector": selector} if selector else {})
        return list((found or {}).get("items", ()))

    def apply(self, kind: Kind, manifest: Object, *, manager: str = FIELD_MANAGER, dry_run: bool = False) -> Object:
        """Apply on the server: create the object, or set the fields that the manifest names."""
        metadata = manifest["metadata"]
        query = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        path = kind.path(metadata.get("namespace"), metadata["name"])
        return self._call("PATCH", path, body=manifest, content="application/apply-patch+yaml", query=query) or {}

    def create(self, kind: Kind, manifest: Object, *, dry_run: bool = False) -> Object | None:
        """Create the object; returns None if one of this name exists already."""
        query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        path = kind.path(manifest["metadata"].get("namespace"))
        return self._call("POST", path, body=manifest, query=query, existing_ok=True)

    def merge(self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = "") -> Object | None:
        """JSON merge patch; None where the object is gone. A `resourceVersion` in it makes it a compare-and-swap."""
        path = "/".join(part for part in (kind.path(namespace, name), subresource) if part)
        query = {"fieldManager": FIELD_MANAGER}
        return self._call(
            "PATCH", path, body=patch, content="application/merge-patch+json", query=query, missing_ok=True
        )

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete the object and, in the background, the objects it owns; does nothing if it does not exist."""
        self._call("DELETE", kind.path(namespace, name), query={"propagationPolicy": "Background"}, missing_ok=True)

    def log(self, namespace: str, pod: str, container: str, *, follow: bool, lines: int) -> Iterator[str]:
        """The last `lines` lines of a container's log, and with `follow` the new lines as they come."""
        query = {"container": container, "tailLines": str(lines)} | ({"follow": "true"} if follow else {})
        path = f"{POD.path(namespace, pod)}/log"
        request = self._api.param_serialize(
            "GET", path, query_params=list(query.items()), header_params={}, auth_settings=["BearerToken"]
        )
        try:
            response = self._api.call_api(*request).response  # streamed: not read yet
            if response.status >= 300:
                raise _failure("GET", path, response.status, response.read())
            rest = b""
            for block in response.stream(8192):
                *whole, rest = (rest + block).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            if rest:
                yield rest.decode(errors="replace")
        except (HTTPError, OSError) as error:
            raise Unavailable(f"reading the log of {pod}: {type(error).__name__}") from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content: str = "application/json",
        missing_ok: bool = False,
        existing_ok: bool = False,
    ) -> Object | None:
        request = self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=_TIMEOUT_SECONDS)
            data = response.read()
        except (HTTPError, OSError) as error:
            raise Unavailable(f"asking the API server: {method} {path}: {type(error).__name__}") from error
        if (missing_ok and response.status == 404 and data.startswith(b"{")) or (
            existing_ok and response.status == 409
        ):
            return None
        if response.status >= 300:
            raise _failure(method, path, response.status, data)
        found: Object = json.loads(data)
        return found


def _failure(method: str, path: str, status: int, data: bytes) -> CallwrightError:
    """The error of an HTTP failure, in the API server's own words."""
    try:
        words = json.loads(data).get("message", "")
    except (ValueError, AttributeError):
        words = data[:200].decode(errors="replace")
    message = f"{method} {path}: {status} {words}"
    match status:
        case 409:
            return Conflict(message)
        case 400 | 422:
            return InvalidInput(message)
        case 429 | 500 | 502 | 503 | 504:
            return Unavailable(message)
        case 403:
            return StageFailed(
                f"{message}; expected a role that allows it: check the chart's RBAC and watched namespaces"
            )
        case 404:
            return StageFailed(f"{message}; expected the kind to be known: install its CustomResourceDefinition")
        case _:
            return StageFailed(message)
