"""What a user gets wrong is told in a line, with exit code 2, and never as a traceback."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GREETING = '{{"conversations": [{{"from": "user", "value": "I am {}"}}, {{"from": "assistant", "value": "Hello"}}]}}\n'


def callwright(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "callwright.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


Write = Callable[..., Path]


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_unknown_and_missing_keys(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("apiVersion: callwright.io/v1alpha1\nkind: FineTune\nmetadata: {name: x}\nspec: {bas: {}}\n")
    refused(callwright("run", file, cwd=tmp_path), "spec.base: missing", "spec.data: missing", "spec.bas: unknown key")


def test_a_base_that_is_not_there(tmp_path: Path, write: Write) -> None:
    refused(callwright("run", write(base={"model": "./nowhere"}), cwd=tmp_path), "no directory ./nowhere")


def test_a_corpus_that_is_not_there(tmp_path: Path, write: Write) -> None:
    refused(callwright("run", write(data={"sources": [{"path": "gone.jsonl"}]}), cwd=tmp_path), "gone.jsonl")


def test_a_broken_line_is_named_and_refused_or_left_out(tmp_path: Path, write: Write) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(GREETING.format("a") + GREETING.format("b") + '{"id": "b", "conv\n' + GREETING.format("c"))
    refused(callwright("run", write(data={"strict": "fail"}), "--until", "data", cwd=tmp_path), "rows.jsonl: line 3")
    kept = callwright("run", write(data={"strict": "drop"}), "--until", "data", "--json", cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    assert json.loads(kept.stdout)["data"] == {"train": 2, "test": 1}


def test_a_store_that_cannot_be_written(tmp_path: Path, write: Write) -> None:
    (tmp_path / "file").write_text("")
    done = callwright("run", write(store=(tmp_path / "file" / "store").as_uri()), cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "file/store" in done.stderr


def test_a_port_in_use_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(callwright("demo", "--port", port, "--root", tmp_path / "demo", cwd=tmp_path), str(port), "in use")


@pytest.mark.parametrize("theirs", ["file", "folder"])
def test_the_demo_deletes_nothing_but_an_earlier_demo(theirs: str, tmp_path: Path) -> None:
    root = tmp_path / "thesis"
    kept = root if theirs == "file" else root / "chapter.tex"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("years of work")
    refused(callwright("demo", "--root", root, cwd=tmp_path), "thesis holds other files", "--root")
    assert kept.read_text() == "years of work"


def test_the_demo_begins_beside_the_base_that_another_command_has_put_there(tmp_path: Path) -> None:
    kept = tmp_path / "demo" / "cache" / "base"
    kept.mkdir(parents=True)
    done = callwright("demo", "--root", tmp_path / "demo", "--base", kept, "--only-write", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert kept.is_dir()
    assert (tmp_path / "demo" / "finetune.yaml").is_file()


@pytest.mark.parametrize("command", ["run", "train", "merge", "evaluate", "promote", "serve", "demo", "data", "models"])
def test_help_teaches_every_command(command: str, tmp_path: Path) -> None:
    done = callwright(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout
