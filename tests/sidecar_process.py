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
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, *program, "--upstream", upstream, "--port", str(port), *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLWRIGHT_")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        try:
            end = time.monotonic() + 60
            while not answers(f"http://127.0.0.1:{port}/healthz"):
                assert process.poll() is None, "the sidecar has ended"
                assert time.monotonic() < end, "the sidecar does not listen"
                time.sleep(0.05)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


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
