"""What the README tells people to type exists: make targets, commands, their options, and its document."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from callwright import spec

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TYPED = re.findall(r"^\$ (.*?)(?:\s+#.*)?$", README, re.MULTILINE)


def test_the_readme_shows_commands() -> None:
    assert {"make demo", "make test"} <= set(TYPED)


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    done = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("callwright ")])
def test_commands_and_options_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "callwright.cli", words[0], "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words[1:] if word.startswith("--"))


def test_the_document_in_the_readme_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    document = spec.parse(block, where="README.md")
    assert document.spec.data.sources[1].ratio == 2


def results(name: str) -> Any:
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())


def test_the_figures_are_those_of_the_bench() -> None:
    data, train, merge = results("data")["every_prompt_new"], results("train")["29M on the CPU"], results("merge")
    peers = ("callwright", "ms-swift", "Trainer + PEFT")
    kept, again = (
        [f"{train[each][peer]['tokens_per_second']:,.0f}" for peer in peers]
        for each in ("no gradient checkpointing", "gradient checkpointing")
    )
    parsing, chunk = results("dialects")["speed_seconds"]["64KiB"], results("sidecar")["results"]
    served = results("server")["concurrency"]["8"]
    relays = ("sidecar, parsing", "LiteLLM's proxy", "FastAPI and httpx, bare relay")
    expected = [
        [f"{data[name]['rows_per_second']:,.0f}" for name in ("callwright", "ms-swift", "datasets.map")],
        kept,
        again,
        [f"{merge['results'][name]['seconds']:.1f}" for name in ("ours", "peft", "cp, sync and sha256")],
        [f"{parsing[name] * 1000:,.0f}" for name in ("hermes", "vllm_hermes")],
        [f"{chunk[name]['cpu_us_per_event']:.1f}" for name in relays],
        [f"{served[name]['tokens_per_second']:,.0f}" for name in ("callwright", "plain vLLM")],
    ]
    table = README.partition("## How fast")[2].partition("\n## ")[0]
    rows = [row.split("|", 2)[2] for row in re.findall(r"^(\|.*\|)$", table, re.MULTILINE)[2:]]
    assert [re.findall(r"\b\d[\d,.]*\b", row.replace("sha256", "")) for row in rows] == expected


def test_every_command_is_in_the_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "callwright.cli", "--help"], capture_output=True, text=True, timeout=60
    )
    for name in re.findall(r"^│ (\w+) ", done.stdout, re.MULTILINE):
        assert re.search(rf"`(callwright )?{name}\b", README) or name in ("demo",), name


def test_modules_in_the_architecture_exist() -> None:
    rooms = ROOT / "services" / "callwright"
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests/)?[a-z_]+(?:/[a-z_]+)*\.py)`", text))
    assert named
    assert {name for name in named if not (ROOT / name).exists() and not [*rooms.rglob(name)]} == set()
