"""A real Kubernetes cluster with KubeRay, for tests that need a kubelet.

`CALLWRIGHT_KUBECONFIG` names it; its nodes must have the images that `tests/cluster/up` builds. Tests skip without.
"""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import HERE, ROOT, Namespace, bucket, bucket_store

import kube
from models import scripted_model
from versions import publish_version

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"


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


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured, by what it is: printed at the end, and written to the file that CALLWRIGHT_FIGURES names."""
    found: dict[str, Any] = {}
    yield found
    text = json.dumps(found, indent=2)
    print(f"\n{text}")
    if named := os.environ.get("CALLWRIGHT_FIGURES"):
        Path(named).write_text(text + "\n")


@pytest.fixture(scope="module")
def namespace(kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A guarded namespace of the module's own, gone after it."""
    made = Namespace(request.module.__name__.removeprefix("test_").replace("_", "-"))
    made.kubectl("apply", "-f", "-", stdin=(HERE / "namespace.yaml").read_text().replace("NAME", made.name))
    yield made
    made.kubectl("delete", "namespace", made.name, "--timeout=300s")


@pytest.fixture(scope="module")
def store(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A bucket in the cluster that holds a base model, which answers a request for the weather by a call."""
    namespace.kubectl("apply", "-f", str(HERE / "store.yaml"))
    namespace.wait("condition=Available", "deployment/store", seconds=120)
    folder = scripted_model(tmp_path_factory.mktemp("base"))
    with bucket(namespace) as store:
        store.create_bucket(Bucket="callwright")
        for file in folder.iterdir():
            store.upload_file(str(file), "callwright", f"bases/scripted/{file.name}")
            if file.suffix != ".safetensors":
                store.upload_file(str(file), "callwright", f"bases/without-weights/{file.name}")
            if file.name != "config.json":
                store.upload_file(str(file), "callwright", f"bases/without-a-layer/{file.name}")
        config = json.loads((folder / "config.json").read_text())
        config["num_hidden_layers"] += 1
        config.pop("layer_types", None)
        store.put_object(Bucket="callwright", Key="bases/without-a-layer/config.json", Body=json.dumps(config))


@pytest.fixture(scope="module")
def versions(namespace: Namespace, store: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Versions v1 and v2 of the model `m` in the bucket."""
    folder = scripted_model(tmp_path_factory.mktemp("version"))
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    with bucket_store(namespace) as target:
        for version in ("v1", "v2"):
            publish_version(target, version, files, dialect="react_en")


@pytest.fixture(scope="module")
def callwright(namespace: Namespace, store: None, chart: Path) -> Iterator[None]:
    """charts/callwright in the namespace, with its store, for the documents of this namespace."""
    values = ["-f", str(HERE / "callwright-values.yaml"), "--set", f"controller.namespaces={{{namespace.name}}}"]
    # The CRD stays when a release goes, so an earlier module's is taken over.
    namespace.helm("install", "callwright", str(chart), *values, "--take-ownership", "--wait", "--timeout", "3m")
    yield
    namespace.kubectl("delete", "finetunes", "--all", "--timeout=60s")  # while there is a controller that lets them go
    namespace.helm("uninstall", "callwright", "--ignore-not-found", "--wait", "--timeout", "2m")


@pytest.fixture(scope="module")
def spare(namespace: Namespace) -> Iterator[str]:
    """A node with nothing on it, cordoned until all else is in its place. The cluster's DNS is one pod, on another."""
    [dns] = namespace.pods("-n", "kube-system", "-l", "k8s-app=kube-dns")
    nodes = namespace.names("nodes")
    if len(nodes) < 2:
        pytest.skip("needs two nodes")
    node = next(each for each in nodes if each != dns["spec"]["nodeName"])
    namespace.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
    available = 'jsonpath={.items[*].status.conditions[?(@.type=="Available")].status}'
    is_up = ("get", "deployments", "--all-namespaces", "-o", available)
    kube.wait_until(lambda: set(namespace.kubectl(*is_up).split()) == {"True"}, what="all deployments available")
    yield node
    namespace.kubectl("uncordon", node)


@pytest.fixture(scope="module")
def placed(namespace: Namespace, spare: str, request: pytest.FixtureRequest) -> None:
    """charts/callwright and the store, neither on the spare node."""
    request.getfixturevalue("callwright")
    namespace.kubectl("uncordon", spare)


@pytest.fixture
def lose(namespace: Namespace) -> Iterator[Callable[[str], None]]:
    """Cuts a node off by the command that CALLWRIGHT_NODE_LINK names, `COMMAND NODE down`, until the test's end.

    Once it is not ready it is said to be out of service, as a cloud does by deleting it: without that nobody confirms
    the end of its pods, and KubeRay waits for it before it makes others.
    """
    command, cut = shlex.split(os.environ.get("CALLWRIGHT_NODE_LINK", "")), []
    if not command:
        pytest.skip("needs a way to cut a node off: CALLWRIGHT_NODE_LINK")

    def down(node: str) -> None:
        cut.append(node)
        subprocess.run([*command, node, "down"], check=True)
        namespace.wait("condition=Ready=Unknown", f"node/{node}", seconds=120)
        namespace.kubectl("taint", "node", node, OUT_OF_SERVICE)

    yield down
    for node in cut:
        subprocess.run([*command, node, "up"], check=True)
        namespace.wait("condition=Ready", f"node/{node}", seconds=120)
        namespace.kubectl("taint", "node", node, f"{OUT_OF_SERVICE}-")


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """charts/callwright without the operator's chart, which the network has: the cluster has KubeRay."""
    folder = tmp_path_factory.mktemp("charts") / "callwright"
    shutil.copytree(ROOT / "charts/callwright", folder, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    metadata = yaml.safe_load((folder / "Chart.yaml").read_text())
    del metadata["dependencies"]
    (folder / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    return folder
