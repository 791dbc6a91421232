"""Kubernetes manifests: rendered by Helm, held against the real schemas, and pods against the rules that ours obey."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import pytest
import yaml

Object = dict[str, Any]
CHARTS = Path(__file__).resolve().parents[1] / "charts"
VALUE_SETS = sorted(CHARTS.glob("*/ci/*.yaml"))
"""The values that a chart is tried with, in the folder of the chart."""
SERVING: Object = {"model": {"name": "assistant"}, "store": {"url": "s3://callwright"}}
"""The least that the chart `serving` has to be told."""
MINORS = ("1.37", "1.36", "1.35")
"""Kubernetes versions that built-in kinds are held against."""
_FOREIGN = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")


def values_of(path: Path) -> Object:
    """The values of a file."""
    values: Object = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


class StrictLoader(yaml.CSafeLoader):
    """Refuses a key that stands twice in a mapping, of which Helm would silently take one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice among {keys}"
        return super().construct_mapping(node, deep)


def render(
    chart: str, values: Object, *, folder: Path = CHARTS, release: str = "release", namespace: str = "team-a"
) -> list[Object]:
    """Every object of the chart as Helm itself renders it, tests included."""
    with helm.Chart.load(folder / chart) as loaded:
        rendered = loaded.render(values, name=release, namespace=namespace)
    texts = [text for name, text in sorted(rendered.items()) if name.endswith(".yaml")]
    return [made for text in texts for made in yaml.load_all(text, Loader=StrictLoader) if made]


def only(found: list[Object], kind: str) -> Object:
    (made,) = [each for each in found if each["kind"] == kind]
    return made


def problems(manifest: Object, *, kuberay: Path) -> list[str]:
    """What is wrong with it: unknown fields count."""
    group = manifest["apiVersion"]
    if group.startswith("ray.io/"):
        validator = _kuberay(kuberay / f"{manifest['kind'].lower()}s.yaml", group.split("/")[1])
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
    if group.startswith("callwright.io/"):
        from callwright.spec import crd

        schema = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        document = {key: value for key, value in manifest.items() if key != "metadata"}
        return [f"{error.json_path}: {error.message}" for error in _strict(schema).iter_errors(document)]
    if group.startswith(_FOREIGN):
        return []  # other projects' kinds, whose schemas are not here
    return [problem for minor in MINORS for problem in _builtin(manifest, minor)]


def _builtin(manifest: Object, minor: str) -> list[str]:
    validate = pytest.importorskip("kubernetes_validate", reason="needs the package kubernetes-validate")
    try:
        validate.validate(manifest, minor, strict=True)
    except validate.ValidationError as error:
        return [f"{minor}: {'.'.join(map(str, error.path))}: {error.message}"]
    return []


@functools.cache
def _kuberay(path: Path, version: str) -> jsonschema.Draft4Validator:
    definition = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    versions = {each["name"]: each for each in definition["spec"]["versions"]}
    return _strict(versions[version]["schema"]["openAPIV3Schema"])


def _strict(schema: Object) -> jsonschema.Draft4Validator:
    """A validator that refuses what an API server would silently drop. OpenAPI v3.0's bounds are draft 4's."""
    return jsonschema.Draft4Validator(_closed(schema, root=True))


def _closed(node: Object, *, root: bool = False) -> Object:
    made = dict(node)
    if "properties" in node:
        made["properties"] = {name: _closed(child) for name, child in node["properties"].items()}
        if root:
            made["properties"]["metadata"] = {"type": "object"}
        if not node.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in node:
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            made[key] = _closed(node[key])
    if node.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def pods(value: Any, path: str = "", claims: tuple[str, ...] = ()) -> Iterator[tuple[str, Object]]:
    """Every pod specification in a manifest, with where it stands; a StatefulSet's claims are volumes of its pod."""
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield path, value | {"volumes": [*value.get("volumes", ()), *({"name": name} for name in claims)]}
            return
        claims += tuple(each["metadata"]["name"] for each in value.get("volumeClaimTemplates", ()))
        for key, child in value.items():
            yield from pods(child, f"{path}.{key}", claims if key in ("template", "spec") else ())
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from pods(child, f"{path}[{index}]")


def unsafe(pod: Object) -> list[str]:
    """How a pod breaks the rules: the restricted standard, read-only root, requests, limits, named ports, tags."""
    found: list[str] = []
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("shares the host's namespaces")
    if any("hostPath" in volume for volume in pod.get("volumes", ())):
        found.append("mounts a host path")
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        found += [f"{container['name']}: {fault}" for fault in _unsafe_container(container, pod)]
    return found


def _unsafe_container(container: Object, pod: Object) -> Iterator[str]:
    context = pod.get("securityContext", {}) | container.get("securityContext", {})
    if not (context.get("runAsNonRoot") and context.get("runAsUser", 0) > 0):
        yield "may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "writes to its root file system"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
        yield "has no requests for cpu and memory, or no memory limit"
    if any("name" not in port for port in container.get("ports", ())):
        yield "has an unnamed port"
    image = container["image"]
    if "@" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
        yield f"image {image} has no tag"
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    if missing := {mount["name"] for mount in container.get("volumeMounts", ())} - volumes:
        yield f"mounts {missing}, which the pod does not have"
