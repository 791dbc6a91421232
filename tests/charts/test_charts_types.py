"""What a value is, it stays in every object: a number in its digits, a string a string, a text to the character."""

import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python as helm
import pytest
import yaml

from callwright.controller.config import ControllerConfig
from callwright.server.config import ServerConfig
from callwright.sidecar.config import SidecarConfig
from manifests import CHARTS, SERVING, Object, only, render, values_of

MINIMAL: dict[str, Object] = {
    "callwright": values_of(CHARTS / "callwright/ci/tryout-values.yaml"),
    "finetune": values_of(CHARTS / "finetune/ci/inline-values.yaml"),
    "serving": SERVING
    | {
        "store": {"url": "file:///data/store", "claim": "c", "existingSecret": "s"},
        "sidecar": {"apiKeys": {"existingSecret": "k"}},
        "ingress": {"enabled": True, "host": "h", "tlsSecret": "t"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "p"}]},
        "metrics": {"serviceMonitor": {"enabled": True}, "dashboard": {"enabled": True}},
    },
}
ODD = ("123", "0123", "1e3", "0x1f", "no", "true", "null", "~", "2026-01-01", "1_000", "12:30")
"""Texts that a reader of YAML takes for something else when they stand bare."""


def merged(values: Object, path: tuple[str, ...], value: Any) -> Object:
    """The values with another one at `path`."""
    first, *rest = path
    inner = values.get(first)
    return values | {first: merged(inner if isinstance(inner, dict) else {}, tuple(rest), value) if rest else value}


def leaves(schema: Object, root: Object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Object]]:
    """Every value of a chart that is neither a list nor a mapping, by its path, with its schema."""
    for name, node in schema.get("properties", {}).items():
        found = {**root["definitions"].get(node.get("$ref", "").rpartition("/")[2], {}), **node}
        if "properties" in found:
            yield from leaves(found, root, (*path, name))
        elif "type" in found and found["type"] not in ("object", "array", "boolean") and "enum" not in found:
            yield (*path, name), found


def schema_of(chart: str) -> Object:
    schema: Object = json.loads((CHARTS / chart / "values.schema.json").read_text())
    return schema


