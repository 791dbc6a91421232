"""A real Kubernetes cluster with KubeRay, for tests that need a kubelet.

`CALLWRIGHT_KUBECONFIG` names it; its nodes must have the images that `tests/cluster/up` builds. Tests skip without.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubectl import Namespace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The kubeconfig of the cluster, also in the environment of kubectl and helm."""
    named = os.environ.get("CALLWRIGHT_KUBECONFIG")
    if not named:
        pytest.skip("needs a cluster: set CALLWRIGHT_KUBECONFIG, or run `make test-cluster`")
    missing = [tool for tool in ("kubectl", "helm") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} on the PATH")
    os.environ["KUBECONFIG"] = named
    return Path(named)


@pytest.fixture(scope="module")
def namespace(kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of the module's own, gone after it."""
    name = request.module.__name__.removeprefix("test_").replace("_", "-")
    made = Namespace(name)
    made.kubectl("create", "namespace", name)
    yield made
    made.kubectl("delete", "finetunes", "--all", "--timeout=60s")  # while there is a controller that lets them go
    made.kubectl("delete", "namespace", name, "--timeout=120s")


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """charts/callwright without the operator's chart, which the network has: the cluster has KubeRay."""
    folder = tmp_path_factory.mktemp("charts") / "callwright"
    shutil.copytree(ROOT / "charts/callwright", folder, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    metadata = yaml.safe_load((folder / "Chart.yaml").read_text())
    del metadata["dependencies"]
    (folder / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    return folder
