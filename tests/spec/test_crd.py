"""The FineTune CRD and what else is generated from the spec: no drift, structural, and bounds that bind."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from callwright.spec import crd, generated

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("path", generated.files(ROOT), ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated.files(ROOT)[path], "run `make crd`"


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += nodes(schema[key], f"{path}[]")
    return found


def test_schema_is_structural() -> None:
    for path, node in nodes(SCHEMA):
        open_ended = node.get("x-kubernetes-preserve-unknown-fields")
        assert "type" in node or open_ended, path
        assert not {"$ref", "anyOf", "oneOf", "allOf", "const", "title", "$defs"} & set(node), path
        assert not isinstance(node.get("exclusiveMinimum"), float), f"{path}: bounds are OpenAPI v3.0's"
        if node.get("type") == "array":
            assert "items" in node, path


def test_every_field_is_described() -> None:
    for path, node in nodes(SCHEMA):
        if path.startswith((".spec", ".status")) and not path.endswith("[]") and path not in (".spec", ".status"):
            assert node.get("description"), path


def test_defaults_and_bounds_are_those_of_the_model() -> None:
    train = SCHEMA["properties"]["spec"]["properties"]["train"]
    assert train["default"] == {}
    rate = train["properties"]["learningRate"]
    assert (rate["default"], rate["minimum"], rate["exclusiveMinimum"]) == (5e-5, 0, True)
    dropout = SCHEMA["properties"]["spec"]["properties"]["lora"]["properties"]["dropout"]
    assert (dropout["maximum"], dropout["exclusiveMaximum"]) == (1, True)


def test_rules_stand_where_they_belong() -> None:
    ruled = {path: node for path, node in nodes(SCHEMA) if "x-kubernetes-validations" in node}
    assert set(ruled) == {
        ".spec", ".spec.data.sources[]", ".spec.cluster.mounts[]", ".spec.resources.tolerations[]",
    }  # fmt: skip
    assert [path for path, node in ruled.items() if "default" in node] == []  # the API server refuses such a definition


def test_printed_definition_is_what_the_chart_ships(capsys: pytest.CaptureFixture[str]) -> None:
    from callwright.cli.crd import crd as command

    command(write=False)
    assert yaml.safe_load(capsys.readouterr().out) == crd.definition()
