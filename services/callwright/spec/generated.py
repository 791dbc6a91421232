"""The files that `callwright crd --write` generates: the CRD, docs/finetune.md, each chart's schema and README."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from callwright.spec import chart_values, crd
from callwright.spec.model import API_VERSION, Engine, FineTuneSpec
from callwright.spec.status import Status

_CHARTS: tuple[tuple[str, type[BaseModel] | None], ...] = (
    ("callwright", None), ("finetune", FineTuneSpec), ("serving", Engine),
)  # fmt: skip
"""Each chart, and the model that its values embed."""


def files(root: Path) -> dict[Path, str]:
    """Return the text of every generated file of the checkout at `root`, by its path."""
    made = {
        root / "charts/callwright/files/finetunes.callwright.io.yaml": crd.render(),
        root / "docs/finetune.md": page(),
    }
    for chart, model in _CHARTS:
        folder = root / "charts" / chart
        text = (folder / "values.yaml").read_text(encoding="utf-8")
        schema = json.loads((folder / "values.schema.json").read_text(encoding="utf-8"))
        if model:
            schema["$defs"] = definitions(model)
        chart_values.describe(schema, text)
        made[folder / "values.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        made[folder / "README.md"] = chart_values.readme((folder / "README.md").read_text(encoding="utf-8"), text)
    return made


def definitions(model: type[BaseModel]) -> dict[str, Any]:
    """`model` and what it refers to, for the `$defs` of a JSON Schema."""
    schema = model.model_json_schema(by_alias=True)
    inner: dict[str, Any] = schema.pop("$defs", {})
    return inner | {schema["title"]: schema}


def page() -> str:
    """Return the reference of the document as Markdown: every field with its type, default and meaning."""
    lines = [
        "# FineTune",
        "",
        f"`apiVersion: {API_VERSION}`, `kind: FineTune`. Generated from `callwright.spec` by `callwright crd --write`.",
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
    """Return the model behind a field, if there is one, and the field's type in words."""
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
