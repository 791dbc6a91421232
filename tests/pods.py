"""Pods as local processes: a kubelet in miniature, for tests that run what manifests say.

A pod gets a network of its own on a bridge; its containers get their own processes and a root file system in which only
their volumes can be written and only what the pod mounts is there. Images are this machine's: Python is the one that
runs the tests. Users, probes of liveness and resource limits are not enforced. Linux alone, with namespaces.
"""

import contextlib
import functools
import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from kube import die_with_parent

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
_BRIDGE = "10.77.0.1"
_CODE = {ROOT, Path(sys.prefix), Path(sys.base_prefix)}
_UNSHARE = ["unshare", *(["--map-root-user"] if os.geteuid() else [])]


@functools.cache
def require() -> None:
    """Skip the test, saying why, where this machine cannot make pods."""
    try:
        script = "mount -t tmpfs none /mnt && mount -t proc proc /proc && ip link add br0 type bridge"
        tried = subprocess.run(
            [*_UNSHARE, "--net", "--mount", "--pid", "--fork", "sh", "-c", script], capture_output=True, text=True
        )
    except FileNotFoundError as error:
        pytest.skip(f"needs namespaces to run pods in: {error.filename} is not installed")
    if tried.returncode:
        pytest.skip(f"needs namespaces to run pods in: {tried.stderr.strip()}")


class Machine:
    """Where pods run: a bridge, and the folder that their volumes are in."""

    def __init__(self, folder: Path, find: Callable[[str, str], Object | None]) -> None:
        """`find` gives a ConfigMap or Secret by kind and name."""
        self.folder, self.find = folder, find
        self.pods: list[Pod] = []
        self._numbers = itertools.count(2)

    def __enter__(self) -> Self:
        require()
        setup = f"ip link set lo up; ip link add br0 type bridge; ip addr add {_BRIDGE}/24 dev br0; ip link set br0 up"
        self.process = _hold([*_UNSHARE, "--net"], setup)
        return self

    def __exit__(self, *error: object) -> None:
        for pod in self.pods:
            pod.stop()
        _kill(self.process)

    @contextlib.contextmanager
    def pod(self, name: str, template: Object, *, env: dict[str, str] | None = None) -> Iterator["Pod"]:
        """A pod of this template, without a running container yet; `env` is what an operator adds to all of them."""
        pod = Pod(self, name, template["spec"], f"10.77.0.{next(self._numbers)}", env or {})
        self.pods.append(pod)
        try:
            yield pod
        finally:
            pod.stop()

    def enter(self) -> list[str]:
        """The words before a command that put it into the machine's own network."""
        return ["nsenter", "--target", str(self.process.pid), "--net", *_user()]


