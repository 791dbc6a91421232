"""The CRD's CEL rules against our own check, on documents as a real API server has filled in their defaults.

The API server of these tests is too old to apply CEL. What newer ones would say, CEL's own implementation says here:
that a rule compiles, names fields which are always there, and agrees with `callwright.spec`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cast import Play
from cel_expr_python import cel

from callwright import spec
from callwright.controller.cluster import FINE_TUNE
from callwright.errors import InvalidInput
from callwright.spec import crd

SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
CEL = cel.NewEnv(variables={"self": cel.Type.DYN})


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
    """Whether a rule holds; fails where it is no CEL, gives no truth value, or reads a field that is not there."""
    result = CEL.compile(rule).eval(data={"self": this})
    assert result.type() == cel.Type.BOOL, f"{rule}: {result.value()}"
    return bool(result.value())


@pytest.mark.parametrize(("rule", "said"), [("self.least <= self.most", "Key not found"), ("self.least", "7")])
def test_a_rule_that_gives_no_truth_is_told(rule: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        holds(rule, {"least": 7})
    with pytest.raises(RuntimeError, match="Syntax error"):
        holds(f"{rule} <=", {"least": 7, "most": 8})


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
