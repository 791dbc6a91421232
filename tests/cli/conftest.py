"""What the commands' tests share: a tiny base, and documents that use it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import tiny_model


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2."""
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def write(tmp_path: Path, base_dir: Path) -> Callable[..., Path]:
    """Writes the document of a short training on `rows.jsonl`; arguments change the keys of its spec."""
    with (tmp_path / "rows.jsonl").open("w") as file:
        for n in range(8):
            turns = [{"from": "user", "value": f"I am number {n}"}, {"from": "assistant", "value": "Hello " * (n + 1)}]
            file.write(json.dumps({"conversations": turns}) + "\n")

    def written(**changed: dict[str, Any] | str) -> Path:
        asked: dict[str, Any] = {
            "base": {"model": str(base_dir)},
            "store": (tmp_path / "store").as_uri(),
            "data": {"sources": [{"path": str(tmp_path / "rows.jsonl")}], "testFraction": 0.2},
            "train": {"steps": 2, "batchSize": 2, "sequencesPerStep": 4},
        }
        for name, value in changed.items():
            asked[name] = asked.get(name, {}) | value if isinstance(value, dict) else value
        head = {"apiVersion": "callwright.io/v1alpha1", "kind": "FineTune", "metadata": {"name": "x"}}
        file = tmp_path / "finetune.yaml"
        file.write_text(yaml.safe_dump({**head, "spec": asked}))
        return file

    return written
