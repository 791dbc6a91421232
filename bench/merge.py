"""The merge of a generated Qwen2-shape model of 1.5 B parameters: ours, PEFT's, and the disk and the hash alone.

`python bench/merge.py [ROUNDS] [LAYERS]` prints JSON and writes bench/results/merge.json. In one run, interleaved: ours
into a folder's store with every hash and fsync, without and with the verification of its logits; PEFT's load, merge and
save; `cp` and `sync` of the same bytes, then `openssl sha256` of them. Each in processes of their own: wall and CPU
seconds of the fastest round, the slowest round's wall seconds, and the largest peak of memory. The base is in the page
cache for all. Our weights are compared with PEFT's bit by bit, once.
"""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
SHARD_BYTES = 500_000_000
PLAIN = "cp, sync and sha256"
WIDTH, INNER, VOCABULARY, HEADS, KEYS = 1536, 8960, 151_936, 12, 256
LINEAR = {
    "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (KEYS, WIDTH), "self_attn.v_proj": (KEYS, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH),
    "mlp.down_proj": (WIDTH, INNER),
}  # fmt: skip
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Prints a process's own peak in KiB; getrusage would count what its parent had when it started it."""
OURS = """
import sys
from pathlib import Path
from callwright.merger import merge
from callwright.store import Store
work, shard_bytes, tolerance = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) or None
merge(base_dir=work / "base", adapter_dir=work / "adapter", store=Store.open((work / "store").as_uri()), name="m",
      version="v1", dialect="hermes", stop=(), base={"model": "base"}, shard_bytes=shard_bytes, tolerance=tolerance)
"""
THEIRS = """
import sys
from pathlib import Path
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
work = Path(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(work / "base", dtype=torch.bfloat16)
PeftModel.from_pretrained(model, work / "adapter").merge_and_unload().save_pretrained(
    work / "peft", max_shard_size=int(sys.argv[2]))
"""


