"""Documents a chart's values from the `# --` comments above them in `values.yaml`: in its schema and in its README."""

import json
import re
from typing import Any

import yaml

HEADING = "## Values\n"
"""Where the generated part of a chart's README begins; it goes on to the end."""
_KEY = re.compile(r"^( *)([A-Za-z][\w-]*):")


def comments(text: str) -> dict[tuple[str, ...], str]:
    """Finds the `# --` comment above each value, by the value's path, in the order of the file."""
    found: dict[tuple[str, ...], str] = {}
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            said = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#") and said:
            said.append(stripped.removeprefix("#").strip())
        elif key := _KEY.match(line):
            path = [each for each in path if each[0] < len(key[1])] + [(len(key[1]), key[2])]
            if said:
                found[tuple(name for _, name in path)] = " ".join(said)
            said = []
    return found


def describe(schema: dict[str, Any], text: str) -> None:
    """Write the comments of the values file `text` into the `description`s of its schema, in place.

    Raises `KeyError` for a value that the schema does not have.
    """
    for path, comment in comments(text).items():
        node = schema
        for name in path:
            node = node["properties"][name]
        node["description"] = comment


def readme(page: str, text: str) -> str:
    """Renders the chart's README `page` with a new table of values, made from the values file `text`."""
    values = yaml.safe_load(text)
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for path, comment in comments(text).items():
        default = values
        for name in path:
            default = default[name]
        shown = json.dumps(default, ensure_ascii=False) if default not in ("", {}, []) else ""
        cell = f"`{shown}`" if shown else ""
        meaning = comment.replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | {cell} | {meaning} |")
    above = page.partition(HEADING)[0]
    return f"{above}{HEADING}Generated from `values.yaml` by `make crd`.\n\n" + "\n".join(rows) + "\n"
