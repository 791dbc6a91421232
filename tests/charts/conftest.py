"""The API server that charts are installed into, and the charts with what they depend on."""

import shutil
from pathlib import Path

import pytest
import yaml

from kube import apiserver, cluster, namespace

__all__ = ["apiserver", "cluster", "namespace"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def charts(tmp_path: Path) -> Path:
    """A copy of the charts; one that says what it got stands for the KubeRay operator's, which the network has."""
    folder = shutil.copytree(ROOT / "charts", tmp_path / "charts", ignore=shutil.ignore_patterns("*.tgz", "Chart.lock"))
    (needed,) = yaml.safe_load((folder / "callwright/Chart.yaml").read_text())["dependencies"]
    operator = folder / "callwright/charts" / needed["name"]
    (operator / "templates").mkdir(parents=True)
    metadata = {"apiVersion": "v2", "name": needed["name"], "version": needed["version"]}
    (operator / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    told = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "operator"},
        "data": {"batch": "{{ .Values.batch }}"},
    }
    (operator / "templates/told.yaml").write_text(yaml.safe_dump(told))
    return folder
