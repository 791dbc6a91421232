"""The API server, for the charts that are installed into it."""

from pathlib import Path

import pytest

import kube

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def apiserver(shared: Path) -> kube.ApiServer:
    return kube.serving(ROOT, shared)
