"""Ctrl-C: what is kept, the command that goes on from it, and exit code 130."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callsmith.cli.app import main

pytestmark = pytest.mark.timeout(240)
BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Starts a command as a script's background job is started: with SIGINT ignored."""


def test_an_interrupted_demo_says_how_to_carry_on(tmp_path: Path) -> None:
    command = [*BACKGROUND, sys.executable, "-m", "callsmith.cli", "demo", "--root", "demo"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if re.match(r"train: \d+/900 ", line):
                    break
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGINT, "".join(said) + rest
    assert "train: stopping after this step, with a checkpoint; Ctrl-C stops at once" in rest
    found = re.search(
        r"error: training: stopped by SIGINT after step \d+ of 900, with a checkpoint; what is done stays in demo; "
        r"to carry on: (.*) (run demo/finetune.yaml --root demo --store \S+)\n$", rest
    )  # fmt: skip
    assert found, rest
    (made,) = (tmp_path / "demo" / "store" / "runs").iterdir()
    assert json.loads((made / "report.json").read_text())["status"] == "stopped"
    again = [sys.executable, "-m", "callsmith.cli", *shlex.split(found[2]), "--until", "data", "--json"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["run"] == made.name


@pytest.mark.parametrize(("command", "expected"), [
    (("run", "finetune.yaml"), "error: interrupted; run the same command again to carry on\n"),
    (("models", "list"), ""),
])  # fmt: skip
def test_commands_that_carry_on_say_so(
    command: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("callsmith.spec.load", interrupt)
    monkeypatch.setattr("callsmith.store.Store.open", interrupt)
    monkeypatch.setattr(sys, "argv", ["callsmith", *command])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, expected)
