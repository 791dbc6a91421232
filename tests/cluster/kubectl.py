"""A namespace of a real cluster, and the tools that a platform engineer has: kubectl and helm."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import yaml

import kube
from callwright.store import Store

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Namespace:
    """A namespace of a cluster, spoken to through kubectl and helm."""

    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints. Fails the test with what it says when it fails."""
        return _run("kubectl", "--namespace", self.name, *arguments, stdin=stdin)

    def helm(self, *arguments: str) -> str:
        """What helm prints. Fails the test with what it says when it fails."""
        return _run("helm", "--namespace", self.name, *arguments)

    def get(self, *arguments: str) -> Any:
        """Objects as `kubectl get -o json` shows them; None for one that is not there."""
        said = self.kubectl("get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(said) if said.strip() else None

    def pods(self, *selection: str) -> list[dict[str, Any]]:
        """The pods of a selection, such as `-l app=store`."""
        found = self.get("pods", *selection)
        return list(found["items"]) if found else []

    def names(self, kinds: str, *selection: str) -> list[str]:
        """Names of objects of these kinds, such as `services,jobs`: all, or a selection such as `-l app=store`."""
        return [each.partition("/")[2] for each in self.kubectl("get", kinds, *selection, "-o", "name").split()]

    def wait(self, condition: str, *objects: str, seconds: float) -> None:
        """Wait for a condition, such as `condition=Ready`. Fails the test with the namespace's state."""
        try:
            self.kubectl("wait", f"--for={condition}", f"--timeout={seconds}s", *objects)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.state()}") from None

    def state(self) -> str:
        """Pods and newest events, for the message of a failed test."""
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp").splitlines()[-25:]
        return "\n".join([self.kubectl("get", "rayjobs,rayservices,jobs,pods", "-o", "wide"), *events])

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[str]:
        """The URL on loopback at which a Service or pod answers."""
        command = ["kubectl", "--namespace", self.name, "port-forward", target, f":{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=kube.die_with_parent)
        try:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found, f"{' '.join(command)} does not forward"
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def bucket(namespace: Namespace) -> Iterator[Any]:
    """An S3 client of the namespace's store."""
    with namespace.port_forward("service/store", 9000) as url, _keys(url):
        yield boto3.client("s3", endpoint_url=url)


@contextmanager
def bucket_store(namespace: Namespace) -> Iterator[Store]:
    """The namespace's store as pods have it."""
    with namespace.port_forward("service/store", 9000) as url, _keys(url):
        yield Store.open("s3://callwright")


@contextmanager
def _keys(url: str) -> Iterator[None]:
    """The keys of store.yaml in the environment."""
    keys = {"AWS_ACCESS_KEY_ID": "callwright", "AWS_SECRET_ACCESS_KEY": "callwright-tests"}
    with mock.patch.dict(os.environ, keys | {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1"}):
        yield


def finetune(
    namespace: Namespace, name: str = "quick-start", *, labels: dict[str, str] | None = None, **spec: Any
) -> str:
    """`k8s/01-quick-start.yaml` under this name, with the small base that the bucket holds and `spec`'s own fields."""
    dataset, document = yaml.safe_load_all((ROOT / "k8s/01-quick-start.yaml").read_text())
    for each in (dataset, document):
        each["metadata"]["namespace"] = namespace.name
    document["metadata"] |= {"name": name, "labels": labels or {}}
    made = document["spec"]
    made["base"] = {"model": "s3://callwright/bases/scripted"}
    made["train"] |= {"learningRate": 1e-9}  # what the base says stays as it is
    made["resources"] = {"cpusPerWorker": 0.5, "memoryPerWorker": "3Gi"}
    made["deploy"] = {"engine": {"maxModelLen": 2048, "extra": {"enforce_eager": True}}}
    for key, value in spec.items():
        made[key] = made.get(key, {}) | value if isinstance(value, dict) else value
    return yaml.safe_dump_all([dataset, document])


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout
