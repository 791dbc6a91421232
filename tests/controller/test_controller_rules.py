"""The CRD's rules in a real API server, against our own check of the same document: both take it, or both refuse it."""

import json
from typing import Any

import pytest

from callwright import spec
from callwright.errors import InvalidInput
from cast import Play

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
        ({"cluster": {"mounts": [{"path": "/tmp", "claim": "c"}]}}, "no mount can be in"),
        ({"cluster": {"mounts": [{"path": "/data/a", "claim": "c"}]}}, "no mount can be in"),
        ({"cluster": {"mounts": [{"path": "/a", "claim": "c"}, {"path": "/a", "claim": "d"}]}}, "no mount can be in"),
        ({"cluster": {"mounts": [{"path": "/a/b", "claim": "c"}, {"path": "/a", "claim": "c"}]}}, "no mount can be in"),
        ({"cluster": {"mounts": [{"path": "/a", "claim": "c"}, {"path": "/ab", "claim": "c"}]}}, None),
        ({"cluster": {"mounts": [{"path": "/a/../b", "claim": "c"}]}}, "path"),
        ({"resources": {"tolerations": [{"effect": "NoSchedule"}]}}, "needs the operator Exists"),
        ({"resources": {"tolerations": [{"operator": "Exists", "value": "a"}]}}, "takes no value"),
        ({"resources": {"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b"}]}}, None),
        ({"resources": {"memoryPerWorker": "64000000K"}}, "memoryPerWorker"),
        ({"resources": {"memoryPerWorker": "0Gi"}}, "memoryPerWorker"),
        ({"resources": {"memoryPerWorker": "1.5Gi", "nodeSelector": {"a": "b"}}}, None),
        ({"resources": {"nodeSelector": {"a": "b c"}}}, "nodeSelector"),
        ({"store": "s3://b/team#1"}, "store"),
        ({"store": "s3://"}, "store"),
        ({"store": "gs:///prefix"}, "store"),
        ({"store": "file://data"}, "store"),
        ({"store": "file:data"}, "store"),
        ({"store": "s3://b"}, None),
        ({"store": "file:///data/a"}, None),
        ({"resources": {"workers": 2}, "train": {"sequencesPerStep": 6, "batchSize": 3}}, None),
        ({"resources": {"workers": 2}, "train": {"sequencesPerStep": 9, "batchSize": 3}}, "multiple of"),
        ({"resources": {"workers": 5}}, "multiple of"),
        ({"resources": {"workers": 8, "gpusPerWorker": 1, "gpusPerPod": 8}}, None),
        ({"resources": {"workers": 4, "gpusPerWorker": 2, "gpusPerPod": 4}}, None),
        ({"resources": {"workers": 8, "gpusPerWorker": 1, "gpusPerPod": 3}}, "gpusPerPod"),
        ({"resources": {"workers": 2, "gpusPerWorker": 1, "gpusPerPod": 8}}, "gpusPerPod"),
        ({"resources": {"workers": 8, "gpusPerWorker": 0.5, "gpusPerPod": 4}}, "gpusPerPod"),
        ({"resources": {"workers": 8, "gpusPerPod": 8}}, "gpusPerPod"),
        ({"deploy": {"minReplicas": 2, "maxReplicas": 2}}, None),
        ({"deploy": {"minReplicas": 3, "maxReplicas": 2}}, "minReplicas"),
        ({"deploy": {"service": "s", "canary": {}}}, None),
        ({"deploy": {"service": "s", "canary": {"weight": 50, "maxErrorRate": 0.01}}}, None),
        ({"deploy": {"service": "s", "canary": {"weight": 51}}}, "weight"),
        ({"deploy": {"service": "s", "canary": {"maxErrorRate": 1.5}}}, "maxErrorRate"),
        ({"deploy": {"canary": {"weight": 10}}}, "deploy.canary needs deploy.service"),
        ({"deploy": {"service": "s", "canary": {}}, "evaluate": {"promote": "manual"}}, "deploy.canary needs"),
    ],
)
def test_rules_say_what_the_controller_would(play: Play, parts: dict[str, Any], said: str | None) -> None:
    document = play.document(**parts)
    if said is None:
        play.apply(document)
        spec.parse(json.dumps(document))
        return
    with pytest.raises(InvalidInput, match=f"is invalid: .*{said}"):
        play.apply(document)
    with pytest.raises(InvalidInput, match=said.replace(" ", ".*") if said != "multiple of" else "multiple"):
        spec.parse(json.dumps(document))
