"""What the README tells people to type exists: make targets, commands, their options, and its document."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from callsmith import spec

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TYPED = re.findall(r"^\$ (.*?)(?:\s+#.*)?$", README, re.MULTILINE)


def test_the_readme_shows_commands() -> None:
    assert {"make demo", "make test"} <= set(TYPED)


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    done = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("callsmith ")])
def test_commands_and_options_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "callsmith.cli", words[0], "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words[1:] if word.startswith("--"))


def test_the_document_in_the_readme_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    document = spec.parse(block, where="README.md")
    assert document.spec.data.sources[1].ratio == 2


def test_every_command_is_in_the_table() -> None:
    done = subprocess.run([sys.executable, "-m", "callsmith.cli", "--help"], capture_output=True, text=True, timeout=60)
    for name in re.findall(r"^│ (\w+) ", done.stdout, re.MULTILINE):
        assert re.search(rf"`(callsmith )?{name}\b", README) or name in ("demo",), name
