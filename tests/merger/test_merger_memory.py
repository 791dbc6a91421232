"""The merge's peak of memory does not grow with the model, whether it goes to a folder or to S3."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from buckets import BUCKET

MERGE = """
import sys
from pathlib import Path
from plain_merge import run_merge
from callwright.store import Store
url, folder, version = sys.argv[1:]
run_merge(Store.open(url), Path(folder, "base"), Path(folder, "adapter"), version=version, tolerance=None,
          shard_bytes=64_000_000)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
WIDTH = 1024
MIB = 1024


def make_pair(folder: Path, layers: int) -> Path:
    """A base of `layers` times 8 MiB of zeros in float32, its file sparse, and an adapter for every layer."""
    (folder / "base").mkdir(parents=True)
    (folder / "adapter").mkdir()
    shapes = {f"model.layers.{i}.mlp.{p}_proj.weight": (WIDTH, WIDTH) for i in range(layers) for p in ("up", "down")}
    tables = dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (8, WIDTH))
    table, at = {}, 0
    for name, shape in (tables | shapes).items():
        nbytes = 4 * math.prod(shape)
        table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + nbytes]}
        at += nbytes
    header = json.dumps(table).encode()
    with (folder / "base/model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + at)
    (folder / "base/config.json").write_text(json.dumps({"model_type": "qwen2", "tie_word_embeddings": False}))
    factors = {}
    for name in shapes:
        module = f"base_model.model.{name.removesuffix('.weight')}"
        factors[f"{module}.lora_A.weight"] = torch.ones(8, WIDTH)
        factors[f"{module}.lora_B.weight"] = torch.ones(WIDTH, 8)
    save_file(factors, folder / "adapter/adapter_model.safetensors")
    lora = {"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["up_proj", "down_proj"]}
    (folder / "adapter/adapter_config.json").write_text(json.dumps(lora))
    return folder


def peak_kib(url: str, folder: Path, version: str) -> int:
    """Peak resident memory of a merge in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", MERGE, url, str(folder), version]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_three_times_the_model_is_not_more_memory(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind == "s3":
        request.getfixturevalue("s3")
    url = (tmp_path / "store").as_uri() if kind == "file" else f"s3://{BUCKET}/{tmp_path.name}"
    small, large = make_pair(tmp_path / "small", 16), make_pair(tmp_path / "large", 48)  # 128 and 384 MiB
    low, high = peak_kib(url, small, "small"), peak_kib(url, large, "large")
    assert high < low + 48 * MIB
    assert high < 400 * MIB
