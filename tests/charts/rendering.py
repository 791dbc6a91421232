"""Charts as Helm itself renders them."""

from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHARTS = Path(__file__).resolve().parents[2] / "charts"
Object = dict[str, Any]
SERVING: Object = {"model": {"name": "assistant"}, "store": {"url": "s3://callwright"}}
"""The least that the chart `serving` has to be told."""


class StrictLoader(yaml.CSafeLoader):
    """Refuses a key that stands twice in a mapping, of which Helm would silently take one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice among {keys}"
        return super().construct_mapping(node, deep)


def render(chart: str, values: Object, *, folder: Path = CHARTS, release: str = "release") -> list[Object]:
    """Every object of the chart, tests included."""
    with helm.Chart.load(folder / chart) as loaded:
        rendered = loaded.render(values, name=release, namespace="team-a")
    texts = [text for name, text in sorted(rendered.items()) if name.endswith(".yaml")]
    return [made for text in texts for made in yaml.load_all(text, Loader=StrictLoader) if made]


def only(found: list[Object], kind: str) -> Object:
    (made,) = [each for each in found if each["kind"] == kind]
    return made
