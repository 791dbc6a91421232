"""What is generated from the spec's models beside the CRD: the reference page, and the parts of the charts' schemas.

Owns which file holds what. Knows nothing of clusters.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from callsmith.spec import crd
from callsmith.spec.model import API_VERSION, Engine, FineTuneSpec
from callsmith.spec.status import Status

_EMBEDDED: tuple[tuple[str, type[BaseModel]], ...] = (("finetune", FineTuneSpec), ("serving", Engine))


def files(root: Path) -> dict[Path, str]:
    """Every generated file of the checkout at `root`, by its path."""
    made = {
        root / "charts/callsmith/files/finetunes.callsmith.io.yaml": crd.render(),
        root / "docs/finetune.md": page(),
    }
    for chart, model in _EMBEDDED:
        path = root / "charts" / chart / "values.schema.json"
        schema = json.loads(path.read_text(encoding="utf-8")) | {"$defs": definitions(model)}
        made[path] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return made


def definitions(model: type[BaseModel]) -> dict[str, Any]:
    """`model` and what it refers to, for the `$defs` of a JSON Schema."""
    schema = model.model_json_schema(by_alias=True)
    inner: dict[str, Any] = schema.pop("$defs", {})
    return inner | {schema["title"]: schema}


def page() -> str:
    """The reference of the document as Markdown: every field with its type, default and meaning."""
    lines = [
        "# FineTune",
        "",
        f"`apiVersion: {API_VERSION}`, `kind: FineTune`. Generated from `callsmith.spec` by `callsmith crd --write`.",
        "",
        "## spec",
        "",
        *_table(FineTuneSpec, "spec"),
        "",
        "## status",
        "",
        "Written by the controller.",
        "",
        *_table(Status, "status"),
    ]
    return "\n".join(lines) + "\n"


def _table(model: type[BaseModel], root: str) -> list[str]:
    schema = model.model_json_schema(by_alias=True)
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    return rows + list(_rows(schema, schema.get("$defs", {}), root))


def _rows(node: dict[str, Any], models: dict[str, Any], path: str) -> list[str]:
    rows = []
    for name, field in node.get("properties", {}).items():
        key = f"{path}.{name}"
        nested, kind = _resolved(field, models)
        default = "required" if name in node.get("required", ()) else _shown(field.get("default"))
        meaning = " ".join(str(field.get("description", "")).split()).replace("|", "\\|")
        rows.append(f"| `{key}` | {kind} | {default} | {meaning} |")
        if nested:
            rows += _rows(nested, models, f"{key}[]" if kind.startswith("list") else key)
    return rows


def _resolved(field: dict[str, Any], models: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The model behind a field, if there is one, and the field's type in words."""
    branches = [branch for branch in field.get("anyOf", [field]) if branch.get("type") != "null"]
    if len(branches) > 1:
        return None, " or ".join(_resolved(branch, models)[1] for branch in branches)
    branch = branches[0]
    if "$ref" in branch:
        return models[branch["$ref"].rsplit("/", 1)[-1]], "object"
    if "enum" in branch:
        return None, ", ".join(f"`{value}`" for value in branch["enum"])
    if "const" in branch:
        return None, f"`{branch['const']}`"
    if branch.get("type") == "array":
        nested, kind = _resolved(branch["items"], models)
        return nested, f"list of {kind}"
    return None, str(branch.get("type", "any"))


def _shown(default: object) -> str:
    match default:
        case None | {} | []:
            return ""
        case dict():
            return "as below"
        case _:
            return f"`{json.dumps(default, ensure_ascii=False)}`"
