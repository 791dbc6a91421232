"""The CRD's CEL rules against our own check, on documents as a real API server has filled in their defaults.

The API server of these tests is too old to apply CEL. What newer ones would say is read here by a tiny reader of the
few words that our rules use: that a rule names fields which are always there, and agrees with `callsmith.spec`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cast import Play

from callsmith import spec
from callsmith.controller.cluster import FINE_TUNE
from callsmith.errors import InvalidInput
from callsmith.spec import crd

SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def broken(schema: dict[str, Any], value: Any) -> Iterator[str]:
    """Messages of the rules that `value` breaks."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if not holds(rule["rule"], value):
            yield rule["message"]
    for key, child in schema.get("properties", {}).items():
        if key in value:
            yield from broken(child, value[key])
    for item in value if schema.get("type") == "array" else ():
        yield from broken(schema["items"], item)


def holds(rule: str, this: dict[str, Any]) -> bool:
    """Whether a rule holds; `KeyError` where it reads a field that is not there, as CEL's own error."""

    def at(path: str) -> Any:
        value: Any = this
        for key in path.split("."):
            value = value[key]
        return value

    text = re.sub(r"has\(self\.(\w+)\)", lambda found: str(found[1] in this), rule)
    text = re.sub(r"self\.([\w.]+)", lambda found: repr(at(found[1])), text)
    text = re.sub(r"!(?!=)", " not ", text.replace("&&", " and ").replace("||", " or "))
    assert re.fullmatch(r"(True|False|not|and|or|\d+|[-+*%()=!<> ])+", text), f"{rule}: read as {text}"
    return bool(eval(text))


SOURCE = {"path": "p"}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, None),
        ({"data": {"sources": [SOURCE | {"count": 3}, SOURCE | {"ratio": 0.5}]}}, None),
        ({"data": {"sources": [SOURCE, SOURCE | {"count": 3, "ratio": 0.5}]}}, "count and ratio"),
        ({"cluster": {"mounts": [{"path": "/a", "configMap": "c"}, {"path": "/b", "claim": "c"}]}}, None),
        ({"cluster": {"mounts": [{"path": "/a"}]}}, "either configMap or claim"),
        ({"cluster": {"mounts": [{"path": "/a", "configMap": "c", "claim": "c"}]}}, "either configMap or claim"),
        ({"resources": {"workers": 2}, "train": {"sequencesPerStep": 6, "batchSize": 3}}, None),
        ({"resources": {"workers": 2}, "train": {"sequencesPerStep": 9, "batchSize": 3}}, "multiple of"),
        ({"resources": {"workers": 5}}, "multiple of"),
        ({"deploy": {"minReplicas": 2, "maxReplicas": 2}}, None),
        ({"deploy": {"minReplicas": 3, "maxReplicas": 2}}, "minReplicas"),
    ],
)
def test_rules_say_what_the_controller_would(play: Play, parts: dict[str, Any], said: str | None) -> None:
    play.apply(play.document(**parts))
    stored = play.cluster.get(FINE_TUNE, play.namespace, "weather")
    assert stored is not None
    found = list(broken(SCHEMA, stored["spec"]))
    document = {key: stored[key] for key in ("apiVersion", "kind", "metadata", "spec")}
    if said is None:
        assert found == []
        spec.parse(json.dumps(document))
        return
    assert len(found) == 1
    assert said in found[0]
    with pytest.raises(InvalidInput, match=said.replace(" ", ".*") if said != "multiple of" else "multiple"):
        spec.parse(json.dumps(document))
