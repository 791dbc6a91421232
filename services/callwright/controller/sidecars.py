"""Reads what the sidecars of a RayService tell: what they have counted, and which models the engine behind them lists.

    pods = sidecars.read(cluster, service, models)     of each pod the counts of each version
    ids = sidecars.listed(cluster, service)            of each pod that tells them

Knows how Prometheus writes metrics, and the names of ours; nothing of what the counts are for.
"""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import urllib3
from prometheus_client.parser import text_string_to_metric_families
from pydantic import Field
from urllib3.exceptions import HTTPError

from callwright.controller.cluster import POD, Cluster, Object
from callwright.spec.model import SpecModel

T = TypeVar("T")
CLUSTER_LABEL = "ray.io/cluster"
_SIDECAR_LABEL = "callwright.io/sidecar"
_PORT_NAME, _PORT = "openai", 8100
_TIMEOUT = urllib3.Timeout(connect=2.0, read=5.0)
_AT_ONCE = 8
_ASKED = 3
"""Times that a sidecar is asked for the models: during a roll one replica may serve another version than the next."""
_PIECE = 64 * 1024
_LONGEST_WORDS = 200
_LARGEST = 8 * 1024**2
"""Bytes of metrics that are read."""
_LONGEST_SECONDS = 10.0
"""How long metrics may take, all pieces together."""
_MOST = 100
"""Versions, and buckets of a version, that are read: they stand in an annotation."""
_ANSWERS, _CALLS, _MALFORMED, _FIRST_TOKENS = (
    "callwright_answers", "callwright_tool_calls", "callwright_malformed_tool_calls", "callwright_first_token_seconds",
)  # fmt: skip


class Counts(SpecModel):
    """What sidecars have counted of a version."""

    answered: int = 0
    """Requests whose answer came."""
    failed: int = 0
    """Requests whose answer failed."""
    refused: int = 0
    """Requests that the engine refused with a 4xx."""
    left: int = 0
    """Requests whose client gave up."""
    calls: int = 0
    """Tool calls that could be read."""
    malformed: int = 0
    """Tool calls that could not."""
    first_tokens: dict[str, int] = Field(default_factory=dict)
    """Streams by the time to their first token: so many took up to so many seconds, in the metric's own words."""

    def plus(self, other: "Counts", sign: int = 1) -> "Counts":
        """Return the sum of both; with a `sign` of -1 the difference."""
        numbers = {name: getattr(self, name) + sign * getattr(other, name) for name in _NUMBERS}
        edges = {**self.first_tokens, **other.first_tokens}
        tokens = {at: self.first_tokens.get(at, 0) + sign * other.first_tokens.get(at, 0) for at in edges}
        return Counts(**numbers, first_tokens=tokens)

    def since(self, before: "Counts") -> "Counts":
        """Return what has been counted since `before`: all of it where it is less, for a sidecar that began anew."""
        grown = self.plus(before, -1)
        fell = any(getattr(grown, name) < 0 for name in _NUMBERS) or any(n < 0 for n in grown.first_tokens.values())
        return self if fell else grown


_NUMBERS = ("answered", "failed", "refused", "left", "calls", "malformed")


@dataclass(frozen=True)
class Pod:
    """What the sidecar of a pod tells."""

    uid: str
    created: str
    """When the pod was made, as Kubernetes writes it."""
    counts: dict[str, Counts] | None
    """Of each version of the model; None where it does not tell."""
    problem: str = ""
    """Why it does not."""


def read(cluster: Cluster, service: Object, models: frozenset[str]) -> list[Pod]:
    """Return what the sidecars of the RayService have counted for a model that goes by the names `models`."""
    return _of_each(_pods(cluster, service), lambda http, pod: _read(http, pod, models))


def listed(cluster: Cluster, service: Object) -> dict[str, frozenset[str]]:
    """Return, for each pod whose sidecar is ready, the models' ids that the engine behind it has listed, asked a few
    times: each answer is of one of the replicas.
    """
    pods = _pods(cluster, service)
    names = [str(pod["metadata"]["name"]) for pod in pods]
    return {name: ids for name, ids in zip(names, _of_each(pods, _listed), strict=True) if ids}


def _pods(cluster: Cluster, service: Object) -> list[Object]:
    """Return the pods with a sidecar on the RayService's cluster."""
    name = (service.get("status", {}).get("activeServiceStatus") or {}).get("rayClusterName")
    if not name:
        return []
    labels = {CLUSTER_LABEL: str(name), _SIDECAR_LABEL: "true"}
    pods = cluster.find(POD, service["metadata"]["namespace"], labels=labels)
    return [pod for pod in pods if pod.get("status", {}).get("podIP") and "deletionTimestamp" not in pod["metadata"]]