class Pod:
    """One pod: address, volumes, containers."""

    def __init__(self, machine: Machine, name: str, spec: Object, address: str, env: dict[str, str]) -> None:
        self.machine, self.name, self.spec, self.address, self._env = machine, name, spec, address, env
        self.folder = machine.folder / name
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._network = _hold([*machine.enter(), "unshare", "--net"], "ip link set lo up")
        link, peer = f"v{address.rpartition('.')[2]}", str(self._network.pid)
        for line in (
            f"ip link add {link} type veth peer name eth0 netns {peer}",
            f"ip link set {link} master br0 up",
        ):
            subprocess.run([*machine.enter(), *line.split()], check=True)
        for line in (f"ip addr add {address}/24 dev eth0", "ip link set eth0 up"):
            subprocess.run([*self._enter(), *line.split()], check=True)

    def stop(self) -> None:
        """End every container at once."""
        for process in [*self.running.values(), self._network]:
            _kill(process)

    def run(self, name: str, command: list[str] | None = None) -> None:
        """Run a container to its end. Raises with the end of its log when it fails."""
        process = self.start(name, command)
        while process.poll() is None:
            if dead := [each for each, other in self.running.items() if each != name and other.poll()]:
                raise AssertionError(f"beside {name} ended {dead[0]}\n{self.log(dead[0])}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        if process.returncode:
            raise AssertionError(f"container {name} of {self.name}: exit code {process.returncode}\n{self.log(name)}")

    def start(self, name: str, command: list[str] | None = None) -> subprocess.Popen[bytes]:
        """Start a container, with the `command` that an operator gives to one without."""
        (container,) = [each for each in self.containers() if each["name"] == name]
        root = self.folder / "roots" / name
        root.mkdir(parents=True)
        words = ["sh", "-ec", self._script(container, root), "container", *(command or container["command"])]
        isolated = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [*self._enter(), *isolated, *words], env=self._environment(container), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            )  # fmt: skip
        return self.running[name]

    def run_init(self) -> None:
        """The init containers in order: one that stays is started and awaited by its probe, another runs to its end."""
        for container in self.spec.get("initContainers", ()):
            if container.get("restartPolicy") != "Always":
                self.run(container["name"])
                continue
            self.start(container["name"])
            if probe := container.get("startupProbe"):
                self.wait_http(_port(container, probe), probe["httpGet"]["path"], container=container["name"])

    def containers(self) -> list[Object]:
        """All of them, init containers first."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def log(self, name: str) -> str:
        """The end of a container's log."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-6000:]

    def wait_http(self, port: int, path: str, *, container: str, seconds: float = 120) -> None:
        """Return once the pod answers; fails the test with the container's log when it ends or time is up."""
        deadline = time.monotonic() + seconds
        url = f"http://{self.address}:{port}{path}"
        while self.fetch(url).returncode:
            if self.running[container].poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{url} of {self.name} does not answer\n{self.log(container)}")
            time.sleep(0.1)

    def fetch(self, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Ask `url` from the machine, as a client outside of the pod does."""
        script = (
            "import sys, urllib.request as r; url, token, method, body = (sys.argv[1:] + ['', '', ''])[:4];"
            "q = r.Request(url, body.encode() or None, {'Content-Type': 'application/json', "
            "**({'Authorization': 'Bearer ' + token} if token else {})}, method=method or None);"
            "print(r.urlopen(q, timeout=120).read().decode())"
        )
        command = [*self.machine.enter(), sys.executable, "-IS", "-c", script, url, *options]
        return subprocess.run(command, capture_output=True, text=True)

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._network.pid), "--net", *_user()]

    def _environment(self, container: Object) -> dict[str, str]:
        search = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        # Of the image: see docker/Dockerfile.
        made = {"PATH": search, "PYTHONPATH": str(ROOT / "services"), "PYTHONUNBUFFERED": "1"}
        made |= {"RAY_USAGE_STATS_ENABLED": "0", "HOME": "/scratch"}
        for source in container.get("envFrom", ()):
            reference = source["secretRef"]
            found = self.machine.find("Secret", reference["name"])
            assert found or reference.get("optional"), f"no Secret {reference['name']}"
            made |= (found or {}).get("stringData", {})
        return made | {each["name"]: each["value"] for each in container.get("env", ())} | self._env

    def _volume(self, name: str) -> Path:
        (volume,) = [each for each in self.spec["volumes"] if each["name"] == name]
        if claim := volume.get("persistentVolumeClaim"):
            folder = self.machine.folder / "claims" / claim["claimName"]
        else:
            folder = self.folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        if named := volume.get("configMap"):
            found = self.machine.find("ConfigMap", named["name"])
            assert found, f"no ConfigMap {named['name']}"
            for key, text in found["data"].items():
                (folder / key).write_text(text)
        return folder

    def _script(self, container: Object, root: Path) -> str:
        """A shell script that makes the container's root and runs its arguments in it."""
        mounts = {each["mountPath"]: each for each in container.get("volumeMounts", ())}
        opened = {"etc", *(path.split("/")[1] for path in mounts if path.count("/") > 1)} - {"dev"}
        lines = ["mount --make-rprivate /", f"mount -t tmpfs none {root}", f"hostname {self.name}"]
        for entry in sorted(os.scandir("/"), key=lambda each: each.name):
            target = f"{root}/{entry.name}"
            if entry.is_symlink():
                lines.append(f"ln -s {os.readlink(entry.path)} {target}")
            elif entry.path not in mounts and entry.name != "proc" and entry.is_dir():
                kept = f"{root}/.{entry.name}" if entry.name in opened else target
                lines += [f"mkdir {kept}", f"mount --rbind {entry.path} {kept}"]
                if entry.name not in ("dev", "sys"):
                    lines.append(f"mount -o remount,bind,ro {kept} 2>/dev/null || true")
                if entry.name in opened:
                    links = f"for each in {entry.path}/*; do ln -s /.{entry.name}/${{each##*/}} {target}/; done"
                    lines += [f"mkdir {target}", links]
        lines += [f"mkdir {root}/proc", f"mount -t proc proc {root}/proc", f"rm -f {root}/etc/hosts"]
        lines.append(rf"printf '127.0.0.1 localhost\n{self.address} {self.name}\n' > {root}/etc/hosts")
        for path, mount in sorted(mounts.items()):
            lines += [f"mkdir -p {root}{path}", f"mount --bind {self._volume(mount['name'])} {root}{path}"]
            lines += [f"mount -o remount,bind,ro {root}{path}"] if mount.get("readOnly") else []
            for code in sorted(each for each in _CODE if str(each).startswith(f"{path}/")):
                lines += [f"mkdir -p {root}{code}", f"mount --rbind {code} {root}{code}"]
        lines.append(f"mount -o remount,ro {root}")
        folder = shlex.quote(container.get("workingDir", "/scratch" if "/scratch" in mounts else "/"))
        lines.append(f"""exec chroot {root} sh -c 'cd {folder} && exec "$@"' container "$@" """)
        return "\n".join(lines)


def _port(container: Object, probe: Object) -> int:
    named = probe["httpGet"]["port"]
    ports = {each["name"]: each["containerPort"] for each in container.get("ports", ())}
    return int(ports.get(named, named))


def _user() -> list[str]:
    return ["--user", "--preserve-credentials"] if os.geteuid() else []


def _hold(command: list[str], setup: str) -> "subprocess.Popen[bytes]":
    """A process that keeps a namespace, ready when this returns."""
    script = f"set -e; {setup}; echo ready; exec sleep infinity"
    process = subprocess.Popen([*command, "sh", "-c", script], stdout=subprocess.PIPE, preexec_fn=die_with_parent)
    assert process.stdout
    assert re.match(rb"ready", process.stdout.readline())
    process.stdout.close()
    return process


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
