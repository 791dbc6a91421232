"""A client of the Kubernetes API server: get, find, apply, create, merge, delete and log, for any kind.

    cluster, namespace = connect()
    cluster.get(FINE_TUNE, namespace, "weather")

Maps HTTP failures to Callwright's errors. Objects are plain dicts; blocking; thread-safe.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kubernetes import client, config
from urllib3 import Retry
from urllib3.exceptions import HTTPError
from yaml import YAMLError

from callwright.errors import CallwrightError, Conflict, InvalidInput, StageFailed, Unavailable

Object = dict[str, Any]
FIELD_MANAGER = "callwright"
_TIMEOUT_SECONDS = 30
_BUSY_SECONDS = 300
"""Most seconds that an API server's `Retry-After` is heeded."""
_BROKEN = (HTTPError, OSError, client.ApiException)  # the last one for TLS alone
_BY_ROLE = re.compile(r'User "[^"]*" cannot ')
"""How RBAC words its refusal, as opposed to admission, which also answers 403."""
_BY_ADMISSION = re.compile(r'admission webhook "[^"]*" denied the request|AdmissionPolicy \'[^\']*\' with binding')
"""How a webhook or a policy is quoted, which chooses the status itself."""
_AGAIN = Retry(
    2, status_forcelist=(500, 502, 503, 504), allowed_methods=None, backoff_factor=0.1, raise_on_status=False,
    respect_retry_after_header=False,
)  # fmt: skip
"""Every request may be made again: names are fixed, and what depends on what was read is compared by the server."""


@dataclass(frozen=True)
class Kind:
    """Where the API server keeps the objects of a kind."""

    api: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Return the URL path of one object, or of the collection."""
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
WORKLOAD = Kind("kueue.x-k8s.io/v1beta2", "workloads")


class NoAnswer(Unavailable):
    """The API server does not answer, or not whole."""


class TooManyRequests(NoAnswer):
    """The API server asks to come back later, in so many seconds."""

    def __init__(self, message: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(message)


class Forbidden(StageFailed):
    """The role of the client does not allow the request."""


class NotAdmitted(StageFailed):
    """A quota, a policy or a webhook of the cluster refuses the object."""


class KindMissing(StageFailed):
    """The API server does not know the kind."""


_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(context: str | None = None) -> tuple["Cluster", str]:
    """Return the API server of the pod, else of the kubeconfig, with its namespace. Raises `InvalidInput` without
    either.
    """
    settings = client.Configuration()
    try:
        if context is None and _POD_NAMESPACE.exists():
            config.load_incluster_config(client_configuration=settings)
            return Cluster.at(settings), _POD_NAMESPACE.read_text(encoding="utf-8").strip()
        config.load_kube_config(context=context, client_configuration=settings)
        contexts, active = config.list_kube_config_contexts()
        chosen = next((each for each in contexts if each["name"] == context), active)
        return Cluster.at(settings), chosen["context"].get("namespace", "default")
    except config.ConfigException as error:
        raise InvalidInput(f"finding the cluster: {error}; expected a kubeconfig: set KUBECONFIG") from None
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise InvalidInput(f"finding the cluster: got no kubeconfig: {said}; mend it, or set KUBECONFIG") from None


class Cluster:
    """One API server."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    def at(cls, settings: client.Configuration) -> Self:
        """Return the API server of `settings`; a request that breaks is made again, twice, at once."""
        settings.retries, settings.connection_pool_maxsize = _AGAIN, 32
        return cls(client.ApiClient(settings))

    def version(self) -> Object:
        """Return what the API server says of its version."""
        return self._call("GET", "/version") or {}

    def resources(self, api: str) -> set[str]:
        """Return the plurals of the kinds of a group's version. Raises `KindMissing`."""
        found = self._call("GET", f"/apis/{api}") or {}
        return {each["name"] for each in found.get("resources") or ()}

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return the object, or None where there is none."""
        return self._call("GET", kind.path(namespace, name), missing_ok=True)

    def find(self, kind: Kind, namespace: str | None, *, labels: dict[str, str] | None = None) -> list[Object]:
        """Return the objects with these labels, in one namespace or in all."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        return self.list(kind, namespace, selector=selector)[0]

    def warnings(self, namespace: str, name: str) -> list[Object]:
        """Return the warnings that the cluster has told of the object of that name, of whatever kind."""
        query = {"fieldSelector": f"type=Warning,involvedObject.name={name}"}
        found = self._call("GET", EVENT.path(namespace), query=query) or {}
        return [*(found.get("items") or ())]

    def list(self, kind: Kind, namespace: str | None, *, selector: str = "") -> "tuple[list[Object], str]":
        """Return the objects that the label selector finds, and the list's version, from which on they can be
        watched.
        """
        found = self._call("GET", kind.path(namespace), query={"labelSelector": selector} if selector else {}) or {}
        return [*(found.get("items") or ())], found.get("metadata", {}).get("resourceVersion", "")

    def watch(
        self, kind: Kind, namespace: str | None, *, selector: str = "", version: str, seconds: int
    ) -> Iterator[tuple[str, Object]]:
        """Yield what happens to the objects after `version`, for so many seconds: ADDED, MODIFIED, DELETED or BOOKMARK.

        Raises `NoAnswer` when the stream breaks, and when `version` is too old.
        """
        path = kind.path(namespace)
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
        query |= {"timeoutSeconds": str(seconds)} | ({"labelSelector": selector} if selector else {})
        for line in self._lines(path, query, what=f"WATCH {path}", silent_seconds=seconds + _TIMEOUT_SECONDS):
            event = _read(line, f"WATCH {path}")
            changed = event.get("object")
            if event.get("type") == "ERROR" or not isinstance(changed, dict) or "metadata" not in changed:
                raise NoAnswer(f"WATCH {path}: got {changed!s:.200}")
            yield event["type"], changed

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
        """Yield the last `lines` lines of a container's log, and with `follow` the new lines as they come."""
        query = {"container": container, "tailLines": str(lines)} | ({"follow": "true"} if follow else {})
        for line in self._lines(f"{POD.path(namespace, pod)}/log", query, what=f"reading the log of {pod}"):
            yield line.decode(errors="replace")

    def _lines(
        self, path: str, query: dict[str, str], *, what: str, silent_seconds: float | None = None
    ) -> Iterator[bytes]:
        """Yield the lines of a streamed answer as they come. Raises `NoAnswer` after a silence of
        `silent_seconds`.
        """
        request = self._api.param_serialize(
            "GET", path, query_params=[*query.items()], header_params={}, auth_settings=["BearerToken"]
        )
        timeout = (_TIMEOUT_SECONDS, silent_seconds) if silent_seconds else None
        try:
            response = self._api.call_api(*request, _request_timeout=timeout).response  # streamed: not read yet
            try:
                if response.status >= 300:
                    raise _failure("GET", path, response.status, response.read(), response.headers)
                rest = b""
                for block in response.stream(8192):
                    *whole, rest = (rest + block).split(b"\n")
                    yield from whole
                if rest:
                    yield rest
            finally:
                response.close()
        except _BROKEN as error:
            raise NoAnswer(f"{what}: {type(error).__name__}") from error

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
        except _BROKEN as error:
            raise NoAnswer(f"{method} {path}: the API server does not answer: {type(error).__name__}") from error
        if (missing_ok and response.status == 404 and data.startswith(b"{")) or (
            existing_ok and response.status == 409 and _status(data).get("reason") == "AlreadyExists"
        ):
            return None
        if response.status >= 300:
            raise _failure(method, path, response.status, data, response.getheaders())
        return _read(data, f"{method} {path}")


def _read(data: bytes, what: str) -> Object:
    """Return the object that an answer holds. Raises `NoAnswer` where it was cut off."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoAnswer(f"{what}: got {len(data)} bytes that are no JSON object")
    return found


def _status(data: bytes) -> Object:
    """Return the `Status` by which the API server says what failed; empty where somebody else answered."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _failure(method: str, path: str, status: int, data: bytes, headers: Mapping[str, str]) -> CallwrightError:
    """Return the error of an HTTP failure, in the API server's own words."""
    words = _status(data).get("message") or data[:200].decode(errors="replace").strip()
    message = f"{method} {path}: {status} {words}"
    later = headers.get("Retry-After", "")
    if status in (429, 503) and later.isdecimal():
        return TooManyRequests(message, min(int(later), _BUSY_SECONDS))
    match status:
        case 409:
            return Conflict(message)
        case 400 | 403 | 422 if _BY_ADMISSION.search(message):
            return NotAdmitted(f"{message}; change what the webhook or policy objects to, or ask whoever installed it")
        case 400 | 422:
            return InvalidInput(message)
        case 408 | 410 | 429:
            return NoAnswer(message)
        case _ if status >= 500:
            return NoAnswer(message)
        case 403:
            if not _BY_ROLE.search(message):
                mend = " to raise the quota" if "exceeded quota" in words else ""
                return NotAdmitted(f"{message}; ask whoever administers the namespace{mend}")
            return Forbidden(
                f"{message}; expected a role that allows it: check the chart's RBAC and watched namespaces, or ask "
                "whoever installed the release"
            )
        case 404:
            return KindMissing(f"{message}; expected the kind to be known: install its CustomResourceDefinition")
        case _:
            return StageFailed(message)
