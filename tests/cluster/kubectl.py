"""A namespace of a real cluster, and the tools that a platform engineer has: kubectl and helm."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import kube


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

    def names(self, kinds: str) -> list[str]:
        """The names of all objects of these kinds, such as `services,jobs`."""
        return [each.partition("/")[2] for each in self.kubectl("get", kinds, "-o", "name").split()]

    def wait(self, condition: str, *objects: str, seconds: float) -> None:
        """Wait for a condition, such as `condition=Ready`. Fails the test with the namespace's state."""
        try:
            self.kubectl("wait", f"--for={condition}", f"--timeout={seconds}s", *objects)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.state()}") from None

    def state(self) -> str:
        """Pods and newest events, for the message of a failed test."""
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp").splitlines()[-25:]
        return "\n".join([self.kubectl("get", "finetunes,rayjobs,rayservices,jobs,pods", "-o", "wide"), *events])

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


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout
