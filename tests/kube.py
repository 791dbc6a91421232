"""A real kube-apiserver with etcd on loopback: those of ../shared/kube/cluster, or by the envtest convention those in
the folder that `KUBEBUILDER_ASSETS` names.

With `USE_EXISTING_CLUSTER=true` the server that `KUBECONFIG` names is used instead, and left running.
Starts and stops processes and writes kubeconfigs. There is no scheduler, kubelet, job controller or KubeRay operator
behind it: tests write the statuses that those would write. Kubernetes' garbage collector runs for tests that delete.
"""

import atexit
import ctypes
import functools
import lzma
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from callwright.controller.cluster import Cluster, Kind, KindMissing, NoAnswer
from callwright.server.preflight import free_ports
from callwright.spec import crd

CRD = Kind("apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False)
NAMESPACE = Kind("v1", "namespaces", namespaced=False)
ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 600  # on a machine that has other work


@dataclass(frozen=True)
class ApiServer:
    """A running API server; `kubeconfig` speaks as a member of system:masters."""

    url: str
    folder: Path
    kubeconfig: Path
    processes: tuple[subprocess.Popen[bytes], ...]

    def kubeconfig_for(self, name: str, token: str) -> Path:
        """A kubeconfig that speaks as the bearer of `token`."""
        return _write_kubeconfig(self.folder / f"{name}.kubeconfig", self.url, token)

    def stop(self) -> None:
        """End both processes and remove their data."""
        for process in self.processes:
            process.send_signal(signal.SIGKILL)  # nothing of it is kept
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _assets(*programs: str) -> Path:
    """The folder with these programs; skips the test, saying why, without them."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    packed = ROOT.parent / "shared" / "kube" / "cluster" / "bin"
    if not named and packed.is_dir():
        return _unpacked([packed / f"{name}.xz" for name in programs])
    if not named:
        pytest.skip(f"needs a real API server: set KUBEBUILDER_ASSETS to a folder with {', '.join(programs)}")
    if missing := [name for name in programs if not (Path(named) / name).exists()]:
        pytest.skip(f"needs a real API server: KUBEBUILDER_ASSETS={named} lacks {', '.join(missing)}")
    return Path(named)


def _unpacked(files: list[Path]) -> Path:
    """A folder with the programs of xz files, unpacked once on a machine."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callwright-tests" / "kube"
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        program = folder / file.stem
        if program.exists() and program.stat().st_mtime > file.stat().st_mtime:
            continue
        with lzma.open(file) as packed, tempfile.NamedTemporaryFile(dir=folder, delete=False) as made:
            shutil.copyfileobj(packed, made)
        Path(made.name).chmod(0o755)
        Path(made.name).rename(program)
    return folder


@functools.cache
def start() -> ApiServer:
    """Start etcd and the API server, once in a test session; skips the test, saying why, without the binaries."""
    if os.environ.get("USE_EXISTING_CLUSTER") == "true":
        return _existing(Path(os.environ["KUBECONFIG"]))
    server = _started(_assets("kube-apiserver", "etcd"))
    atexit.register(server.stop)
    return server


def _existing(kubeconfig: Path) -> ApiServer:
    url = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return ApiServer(url, Path(tempfile.mkdtemp(prefix="envtest-")), kubeconfig, ())


def _started(binaries: Path) -> ApiServer:
    folder = Path(tempfile.mkdtemp(prefix="envtest-"))
    etcd_port, peer_port, port = free_ports(3)
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text('admin-token,admin,admin,"system:masters"\n')
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    etcd = [
        f"--data-dir={folder}/etcd", f"--listen-client-urls={etcd_url}", f"--advertise-client-urls={etcd_url}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}", "--unsafe-no-fsync",
    ]  # fmt: skip
    apiserver = [
        f"--etcd-servers={etcd_url}", f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={folder}/certs",
        "--authorization-mode=RBAC", f"--token-auth-file={folder}/tokens.csv",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://envtest.invalid", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}", "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
    ]  # fmt: skip
    processes = (
        _spawn(folder, binaries / "etcd", etcd),
        _spawn(folder, binaries / "kube-apiserver", apiserver),
    )
    url = f"https://127.0.0.1:{port}"
    server = ApiServer(url, folder, _write_kubeconfig(folder / "admin.kubeconfig", url, "admin-token"), processes)
    try:
        _wait_until_ready(server)
    except BaseException:
        server.stop()
        raise
    return server


def _wait_until_ready(server: ApiServer) -> None:
    unchecked = ssl._create_unverified_context()
    request = urllib.request.Request(f"{server.url}/readyz", headers={"Authorization": "Bearer admin-token"})
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        dead = [process for process in server.processes if process.poll() is not None]
        if dead:
            raise RuntimeError(f"{dead[0].args} ended: {_tail(server.folder)}")
        try:
            with urllib.request.urlopen(request, timeout=10, context=unchecked):
                return
        except OSError:  # not listening yet, or not ready
            time.sleep(0.2)
    raise RuntimeError(f"the API server did not answer in {_START_SECONDS} s: {_tail(server.folder)}")


def _spawn(folder: Path, binary: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    with (folder / f"{binary.name}.log").open("wb") as log:
        command = [str(binary), *arguments]
        return subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent)


def die_with_parent() -> None:
    """For `preexec_fn`: a test session that is killed leaves nothing behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _tail(folder: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(folder.glob("*.log")))


def _write_kubeconfig(path: Path, url: str, token: str) -> Path:
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "envtest",
        "clusters": [{"name": "envtest", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "envtest", "user": {"token": token}}],
        "contexts": [{"name": "envtest", "context": {"cluster": "envtest", "user": "envtest"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="session")
def apiserver(shared: Path) -> ApiServer:
    """The API server with FineTunes and Ray's kinds."""
    server = start()
    cluster = connect(server.kubeconfig)
    kuberay = [yaml.safe_load(file.read_text()) for file in sorted((shared / "crds/kuberay").glob("*.yaml"))]
    for manifest in [crd.definition(), *kuberay]:
        cluster.apply(CRD, manifest)
    wait_until(lambda: established(cluster), what="CRDs established")
    return server


@pytest.fixture(scope="session")
def garbage_collector(apiserver: ApiServer) -> Iterator[None]:
    """Kubernetes' own, which deletes what owners leave."""
    if not apiserver.processes:  # a whole cluster has one
        yield
        return
    program = _assets("kube-controller-manager") / "kube-controller-manager"
    flags = [f"--kubeconfig={apiserver.kubeconfig}", "--controllers=garbage-collector-controller"]
    flags += ["--leader-elect=false", "--secure-port=0"]
    process = _spawn(apiserver.folder, program, flags)
    yield
    process.kill()
    process.wait()


def kind_of(manifest: dict[str, Any]) -> Kind:
    """Where objects of the manifest's kind live."""
    name = manifest["kind"].lower()
    plural = f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith("s") else f"{name}s"
    return Kind(manifest["apiVersion"], plural, namespaced=not name.startswith("cluster"))


@pytest.fixture(scope="session")
def cluster(apiserver: ApiServer) -> Cluster:
    return connect(apiserver.kubeconfig)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-") + f"-{secrets.token_hex(3)}"
    return make_namespace(cluster, name)


def make_namespace(cluster: Cluster, name: str) -> str:
    """A namespace of a test's own; returns its name."""
    cluster.apply(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def established(cluster: Cluster) -> bool:
    """Whether the API server serves every kind that it was told of: at first it answers that its storage begins."""
    for found in cluster.find(CRD, None):
        known = found.get("status", {}).get("conditions") or ()
        if not any(each["type"] == "Established" and each["status"] == "True" for each in known):
            return False
        told = found["spec"]
        try:
            for version in told["versions"]:
                cluster.find(Kind(f"{told['group']}/{version['name']}", told["names"]["plural"]), None)
        except (KindMissing, NoAnswer):
            return False
    return True


def connect(kubeconfig: Path) -> Cluster:
    """The API server that `kubeconfig` names, as the controller sees it."""
    settings = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=settings)
    return Cluster.at(settings)


def wait_until(holds: Callable[[], bool], *, what: str | Callable[[], str], seconds: float = 120) -> None:
    """Look again and again until it holds; fails the test, saying what did not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
