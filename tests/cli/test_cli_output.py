"""Long work shows how far it is: a bar on a terminal, a line now and then where nobody watches."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from callwright.cli import output

WORK = """
from callwright.cli.output import progress
with progress("train") as advance:
    for step in range(1, 31):
        advance(step, 30, f"loss {3 - step / 15:.2f}")
"""


def test_a_terminal_shows_a_bar_with_the_count_and_what_is_noted() -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(
        [sys.executable, "-c", WORK], stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 4096):
                shown += piece
        except OSError:  # what Linux says at a terminal's end
            pass
        assert process.communicate()[0] == b""
    os.close(master)
    text = shown.decode()
    last = text.rpartition("train ")[2]
    assert "30/30" in last
    assert "loss 1.00" in last
    assert "━" in text


def test_elsewhere_there_is_a_line_now_and_then_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(100, 200, 4))  # four seconds a step
    monkeypatch.setattr(output.time, "monotonic", lambda: float(next(clock)))
    with output.progress("train") as advance:
        for step in range(1, 9):
            advance(step, 8, f"loss {step}")
    said = capsys.readouterr().err.splitlines()
    assert said == [f"train: {step}/8 loss {step}" for step in (1, 4, 7, 8)]


def test_a_letter_that_the_output_cannot_hold_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "é.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}, 5]}\n')
    done = subprocess.run(
        [sys.executable, "-m", "callwright.cli", "data", "convert", "é.jsonl", "b.jsonl", "--to", "openai", "--json"],
        capture_output=True, cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    (example,) = json.loads(done.stdout)["examples"]["messages"]
    assert example == "é.jsonl:1: messages[1]: got int; expected an object"
