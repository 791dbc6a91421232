"""Generates the FineTune CustomResourceDefinition from the pydantic models.

Kubernetes asks for a structural OpenAPI v3.0 schema: no references, no unions, bounds in the v3.0 notation. Rules that
hold between fields are CEL expressions (`_RULES`); each stands in a model's validator too.
"""

from typing import Any

import yaml
from pydantic import BaseModel

from callwright.spec.model import API_VERSION, RESERVED, FineTuneSpec, Metadata
from callwright.spec.status import Status

GROUP, VERSION = API_VERSION.split("/")
PLURAL = "finetunes"
_HEADER = "# Generated from callwright.spec by `callwright crd`; do not edit.\n"
_COPIED = "type description enum pattern minLength maxLength minItems maxItems minimum maximum".split()
"""Keywords that pydantic's JSON Schema and Kubernetes' have in common."""

# What `kubectl get` prints: title, type, path, and 1 for those that only `-o wide` shows.
_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Phase", "string", ".status.phase", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Progress", "string", ".status.progress", 0),
    ("Loss", "number", ".status.loss", 0),
    ("Accuracy", "number", ".status.accuracy", 0),
    ("Version", "string", ".status.version", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Run", "string", ".status.run", 1),
    ("Message", "string", ".status.message", 1),
)

# CEL rules and their messages, by the path of the object that they check; "[]" is an array's item. A rule must not
# check an object with a default: the API server evaluates it on the default alone, before its fields are filled in.
_RULES: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {
    ("spec",): (
        (
            "self.train.sequencesPerStep % (self.resources.workers * self.train.batchSize) == 0",
            "train.sequencesPerStep must be a multiple of resources.workers x train.batchSize",
        ),
        (
            "!has(self.resources.gpusPerPod) || (double(self.resources.gpusPerWorker) >= 1.0 && "
            "double(int(self.resources.gpusPerWorker)) == double(self.resources.gpusPerWorker) && "
            "self.resources.gpusPerPod % int(self.resources.gpusPerWorker) == 0 && "
            "(self.resources.workers * int(self.resources.gpusPerWorker)) % self.resources.gpusPerPod == 0)",
            "gpusPerPod must hold whole workers, and the workers must fill whole pods",
        ),
        (
            "!has(self.deploy.canary) || (has(self.deploy.service) && self.evaluate.promote == 'auto')",
            "deploy.canary needs deploy.service, and evaluate.promote as auto",
        ),
        ("self.deploy.minReplicas <= self.deploy.maxReplicas", "minReplicas must not be above maxReplicas"),
        (
            "self.cluster.mounts.all(m, "
            "self.cluster.mounts.filter(other, (other.path + '/').startsWith(m.path + '/')).size() == 1)",
            "no mount can be in another",
        ),
    ),
    ("spec", "data", "sources", "[]"): (
        ("!(has(self.count) && has(self.ratio))", "count and ratio exclude each other; keep one"),
    ),
    ("spec", "cluster", "mounts", "[]"): (
        ("has(self.configMap) != has(self.claim)", "a mount needs either configMap or claim"),
        (f"!(self.path.split('/')[1] in {list(RESERVED)})", "no mount can be in a folder that the pod has already"),
    ),
    ("spec", "resources", "tolerations", "[]"): (
        ("has(self.key) || self.operator == 'Exists'", "a toleration without a key needs the operator Exists"),
        (
            "self.operator == 'Equal' || !has(self.value) || self.value == ''",
            "a toleration with the operator Exists takes no value",
        ),
    ),
}


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as plain data."""
    name = Metadata.model_json_schema()["properties"]["name"]
    schema = {
        "type": "object",
        "description": "A fine-tuning run: from conversations to a promoted, served model version.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "pattern": name["pattern"], "maxLength": name["maxLength"]}},
            },
            "spec": _structural(FineTuneSpec, ("spec",)),
            "status": _structural(Status, ("status",)),
        },
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": title, "type": kind, "jsonPath": path, "priority": priority}
            for title, kind, path, priority in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "FineTune",
                "listKind": "FineTuneList",
                "plural": PLURAL,
                "singular": "finetune",
                "shortNames": ["ft"],
                "categories": ["callwright"],
            },
            "versions": [version],
        },
    }


def render() -> str:
    """Return the CustomResourceDefinition as YAML, byte for byte what stands in the chart."""
    return _HEADER + yaml.safe_dump(definition(), sort_keys=False, width=120, allow_unicode=True)


def _structural(model: type[BaseModel], path: tuple[str, ...]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    return _node(schema, schema.get("$defs", {}), path)


def _node(node: dict[str, Any], models: dict[str, dict[str, Any]], path: tuple[str, ...]) -> dict[str, Any]:
    """Makes one node of pydantic's schema structural; a reference is replaced by its target, its siblings kept."""
    if "$ref" in node:
        target = models[node["$ref"].rsplit("/", 1)[-1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        # "or null" goes: the API server drops a null where a field is not nullable, so absent is the only spelling.
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return _node({**branches[0], **rest}, models, path)
    if branches:  # a true union, which a structural schema can't say: the controller checks it
        return {"description": _text(node), "x-kubernetes-preserve-unknown-fields": True, **_default(node, path)}
    made: dict[str, Any] = {key: node[key] for key in _COPIED if key in node}
    if "description" in made:
        made["description"] = _text(node)
    if "const" in node:
        made["enum"] = [node["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            made |= {bound: node[exclusive], exclusive: True}
    made |= _default(node, path)
    match node.get("type"):
        case "array":
            made["items"] = _node(node["items"], models, (*path, "[]"))
            if path == ("status", "conditions"):
                made |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        case "object":
            made |= _object(node, models, path)
    return made


def _object(node: dict[str, Any], models: dict[str, dict[str, Any]], path: tuple[str, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "properties" in node:
        made["properties"] = {key: _node(value, models, (*path, key)) for key, value in node["properties"].items()}
        if node.get("required"):
            made["required"] = node["required"]
    elif isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = _node(node["additionalProperties"], models, (*path, "{}"))
    else:
        made["x-kubernetes-preserve-unknown-fields"] = True
    if path in _RULES:
        made["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in _RULES[path]]
    return made


def _default(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the default as a keyword. A model whose fields all have defaults gets `{}`: the API server fills in the
    rest.
    """
    match node.get("default"):
        case None:
            return {}
        case _ if path[0] == "status":  # what was not observed is absent
            return {}
        case dict() if "properties" in node:
            return {"default": {}}
        case default:
            return {"default": default}


def _text(node: dict[str, Any]) -> str:
    return " ".join(str(node.get("description", "")).split())
