"""Long work shows how far it is: a bar on a terminal, a line now and then where nobody watches."""

import os
import pty
import subprocess
import sys

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
