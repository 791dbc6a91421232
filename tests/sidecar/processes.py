"""The sidecar as a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


@contextmanager
def started(upstream: str, *flags: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A sidecar that listens, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "callwright.sidecar", "--upstream", upstream, "--port", str(port), *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"CALLWRIGHT_STORE": ""}) as process:
        try:
            end = time.monotonic() + 60
            while not _listens(port):
                assert process.poll() is None, "the sidecar has ended"
                assert time.monotonic() < end, "the sidecar does not listen"
                time.sleep(0.05)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) * 1024


def _listens(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False
