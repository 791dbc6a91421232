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
DATA = ("callwright", "ms-swift", "datasets.map")
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


def cell(figure: float, spread: list[float] | None = None, digits: int = 0) -> str:
    """A figure as the README writes it, with the spread of its rounds in brackets."""
    between = f" ({min(spread):,.{digits}f} to {max(spread):,.{digits}f})" if spread else ""
    return f"{figure:,.{digits}f}{between}"


def figures() -> list[tuple[str, str]]:
    """Our cell and the peers' of each row of the README's table, out of bench/results."""
    rows: list[tuple[str, str]] = []

    def row(ours: str, **peers: str) -> None:
        rows.append((ours, ", ".join(f"{name} {figure}" for name, figure in peers.items())))

    for scene in ("every_prompt_new", "prompts_shared"):
        rate = {name: cell(each["rows_per_second"]) for name, each in results("data")[scene].items() if name in DATA}
        row(rate["callwright"], **{"ms-swift": rate["ms-swift"], "`datasets.map`": rate["datasets.map"]})
    for scene in ("no gradient checkpointing", "gradient checkpointing"):
        found = results("train")["29M on the CPU"][scene]
        rate = {
            name: cell(found[name]["tokens_per_second"], [found[name]["slowest_step"], found[name]["fastest_step"]])
            for name in ("callwright", "ms-swift", "Trainer + PEFT")
        }
        row(rate.pop("callwright"), **rate)
    merge = results("merge")["results"]
    took = {name: cell(each["seconds"], [each["seconds"], each["slowest_seconds"]], 1) for name, each in merge.items()}
    for name in ("merge", "merge + verification"):
        row(took[name], **{"PEFT": took["peft"], "`cp`, `sync` and `sha256` alone": took["cp, sync and sha256"]})
    parsing = {name: cell(each * 1000) for name, each in results("dialects")["speed_seconds"]["64KiB"].items()}
    row(parsing["hermes"], **{"vLLM's Hermes parser": parsing["vllm_hermes"]})
    relays = results("sidecar")["results"]
    straight = relays["no proxy"]["first_token_ms"]
    for measure in ("cpu_us_per_event", "first_token_ms"):
        added, digits = (0.0, 1) if measure == "cpu_us_per_event" else (straight, 2)
        cost = {
            name: cell(each[measure] - added, [bound - added for bound in each["spread"][measure]], digits)
            for name, each in relays.items()
        }
        peers = {
            "vLLM's router": cost["vLLM's router"],
            "LiteLLM's proxy": cost["LiteLLM's proxy"],
            "a bare FastAPI and httpx relay": cost["FastAPI and httpx, bare relay"],
        }
        row(cost["sidecar, parsing"], **peers)
    served = results("server")["concurrency"]["8"]
    row(
        cell(served["callwright"]["tokens_per_second"]),
        **{"plain vLLM": cell(served["plain vLLM"]["tokens_per_second"])},
    )
    return rows


def test_the_figures_are_those_of_the_bench() -> None:
    table = README.partition("## How fast")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", table, re.MULTILINE)[1:]
    assert [tuple(line.split(" | ")[1:]) for line in lines] == figures()


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
