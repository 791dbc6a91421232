"""Tiny bases and PEFT adapters of every kind, made on the spot: random, seeded, offline.

`make_base` and `make_adapter` write directories as transformers and PEFT do; `peft_merged` is PEFT's own merge of them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Case:
    """A base, and the LoRA configuration of an adapter for it."""

    name: str
    family: str = "qwen2"
    tied: bool = False
    dtype: str = "float32"
    lora: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def make_base(
    folder: Path, *, family: str = "qwen2", tied: bool = False, dtype: str = "float32", **config: Any
) -> Path:
    """Write a random base with two layers; returns `folder`."""
    import transformers

    torch.manual_seed(7)
    sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128} | config
    match family:
        case "qwen2":
            chosen = transformers.Qwen2Config(**sizes, tie_word_embeddings=tied)
        case "llama":
            chosen = transformers.LlamaConfig(**sizes, tie_word_embeddings=tied, attention_bias=True)
        case "gpt2":
            chosen = transformers.GPT2Config(
                vocab_size=96, n_positions=64, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=tied, **config
            )
        case "qwen2_moe":
            chosen = transformers.Qwen2MoeConfig(
                **sizes, tie_word_embeddings=tied, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                shared_expert_intermediate_size=24,
            )  # fmt: skip
        case _:
            raise ValueError(family)
    model = transformers.AutoModelForCausalLM.from_config(chosen, dtype=getattr(torch, dtype))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, *, grown: int | None = None, **lora: Any) -> Path:
    """Write a PEFT adapter for `base` with random weights; `grown` resizes the vocabulary first. Returns `folder`."""
    model = _with_adapter(base, grown=grown, **lora)
    model.save_pretrained(folder)
    return folder


def _with_adapter(base: Path, *, grown: int | None, **lora: Any) -> Any:
    import peft
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    if grown:
        model.resize_token_embeddings(grown)
    model = peft.get_peft_model(
        model, peft.LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": list(LINEAR)} | lora))
    )
    torch.manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
            elif parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape).to(parameter.dtype) * 0.1)
    return model


def peft_model(base: Path, adapter: Path, *, grown: int | None = None) -> Any:
    """The base with the adapter on it, as PEFT loads it, in evaluation mode."""
    import peft
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    if grown:
        model.resize_token_embeddings(grown)
    return peft.PeftModel.from_pretrained(model, adapter).eval()


def peft_merged(base: Path, adapter: Path, *, grown: int | None = None) -> Any:
    """PEFT's own merge."""
    return peft_model(base, adapter, grown=grown).merge_and_unload()
