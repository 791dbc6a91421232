"""The merge computed a second time, whole and plainly: what the merged weights must be, bit by bit."""

import json
import math
import re
from pathlib import Path

import torch
from safetensors.torch import load_file


def merged_by_hand(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """Every weight that a model of linear layers and Conv1D has after the merge: float32, rounded once."""
    weights = load_file(base / "model.safetensors")
    held = {
        name.removeprefix("base_model.model."): t
        for name, t in load_file(adapter / "adapter_model.safetensors").items()
    }
    config = json.loads((adapter / "adapter_config.json").read_text())
    for name in [name for name in held if name.endswith("lora_A.weight")]:
        module = name.removesuffix(".lora_A.weight")
        a, b = held[name].float(), held[f"{module}.lora_B.weight"].float()
        scale = _pick(config["alpha_pattern"], module, config["lora_alpha"]) / (
            math.sqrt(a.shape[0]) if config["use_rslora"] else a.shape[0]
        )
        key = f"{module}.weight" if f"{module}.weight" in weights else f"{module.removeprefix('transformer.')}.weight"
        weight = weights[key]
        delta = b @ a * scale
        if weight.shape != delta.shape or "gpt2" in (base / "config.json").read_text():
            delta = delta.T
        weights[key] = (weight.float() + delta).to(weight.dtype)
    return weights


def _pick(patterns: dict[str, float], module: str, default: float) -> float:
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)
