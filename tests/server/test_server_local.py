"""Child processes: awaited, their failures told, and never left behind. The children here are small scripts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from callwright.errors import InvalidInput, StageFailed, TimedOut
from callwright.server import local
from callwright.server.preflight import free_ports

SERVER = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that serves HTTP on the port in its argument and has a child that ignores SIGTERM."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    (tmp_path / "toy_server.py").write_text(SERVER)
    return "toy_server"


def test_a_child_is_awaited_and_its_whole_session_ends(tmp_path: Path, module: str) -> None:
    (number,) = free_ports(1)
    with local.child("toy", [module, str(number)], log=tmp_path / "toy.log") as toy:
        toy.wait_ready(f"http://127.0.0.1:{number}/", deadline_seconds=60)
        assert len(local._session(toy.process.pid)) == 2
        assert toy.measure() > 1_000_000
    assert local._session(toy.process.pid) == []


def test_a_child_that_dies_is_told_with_its_last_lines(tmp_path: Path, module: str) -> None:
    with (
        pytest.raises(StageFailed, match="ValueError") as failed,
        local.child("toy", [module, "x"], log=tmp_path / "l") as toy,
    ):
        toy.wait_ready("http://127.0.0.1:1/", deadline_seconds=60)
    assert "ended with code 1" in str(failed.value)


def test_an_error_of_the_child_s_own_is_passed_on(tmp_path: Path) -> None:
    arguments = ["callwright.server", "--config", "/nowhere.yaml"]
    with pytest.raises(InvalidInput, match="no file"), local.child("server", arguments, log=tmp_path / "l") as server:
        server.wait_ready("http://127.0.0.1:1/", deadline_seconds=60)


def test_a_child_that_is_never_ready_is_a_timeout(tmp_path: Path, module: str) -> None:
    (number,) = free_ports(1)
    with (
        pytest.raises(TimedOut, match=r"not ready in 0\.5 s"),
        local.child("toy", [module, str(number)], log=tmp_path / "l") as toy,
    ):
        toy.wait_ready("http://127.0.0.1:1/", deadline_seconds=0.5)
    assert local._session(toy.process.pid) == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_who_is_ended_ends_its_children(tmp_path: Path, module: str, end: signal.Signals) -> None:
    script = (
        "import pathlib, sys, time\nfrom callwright.server import local\n"
        "with local.child('toy', sys.argv[1:3], log=pathlib.Path(sys.argv[3])) as toy:\n"
        "    toy.wait_ready(f'http://127.0.0.1:{sys.argv[2]}/', deadline_seconds=60)\n"
        "    print(toy.process.pid, flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, module, str(*free_ports(1)), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout
        toy = int(parent.stdout.readline())
        parent.send_signal(end)
        parent.wait(60)
    deadline = time.monotonic() + 10
    while local._session(toy):
        assert time.monotonic() < deadline
        time.sleep(0.05)