def scalars(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar in a value, by its path; a text that is a document of YAML is looked into."""
    match value:
        case dict():
            for key, child in value.items():
                yield from scalars(key, f"{path}.{key}#")
                yield from scalars(child, f"{path}.{key}")
        case list():
            for index, child in enumerate(value):
                yield from scalars(child, f"{path}[{index}]")
        case str() if path.endswith((".serveConfigV2", ".controller.yaml")):
            yield from scalars(yaml.safe_load(value), path)
        case _:
            yield path, value


def all_scalars(chart: str, values: Object, **options: str) -> dict[str, Any]:
    made = render(chart, values, **options)
    return dict(scalars({f"{each['kind']}/{number}": each for number, each in enumerate(made)}))


NUMBERS = [
    (chart, path)
    for chart in MINIMAL
    for path, node in leaves(schema_of(chart), schema_of(chart))
    if {"integer", "number"} & set([node["type"]] if isinstance(node["type"], str) else node["type"])
    and node.get("maximum", 12345678) >= 12345678
]


@pytest.mark.parametrize(
    ("chart", "path"), NUMBERS, ids=lambda value: value if isinstance(value, str) else ".".join(value)
)
def test_a_number_keeps_its_digits(chart: str, path: tuple[str, ...]) -> None:
    values = MINIMAL[chart]
    if path == ("serve", "minReplicas"):
        values = merged(values, ("serve", "maxReplicas"), 12345678)
    if path[:2] == ("serve", "autoscaling"):
        values = merged(values, path, 1)
    if path == ("serve", "startSeconds"):
        values = merged(values, ("serve", "minReplicas"), 0)
    before, after = all_scalars(chart, values), all_scalars(chart, merged(values, path, 12345678))
    changed = [value for place, value in after.items() if before.get(place) != value and "checksum" not in place]
    changed = [value for value in changed if value != path[-1]]  # the key, which stands there only with a value
    assert changed
    for value in changed:
        assert re.search(r"\d{8}", str(value)), value  # 30 more for a pod's grace, a tenth more for workers
        assert not re.search(r"\de[+]?\d", str(value)), value


def test_the_default_length_of_an_answer_is_the_sidecar_s_flag() -> None:
    made = only(render("serving", SERVING | {"sidecar": {"defaultMaxTokens": 2048}}), "RayService")["spec"]
    command = made["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["initContainers"][0]["command"]
    assert "--default-max-tokens=2048" in command


@pytest.mark.parametrize("number", [1_000_000, 16_777_216, 12_345_678])
def test_rooms_read_large_numbers(number: int) -> None:
    serve = dict.fromkeys(("maxOngoingRequests", "drainSeconds", "forcedCallSeconds"), number)
    flags = {"max-body-bytes": number, "max-concurrent": number, "retries": 1}
    made = only(render("serving", SERVING | {"serve": serve, "sidecar": {"flags": flags}}), "RayService")["spec"]
    (application,) = yaml.safe_load(made["serveConfigV2"])["applications"]
    config = ServerConfig.model_validate(application["args"])
    assert (config.max_ongoing_requests, config.drain_seconds) == (number, number)
    worker = made["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    command = worker["initContainers"][0]["command"]
    assert config.forced_call_seconds == number
    assert {f"--max-body-bytes={number}", f"--max-concurrent={number}"} <= set(command)
    assert "--default-max-tokens" not in " ".join(command)
    assert {f"--drain-seconds={number}", f"--forced-call-seconds={number}"} <= set(command)
    assert f"--drain-seconds={number}" in worker["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert number < worker["terminationGracePeriodSeconds"] < number + 600, "and time to come and go"
    given = {"max_body_bytes": str(number), "drain_seconds": str(number)}
    assert SidecarConfig.model_validate(given).max_body_bytes == number
    runs = {"store": {"url": "s3://b"}, "runs": {"ttlSecondsAfterFinished": number, "backoffLimit": number}}
    text = only(render("callwright", runs | {"controller": {"pollSeconds": number}}), "ConfigMap")["data"]
    controller = ControllerConfig.model_validate(yaml.safe_load(text["controller.yaml"]))
    assert (controller.poll_seconds, controller.pods.backoff_limit) == (number, number)
    assert controller.pods.ttl_seconds_after_finished == number


def test_a_flag_is_what_was_given() -> None:
    flags = {"max-concurrent": 0.5, "log-level": "1e6", "retry-malformed": True, "stop": "no"}
    made = only(render("serving", SERVING | {"sidecar": {"flags": flags}}), "RayService")["spec"]["rayClusterConfig"]
    command = made["workerGroupSpecs"][0]["template"]["spec"]["initContainers"][0]["command"]
    assert {"--max-concurrent=0.5", "--log-level=1e6", "--retry-malformed=true", "--stop=no"} <= set(command)


STRINGS = [
    (chart, path)
    for chart in MINIMAL
    for path, node in leaves(schema_of(chart), schema_of(chart))
    if node["type"] == "string"
]


@pytest.mark.parametrize(
    ("chart", "path"), STRINGS, ids=lambda value: value if isinstance(value, str) else ".".join(value)
)
def test_a_string_stays_a_string(chart: str, path: tuple[str, ...]) -> None:
    before = all_scalars(chart, MINIMAL[chart])
    for odd in ODD:
        try:
            after = all_scalars(chart, merged(MINIMAL[chart], path, odd))
        except helm.HelmError:
            continue  # no such value: a URL, an image, a name that begins with a letter
        new = [value for value in after.values() if value not in before.values()]
        assert [value for value in new if not isinstance(value, str)] == [], odd


@pytest.mark.parametrize("odd", ["123", "no", "true", "1e3", "null"])
def test_release_and_namespace_stay_strings(odd: str) -> None:
    for chart, values in MINIMAL.items():
        named = values | ({} if chart == "finetune" else {"fullnameOverride": "a", "nameOverride": odd})
        for place, value in all_scalars(chart, named, release=odd, namespace=odd).items():
            if place.endswith((".name", ".namespace", "/instance", "/name")):
                assert isinstance(value, str), place


@pytest.mark.parametrize(
    ("chart", "values"),
    [
        ("callwright", {"images": {"pullSecrets": ["123"]}, "commonLabels": {"a": "no"}}),
        ("callwright", {"controller": {"namespaces": ["123"], "podLabels": {"a": "1"}, "nodeSelector": {"a": "true"}}}),
        ("finetune", {"labels": {"a": "no"}, "queue": "123"}),
        ("serving", {"model": {"name": "123", "id": "no", "aliases": ["true", "1e3"], "version": "1e5"}}),
        (
            "serving",
            {"workers": {"nodeSelector": {"a": "true"}, "podAnnotations": {"b": "1"}, "priorityClassName": "1"}},
        ),
        ("serving", {"images": {"pullSecrets": ["no"]}, "service": {"annotations": {"a": "1"}}}),
    ],
)
def test_strings_in_lists_and_mappings_stay_strings(chart: str, values: Object) -> None:
    both = dict(MINIMAL[chart])
    for key, value in values.items():
        both[key] = {**both.get(key, {}), **value} if isinstance(value, dict) else value
    before, after = all_scalars(chart, MINIMAL[chart]), all_scalars(chart, both)
    changed = [value for place, value in after.items() if before.get(place) != value]
    assert [value for value in changed if not isinstance(value, str)] == []


@pytest.mark.parametrize("release", ["qwen2.5", "123", "7b", "a.b"])
@pytest.mark.parametrize("chart", ["callwright", "serving"])
def test_a_release_that_cannot_name_a_service_is_refused(chart: str, release: str) -> None:
    with pytest.raises(helm.HelmError, match=r"would be named .*; expected one that starts with a letter"):
        render(chart, MINIMAL[chart], release=release)
    assert render(chart, MINIMAL[chart] | {"fullnameOverride": "a"}, release=release)


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "1a", "a.b", "ä"])
@pytest.mark.parametrize("chart", ["callwright", "serving"])
def test_a_name_that_cannot_name_a_service_is_refused(chart: str, name: str) -> None:
    with pytest.raises(helm.HelmError, match="would be named"):
        render(chart, MINIMAL[chart] | {"fullnameOverride": name})


def test_a_release_that_cannot_name_a_finetune_is_refused() -> None:
    values = MINIMAL["finetune"]
    with pytest.raises(helm.HelmError, match=r"would be named qwen2\.5; expected up to 52 lower-case"):
        render("finetune", {key: value for key, value in values.items() if key != "name"}, release="qwen2.5")
    assert render("finetune", values | {"name": "qwen2-5"}, release="qwen2.5")


@pytest.mark.parametrize(
    ("chart", "path"),
    [
        ("callwright", ("store", "existingSecret")),
        ("callwright", ("runs", "claim")),
        ("callwright", ("runs", "secret")),
        ("callwright", ("runs", "serviceAccount")),
        ("callwright", ("serviceAccount", "name")),
        ("callwright", ("objectStore", "storageClass")),
        ("callwright", ("controller", "priorityClassName")),
        ("finetune", ("existingSecret",)),
        ("finetune", ("serviceAccount",)),
        ("finetune", ("queue",)),
        ("serving", ("store", "claim")),
        ("serving", ("sidecar", "apiKeys", "existingSecret")),
        ("serving", ("ingress", "tlsSecret")),
        ("serving", ("workers", "priorityClassName")),
    ],
)
@pytest.mark.parametrize("name", ["A", "a_b", "a-", "a..b", "a b", "ä"])
def test_a_name_that_no_object_can_have_is_refused(chart: str, path: tuple[str, ...], name: str) -> None:
    with pytest.raises(helm.HelmError, match=path[-1]):
        render(chart, merged(MINIMAL[chart], path, name))


@pytest.mark.parametrize("sign", ["#1", "?x", "/a#b"])
def test_a_store_whose_url_would_lose_a_part_is_refused(sign: str) -> None:
    for chart in ("callwright", "serving"):
        with pytest.raises(helm.HelmError, match="url"):
            render(chart, merged(MINIMAL[chart], ("store", "url"), f"s3://bucket/team{sign}"))


TOLERANT = [
    ("callwright", ("controller", "tolerations")),
    ("serving", ("head", "tolerations")),
    ("serving", ("workers", "tolerations")),
]


@pytest.mark.parametrize(
    "toleration",
    [
        {"effect": "NoSchedule"},
        {},
        {"key": ""},
        {"key": "a", "operator": "Exists", "value": "b"},
        {"key": "a b"},
        {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3},
        {"key": "a", "tolerationSeconds": 3},
    ],
    ids=str,
)
def test_a_toleration_that_a_pod_cannot_have_is_refused(toleration: Object) -> None:
    for chart, path in TOLERANT:
        with pytest.raises(helm.HelmError, match="tolerations"):
            render(chart, merged(MINIMAL[chart], path, [toleration]))


def test_a_toleration_that_a_pod_can_have_is_taken() -> None:
    good = [
        {"operator": "Exists"},
        {"key": "a.b/c", "value": "d", "effect": "NoExecute", "tolerationSeconds": 12345678},
    ]
    for chart, path in TOLERANT:
        assert [good for each in render(chart, merged(MINIMAL[chart], path, good)) if "12345678" in str(each)]


@pytest.mark.parametrize("path", ["/dataset", "/dataset/more"])
def test_a_mount_where_the_dataset_is_is_refused(path: str) -> None:
    spec = MINIMAL["finetune"]["spec"] | {"cluster": {"mounts": [{"path": path, "claim": "c"}]}}
    with pytest.raises(helm.HelmError, match=f"spec.cluster.mounts has {path}, where the dataset is mounted"):
        render("finetune", MINIMAL["finetune"] | {"spec": spec})


@pytest.mark.parametrize("amount", ["64000000K", "1gi", "1ki", "-1Gi", "1e", "Gi", "1 Gi", ""])
def test_a_quantity_that_kubernetes_does_not_know_is_refused(amount: str) -> None:
    for chart, path in (("serving", ("workers", "memory")), ("callwright", ("runs", "scratch"))):
        with pytest.raises(helm.HelmError, match=path[-1]):
            render(chart, merged(MINIMAL[chart], path, amount))


@pytest.mark.parametrize("amount", ["64000000Ki", "64000000k", "1.5Gi", "1e3", "1E", "128974848"])
def test_a_quantity_is_taken_in_every_form(amount: str) -> None:
    made = only(render("serving", merged(MINIMAL["serving"], ("workers", "memory"), amount)), "RayService")["spec"]
    worker = made["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert worker["resources"]["limits"]["memory"] == amount


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n',
        '{"a": 1}',
        "",
        "\n\n",
        "  indented first\nthen not\n",
        "\tby a tab\n",
        "one\u2028two\u2029three\u0085four\n",
        "one\x7ftwo\x80three\n",
        "one\rtwo\r\nthree\r",
        "\ufeffmarked\n",
        "trailing blanks  \n \n\n",
        "# no comment\n--- \n...\n",
        "{{ .Values.name }} {{`x`}} ' \" \\ \\n\n",
        "你好 \U0001f600 \U000e0001\n",
        "key: [1\n",
    ],
)  # fmt: skip
def test_a_datasets_text_is_mounted_as_given(text: str) -> None:
    values = merged(MINIMAL["finetune"], ("dataset", "files"), {"tools.jsonl": text, "123": text})
    assert only(render("finetune", values), "ConfigMap")["data"] == {"tools.jsonl": text, "123": text}


REFUSED = ("\x7f", "\x80", "\x85", "\u2028", "\u2029", "\ufffe")
"""Signs that YAML may not hold, or takes for the end of a line."""


@pytest.mark.parametrize("sign", [*REFUSED, "\ufeff", "\r", "\0", "\n ", "\U000e0001"])
def test_odd_signs_in_a_document_are_kept(sign: str) -> None:
    cognition = {"name": f"a{sign}b", "author": f" a{sign}b"}
    spec = MINIMAL["finetune"]["spec"]
    values = MINIMAL["finetune"] | {"spec": spec | {"data": spec["data"] | {"selfCognition": cognition}}}
    assert only(render("finetune", values), "FineTune")["spec"]["data"]["selfCognition"] == cognition


def served_as(text: str) -> Object:
    return SERVING | {
        "model": {"name": "assistant", "id": text, "aliases": [text], "engine": {"extra": {"chat_template": text}}}
    }


@pytest.mark.parametrize("sign", ["\ufeff", "\r", "\0", "\n ", "\U000e0001"])
def test_odd_signs_in_settings_are_kept(sign: str) -> None:
    text = f"a{sign}b"
    made = only(render("serving", served_as(text)), "RayService")["spec"]
    (model,) = yaml.safe_load(made["serveConfigV2"])["applications"][0]["args"]["models"]
    assert (model["id"], model["aliases"], model["engine"]["extra"]["chat_template"]) == (text, [text], text)


@pytest.mark.parametrize("sign", REFUSED)
def test_a_sign_that_yaml_may_not_hold_is_refused_by_name(sign: str) -> None:
    with pytest.raises(helm.HelmError, match="model holds a sign that no YAML may"):
        render("serving", served_as(f"a{sign}b"))
    with pytest.raises(helm.HelmError, match="controller holds a sign that no YAML may"):
        render("callwright", MINIMAL["callwright"] | {"controller": {"podAnnotations": {"a": f"a{sign}b"}}})
