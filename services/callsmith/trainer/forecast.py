"""What a training will do and need, worked out before it starts: parameters, tokens, steps, memory of a device.

Reads the base's configuration, never its weights. Knows nothing of Ray; what the machine has is given to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from callsmith.errors import InvalidInput
from callsmith.spec.model import Base, Lora, Train
from callsmith.trainer.batches import Plan
from callsmith.trainer.loss import CHUNK_POSITIONS
from callsmith.trainer.targets import adapted_modules, check_names, sizes, target_modules

_NF4_BYTES = 0.53
"""Bytes of a weight in 4 bits, its share of the scales included."""
_ADAM_BYTES = 16
"""Bytes per trained parameter: float32 weight, gradient and AdamW's two moments."""


@dataclass(frozen=True)
class Forecast:
    """What is going to be trained, and what it takes. Bytes are per worker."""

    base: str
    trained_parameters: int
    base_parameters: int
    rows: int
    tokens_per_epoch: int
    steps: int
    weights_bytes: int
    """The base."""
    optimizer_bytes: int
    """What is trained: weights, gradients, moments."""
    activations_bytes: int
    """Kept for the backward pass of the largest micro-batch, and the logits of one chunk."""

    @property
    def memory_bytes(self) -> int:
        """All of it: an estimate, rather too low than too high."""
        return self.weights_bytes + self.optimizer_bytes + self.activations_bytes

    def describe(self) -> str:
        """One line for people."""
        share = self.trained_parameters / self.base_parameters
        return (
            f"{self.trained_parameters:,} trained parameters ({share:.2%} of {self.base_parameters:,}), "
            f"{self.rows:,} sequences and {self.tokens_per_epoch:,} tokens an epoch, {self.steps:,} steps, about "
            f"{_size(self.memory_bytes)} a worker ({_size(self.weights_bytes)} base, {_size(self.optimizer_bytes)} "
            f"adapter and optimizer, {_size(self.activations_bytes)} activations)"
        )

    def check_memory(self, capacity_bytes: int, *, where: str) -> None:
        """Raise `InvalidInput`, with the numbers and what may help, when a worker needs more than `capacity_bytes`."""
        if self.memory_bytes > capacity_bytes:
            raise InvalidInput(
                f"training {self.base}: a worker needs about {_size(self.memory_bytes)} "
                f"({_size(self.weights_bytes)} base, {_size(self.optimizer_bytes)} adapter and optimizer, "
                f"{_size(self.activations_bytes)} activations); {where} has {_size(capacity_bytes)} for it; lower "
                "train.batchSize, data.maxLength or resources.workers, set train.gradientCheckpointing, or set "
                "lora.quantize to nf4 on a GPU"
            )


def forecast(
    base_dir: Path, base: Base, lora: Lora, train: Train, *, lengths: Sequence[int], workers: int, dtype: torch.dtype
) -> Forecast:
    """Work out what training on sequences of `lengths` tokens takes, computing in `dtype`.

    Raises `InvalidInput` for no sequences, for modules that the base does not have, and for a rank above a layer's.
    """
    if not lengths:
        raise InvalidInput("training: got no sequences; expected at least one; look at the report of `callsmith data`")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base_dir, local_files_only=True))
    if lora.modules_to_save:
        check_names(model, lora.modules_to_save, base=base.model, key="lora.modulesToSave")
    adapted = adapted_modules(model, target_modules(model, lora.targets, base=base.model))
    if not adapted:
        raise InvalidInput(f"adapting {base.model}: lora.targets {lora.targets!r} chooses no module of it")
    _check_rank(adapted, lora.rank, base.model)
    trained = sum(lora.rank * sum(sizes(module)) for module in adapted.values())
    trained += sum(sizes(module)[1] for module in adapted.values()) if lora.dora else 0
    saved = {id(p): p for name in lora.modules_to_save for p in _parameters(model, name)}
    trained += sum(p.numel() for p in saved.values())
    total = sum(p.numel() for p in model.parameters())
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    quantized = linear if lora.quantize == "nf4" else 0
    plan = Plan(tuple(lengths), train, workers)
    return Forecast(
        base=base.model, trained_parameters=trained, base_parameters=total, rows=len(lengths),
        tokens_per_epoch=sum(lengths), steps=plan.steps,
        weights_bytes=round(quantized * _NF4_BYTES) + (total - quantized) * dtype.itemsize,
        optimizer_bytes=trained * _ADAM_BYTES,
        activations_bytes=_activations(model.config.get_text_config(), train, lengths, dtype),
    )  # fmt: skip


def _activations(config: Any, train: Train, lengths: Sequence[int], dtype: torch.dtype) -> int:
    """Tensors kept by each layer, about: its input and norms, attention's four, the three of its MLP."""
    tokens = sum(sorted(lengths, reverse=True)[: train.batch_size])
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    layer = tokens * dtype.itemsize * (10 * width + 4 * inner)
    kept = layer + layers * tokens * width * dtype.itemsize if train.gradient_checkpointing else layers * layer
    logits = min(tokens, CHUNK_POSITIONS) * int(config.vocab_size) * (dtype.itemsize + 8)
    return kept + logits


def _check_rank(adapted: dict[str, nn.Module], rank: int, base: str) -> None:
    narrow = {name: min(sizes(module)) for name, module in adapted.items() if min(sizes(module)) < rank}
    if narrow:
        name, least = min(narrow.items(), key=lambda each: each[1])
        raise InvalidInput(
            f"adapting {base}: lora.rank is {rank}, larger than {len(narrow)} of the layers, such as {name} with "
            f"{least}; expected at most {least}, or lora.targets without them"
        )


def _parameters(model: nn.Module, name: str) -> list[nn.Parameter]:
    found = (m for path, m in model.named_modules() if path == name or path.endswith(f".{name}"))
    return [p for module in found for p in module.parameters()]


def _size(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
