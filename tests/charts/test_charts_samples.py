"""What `k8s/` offers to apply: the spec and the real schemas take it, and what is rendered is up to date."""

from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

import manifests
from callsmith import spec

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted(path for path in (ROOT / "k8s").glob("0*.yaml") if not path.name.endswith("-values.yaml"))
RENDERED = sorted((ROOT / "k8s").glob("0*-values.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [made for made in yaml.safe_load_all(path.read_text(encoding="utf-8")) if made]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_valid(path: Path, shared: Path) -> None:
    for made in documents(path):
        assert manifests.problems(made, kuberay=shared / "crds/kuberay") == []
        if made["kind"] == "FineTune":
            spec.parse(yaml.safe_dump(made))


def test_quick_start_finds_its_conversations(tmp_path: Path) -> None:
    from callsmith.datasets import readers

    config_map, document = documents(ROOT / "k8s/01-quick-start.yaml")
    finetune = spec.parse(yaml.safe_dump(document))
    (mount,) = finetune.spec.cluster.mounts
    assert mount.config_map == config_map["metadata"]["name"]
    (source,) = finetune.spec.data.sources
    name = Path(source.path).relative_to(mount.path).name
    (tmp_path / name).write_text(config_map["data"][name], encoding="utf-8")
    assert len(list(readers.read(tmp_path / name, strict="fail"))) == 2


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_rendered_samples_are_up_to_date(path: Path) -> None:
    sample = path.with_name(path.name.replace("-values", ""))
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    with helm.Chart.load(ROOT / "charts/serving") as chart:
        rendered = chart.render(values, name=values["fullnameOverride"], namespace="default")
    texts = [text for name, text in sorted(rendered.items()) if name.endswith(".yaml") and "/tests/" not in name]
    made = [each for text in texts for each in yaml.safe_load_all(text) if each]
    assert documents(sample) == made, f"render it anew: {sample.read_text(encoding='utf-8').splitlines()[0]}"
