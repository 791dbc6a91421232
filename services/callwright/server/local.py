"""Runs the server and the sidecar as child processes: starts them, waits until they answer, stops them.

    with serving(config, workdir=Path("logs")) as stack:
        print(stack.base_url)

For `callwright serve`, the local run and the demo. Everything that a child has started ends with it. When this process
is killed, its children see their standard input close and stop, too.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from callwright.errors import CallwrightError, InvalidInput, StageFailed, TimedOut
from callwright.server import lifecycle
from callwright.server.config import ServerConfig, sidecar_command
from callwright.server.preflight import check_models, check_port

STOP_SECONDS = 30.0
"""How long a child may take to stop before its session is killed."""
_SHOWN_LINES = 20


class Child:
    """A running child process and everything that it has started."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name, self.process, self.log = name, process, log
        self._peaks: dict[int, int] = {}

    def wait_ready(self, url: str, *, deadline_seconds: float) -> None:
        """Return once `url` answers 200. Raises a dead child's error, or `TimedOut`, with the log's last lines."""
        end = time.monotonic() + deadline_seconds
        while not _answers(url):
            try:
                self.process.wait(0.1)
            except subprocess.TimeoutExpired:
                self.measure()
            else:
                raise self.death()
            if time.monotonic() > end:
                raise TimedOut(f"starting the {self.name}: not ready in {deadline_seconds:g} s; {self._last_lines()}")

    def measure(self) -> int:
        """Peak resident bytes so far, summed over every process of the child's session; shared pages count twice."""
        for pid in _session(self.process.pid):
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{pid}/status").read_text()
                self._peaks[pid] = int(status.split("VmHWM:")[1].split()[0]) * 1024
        return sum(self._peaks.values())

    def stop(self) -> None:
        """Ask the child to stop, then kill what is left of its session."""
        self.measure()
        if self.process.stdin:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        while left := _session(self.process.pid):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self.process.wait()

    def death(self) -> CallwrightError:
        """Return the reason why the ended child died: its own error message, else its log's last lines."""
        lines = self.log.read_text(errors="replace").splitlines()
        if errors := [n for n, line in enumerate(lines) if line.startswith("error: ")]:
            message = "\n".join(lines[errors[-1] :]).removeprefix("error: ")
            return InvalidInput(message) if self.process.returncode == 2 else StageFailed(message)
        code = self.process.returncode
        return StageFailed(f"running the {self.name}: it ended with code {code}; {self._last_lines()}")

    def _last_lines(self) -> str:
        with self.log.open(errors="replace") as log:
            return f"the end of {self.log}:\n" + "".join(deque(log, _SHOWN_LINES)).rstrip()


@dataclass(frozen=True)
class Stack:
    """A server with a sidecar in front of it."""

    base_url: str
    """OpenAI endpoint of the sidecar."""
    server: Child
    sidecar: Child

    def wait(self) -> None:
        """Wait until server or sidecar ends, then raise `StageFailed`; never returns."""
        while True:
            for part in (self.server, self.sidecar):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    part.process.wait(0.5)
                    raise part.death()

    def peak_bytes(self) -> dict[str, int]:
        """Peak resident bytes by part."""
        return {"server": self.server.measure(), "sidecar": self.sidecar.measure()}


@contextlib.contextmanager
def child(name: str, arguments: Sequence[str], *, log: Path) -> Iterator[Child]:
    """Run `python -m` with `arguments` in a session of its own, output into `log`; stop it at the block's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
    running = Child(name, process, log)
    try:
        with _termination_raises():
            yield running
    finally:
        running.stop()


@contextlib.contextmanager
def serving(
    config: ServerConfig,
    *,
    workdir: Path,
    port: int = 8100,
    dialects: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Stack]:
    """Serve `config` with a sidecar on `port` in front; logs and configuration go into `workdir`.

    `dialects` maps model ids to dialects, over what the store's manifests say; `settings` are further flags of the
    sidecar. Raises before anything starts when a port is in use or a model is not there; afterwards what server or
    sidecar failed of.
    """
    check_port(config.host, config.port)
    check_port(config.host, port)
    check_models(config)
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / "server.json"
    file.write_text(config.model_dump_json(indent=2))
    root = f"http://{config.host}:{config.port}"
    command = sidecar_command(config, port=port, dialects=dialects, settings=settings)
    sidecar = [*command, "--until-stdin-closes"]
    arguments = ["callwright.server", "--config", str(file), "--until-stdin-closes"]
    with (
        child("server", arguments, log=workdir / "server.log") as engine,
        child("sidecar", sidecar, log=workdir / "sidecar.log") as front,
    ):
        engine.wait_ready(f"{root}/v1/models", deadline_seconds=config.start_seconds)
        front.wait_ready(f"http://{config.host}:{port}/readyz", deadline_seconds=30.0)
        yield Stack(f"http://{config.host}:{port}/v1", engine, front)


def _answers(url: str) -> bool:
    try:
        lifecycle.get(url, timeout=2)
    except OSError:
        return False
    return True


def _environment() -> dict[str, str]:
    # Without bytecode caches each process that imports vLLM needs twice the time.
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _session(leader: int) -> list[int]:
    """Processes of the session that `leader` leads, the leader last."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return sorted(found, key=lambda pid: (pid == leader, pid))


@contextlib.contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM unwind the stack like Ctrl-C does, so that children are stopped; only the main thread may ask."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