def _of_each(pods: list[Object], ask: Callable[[urllib3.PoolManager, Object], T]) -> list[T]:
    with urllib3.PoolManager(timeout=_TIMEOUT, retries=False) as http, ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda pod: ask(http, pod), pods))


def _listed(http: urllib3.PoolManager, pod: Object) -> frozenset[str]:
    """Return the ids that a pod's sidecar tells at `/readyz`; none where it does not."""
    found: set[str] = set()
    try:
        for _ in range(_ASKED):
            answer = _get(http, f"{_address(pod)}/readyz")
            if answer[0] == 200:
                found.update(str(each) for each in json.loads(answer[1])["models"])
    except (HTTPError, ValueError, TypeError, LookupError):
        return frozenset()
    return frozenset(found)


def counts(text: str, models: frozenset[str]) -> dict[str, Counts]:
    """Return the counts in metrics, by version, of a model that goes by the names `models`.

    Raises `ValueError`, `OverflowError` and `LookupError` for what no sidecar writes.
    """
    found: dict[str, Counts] = {}
    families = [*text_string_to_metric_families(text)]
    if not any(family.name == _ANSWERS for family in families):
        raise ValueError("it tells no callwright_answers_total: is the sidecar of an earlier release?")
    for family in families:
        if family.name not in (_ANSWERS, _CALLS, _MALFORMED, _FIRST_TOKENS):
            continue
        for sample in family.samples:
            version = sample.labels.get("version")
            if version and sample.labels.get("model") in models and (one := _counted(sample.name, sample.labels)):
                number = int(sample.value)
                known = found.get(version, Counts())
                more = Counts(first_tokens={one: number}) if one not in _NUMBERS else Counts(**{one: number})
                found[version] = known.plus(more)
                if number < 0 or len(found) > _MOST or len(found[version].first_tokens) > _MOST:
                    raise ValueError("it tells numbers that no sidecar counts")
    return found


def _counted(sample: str, labels: Mapping[str, str]) -> str:
    """Return what a sample counts: a field of `Counts`, or the upper end of a bucket of first tokens; else nothing."""
    match sample.removesuffix("_total"), labels.get("outcome"):
        case "callwright_answers", "ok":
            return "answered"
        case "callwright_answers", "failed":
            return "failed"
        case "callwright_answers", "refused" | "left" as outcome:
            return outcome
        case "callwright_tool_calls", _:
            return "calls"
        case "callwright_malformed_tool_calls", _:
            return "malformed"
        case "callwright_first_token_seconds_bucket", _:
            float(edge := labels["le"])
            return edge
    return ""


def _read(http: urllib3.PoolManager, pod: Object, models: frozenset[str]) -> Pod:
    metadata, url = pod["metadata"], f"{_address(pod)}/metrics"
    try:
        status, text = _get(http, url)
        if status == 200:
            return Pod(metadata["uid"], metadata["creationTimestamp"], counts(text, models))
        problem = f"status {status}"
    except ValueError as error:
        problem = str(error)[:_LONGEST_WORDS]
    except (HTTPError, OverflowError, LookupError) as error:
        problem = type(error).__name__
    return Pod(metadata["uid"], metadata["creationTimestamp"], None, f"pod {metadata['name']}: {url}: {problem}")


def _get(http: urllib3.PoolManager, url: str) -> tuple[int, str]:
    """Return an answer's status and text. Raises `HTTPError`, and `ValueError` as `_text` does."""
    answer = http.request("GET", url, preload_content=False, redirect=False)
    try:
        return answer.status, _text(answer)
    finally:
        answer.close()


def _text(answer: urllib3.BaseHTTPResponse) -> str:
    """Return what a pod tells. Raises `ValueError` for more, or more slowly, than a sidecar does."""
    until, text = time.monotonic() + _LONGEST_SECONDS, bytearray()
    while piece := answer.read1(_PIECE):
        text += piece
        if len(text) > _LARGEST or time.monotonic() > until:
            raise ValueError(f"more than {_LARGEST} bytes, or {_LONGEST_SECONDS:.0f} s")
    return text.decode(errors="replace")


def _address(pod: Object) -> str:
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"].get("containers", ())]
    named = [port for each in containers for port in each.get("ports", ()) if port.get("name") == _PORT_NAME]
    host = pod["status"]["podIP"]
    return f"http://{f'[{host}]' if ':' in host else host}:{named[0]['containerPort'] if named else _PORT}"
