"""The sidecar as a process of its own, for its tests and those with real clients."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def started(
    upstream: str, *flags: str, program: Sequence[str] = ("-m", "callwright.sidecar")
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A sidecar that listens, and its address. It takes no setting from the environment."""
    port = free_port()
    command = [sys.executable, *program, "--upstream", upstream, "--port", str(port), *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLWRIGHT_")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", process, seconds=60)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(url: str, process: "subprocess.Popen[bytes]", *, seconds: float) -> None:
    """Wait until what the process serves answers."""
    end = time.monotonic() + seconds
    while not answers(url):
        assert process.poll() is None, f"who was to answer at {url} has ended"
        assert time.monotonic() < end, f"nobody answers at {url}"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) * 1024