def make_inputs(work: Path, layers: int) -> None:
    """A random base in bfloat16 with shards of 500 MB, and a rank 8 adapter of every linear layer."""
    base, adapter = work / "base", work / "adapter"
    base.mkdir()
    adapter.mkdir()
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    factors = {}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.{norm}.weight": (WIDTH,) for norm in ("input_layernorm", "post_attention_layernorm")}
        for name, shape in LINEAR.items():
            shapes[f"{at}.{name}.weight"] = shape
            if name[-6] in "qkv":
                shapes[f"{at}.{name}.bias"] = shape[:1]
            factors[f"base_model.model.{at}.{name}.lora_A.weight"] = torch.randn(8, shape[1]) / math.sqrt(shape[1])
            factors[f"base_model.model.{at}.{name}.lora_B.weight"] = torch.randn(shape[0], 8) * 0.01
    save_file(factors, adapter / "adapter_model.safetensors")
    save_base(base, shapes)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": WIDTH,
        "vocab_size": VOCABULARY,
    }
    config |= {"intermediate_size": INNER, "num_attention_heads": HEADS, "num_key_value_heads": KEYS * HEADS // WIDTH}
    config |= {"num_hidden_layers": layers, "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    (base / "config.json").write_text(json.dumps(config))
    lora = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 32, "inference_mode": True}
    lora["target_modules"] = [name.partition(".")[2] for name in LINEAR]
    (adapter / "adapter_config.json").write_text(json.dumps(lora))


def save_base(base: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write random weights of these shapes in shards."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, shape in shapes.items():
        nbytes = 2 * math.prod(shape)
        if shards[-1] and size + nbytes > SHARD_BYTES:
            shards, size = [*shards, []], 0
        shards[-1].append(name)
        size += nbytes
    weight_map = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {n: (torch.randn(shapes[n]) * 0.02 + ("norm" in n)).bfloat16() for n in names}
        save_file(tensors, base / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def measured(command: list[str]) -> dict[str, float]:
    """Run it; wall and CPU seconds, and its peak of memory in MiB."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "services"), "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        printed, said = (file.seek(0) or file.read().decode() for file in (out, errors))
    if process.returncode:
        raise SystemExit(f"{command[0]} failed:\n{said}")
    peak = printed.split()[-1:] if PEAK in " ".join(command) else []
    found = {"seconds": wall, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    return found | ({"peak_mib": int(peak[0]) / 1024} if peak else {})


def import_seconds() -> dict[str, float]:
    """What starting Python with the merger's modules takes, which is part of ours."""
    return measured([sys.executable, "-c", "import callwright.merger" + PEAK])


def disk_and_hash(work: Path) -> dict[str, float]:
    """`cp` and `sync`, then `openssl sha256`, of the base's weights."""
    shutil.rmtree(work / "copy", ignore_errors=True)
    subprocess.run(["sync"], check=True)
    copied = measured(["sh", "-c", f"cp -r {work}/base {work}/copy && sync"])
    hashed = measured(["sh", "-c", f"cat {work}/copy/*.safetensors | openssl sha256"])
    names = {"copy_seconds": copied["seconds"], "sha256_seconds": hashed["seconds"]}
    return names | {key: copied[key] + hashed[key] for key in ("seconds", "cpu_seconds")}


def ours(work: Path, *, tolerance: float) -> dict[str, float]:
    """Our merge into a new store, verified unless `tolerance` is 0."""
    shutil.rmtree(work / "store", ignore_errors=True)
    subprocess.run(["sync"], check=True)
    return measured([sys.executable, "-c", OURS + PEAK, str(work), str(SHARD_BYTES), str(tolerance)])


def theirs(work: Path) -> dict[str, float]:
    """PEFT's merge."""
    shutil.rmtree(work / "peft", ignore_errors=True)
    subprocess.run(["sync"], check=True)
    return measured([sys.executable, "-c", THEIRS + PEAK, str(work), str(SHARD_BYTES)])


def different_weights(work: Path) -> list[str]:
    """Names of weights that are not bit by bit PEFT's."""
    found = sorted((work / "store/models/m/versions/v1").glob("*.safetensors"))
    peft: dict[str, Path] = {}
    for path in sorted((work / "peft").glob("*.safetensors")):
        peft |= dict.fromkeys(load_file(path), path)
    different = []
    for path in found:
        for name, tensor in load_file(path).items():
            if not torch.equal(tensor, load_one(peft.pop(name), name)):
                different.append(name)
    return different + list(peft)


def load_one(path: Path, name: str) -> torch.Tensor:
    """One tensor of a file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def best(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The fastest round, with the slowest's seconds and the largest peak of all."""
    chosen = dict(min(rounds, key=lambda one: one["seconds"]))
    chosen["slowest_seconds"] = max(one["seconds"] for one in rounds)
    if "peak_mib" in chosen:
        chosen["peak_mib"] = max(one["peak_mib"] for one in rounds)
    return {key: round(value, 2) for key, value in chosen.items()}


def main(rounds: int, layers: int) -> None:
    """Measure and write the results."""
    with tempfile.TemporaryDirectory(prefix="callwright-bench-") as folder:
        work = Path(folder)
        make_inputs(work, layers)
        size = sum(path.stat().st_size for path in (work / "base").glob("*.safetensors"))
        runs: dict[str, list[dict[str, float]]] = {"merge": [], "merge + verification": [], "peft": [], PLAIN: []}
        for _ in range(rounds):
            runs[PLAIN].append(disk_and_hash(work))
            runs["merge"].append(ours(work, tolerance=0))
            runs["merge + verification"].append(ours(work, tolerance=0.05))
            runs["peft"].append(theirs(work))
        different = different_weights(work)
        runs["starting ours"] = [import_seconds()]
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "rounds": rounds,
        "bytes": size,
        "weights different from PEFT's": len(different),
        "results": {name: best(each) for name, each in runs.items()},
    }
    took = {name: each["seconds"] for name, each in results["results"].items()}
    for name in ("merge", "merge + verification"):
        results[f"({name}) / ({PLAIN})"] = round(took[name] / took[PLAIN], 2)
        results[f"peft / ({name})"] = round(took["peft"] / took[name], 2)
    text = json.dumps(results, indent=2)
    print(text)
    (ROOT / "bench/results").mkdir(exist_ok=True)
    (ROOT / "bench/results/merge.json").write_text(text + "\n")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(given[0] if given else 3, given[1] if len(given) > 1 else 28)
