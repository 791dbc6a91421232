"""Long work shows how far it is: a bar on a terminal, a line now and then where nobody watches."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from callwright.cli import chat, output
from fakes import Engine, Served
from fakes import Text as Said

WORK = """
from callwright.cli.output import progress
with progress("train") as advance:
    for step in range(1, 31):
        advance(step, 30, f"loss {3 - step / 15:.2f}")
"""


def on_a_terminal(program: str, *, columns: int) -> str:
    """What a terminal gets of a Python program that writes nothing to its standard output."""
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "30"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=environment
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
    return shown.decode()


def test_a_terminal_shows_a_bar_with_the_count_and_what_is_noted() -> None:
    text = on_a_terminal(WORK, columns=100)
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


HOSTILE = "a\x1b]0;title\x07b\x1b[31mc\x9b2Jd\x7fe\u202ef[bold]g[/]h:smile:i\x08j"
SHOWN = "a␛]0;title␇b␛[31mc\\u009b2Jd␡e\\u202ef[bold]g[/]h:smile:i␈j"


def test_control_characters_are_shown_as_data_wherever_they_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Of models, tools, pods, stores and documents; a terminal would obey them."""
    table = output.table("NAME")
    table.add_row(HOSTILE)
    output.emit(False, {}, [HOSTILE, table])
    output.note(HOSTILE)
    output.fail(HOSTILE)
    with output.progress(HOSTILE) as advance:
        advance(1, 1, HOSTILE)
    said = capsys.readouterr()
    assert (said.out.count(SHOWN), said.err.count(SHOWN)) == (2, 4)
    output.emit(False, {}, [Text(HOSTILE)])
    output.emit(True, {"a": HOSTILE}, [])
    said_too = capsys.readouterr().out
    assert json.loads(said_too[said_too.index("{") :]) == {"a": HOSTILE}
    assert not set("\x1b\x07\x08\x7f\x9b\u202e") & set(said.out + said.err + said_too)


def test_a_terminal_gets_no_escape_of_a_progress_note() -> None:
    hostile = WORK.replace("loss {3", "\\x1b]0;title\\x07\\x9b2J[red]x[/red] loss {3")
    text = on_a_terminal(hostile, columns=200)
    assert "␛]0;title\\u009b2J[red]x[/red]" in text  # Rich leaves the bell out
    assert not any(hostile in text for hostile in ("\x1b]0", "\x07", "\x9b"))


def test_chat_shows_escapes_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    with Served(Engine(lambda request: Said([HOSTILE], size=1))) as served:
        chat.chat("hi", base_url=f"{served.url}/v1", model="m", api_key="none", system=None, max_turns=1, max_tokens=9)
    assert SHOWN in capsys.readouterr().out
