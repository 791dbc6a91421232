"""What a training will do and need, worked out before it starts: parameters, tokens, steps, memory of a device.

Reads the base's configuration, never its weights. Knows nothing of Ray; what the machine has is given to it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from callwright.errors import InvalidInput
from callwright.spec.model import Base, Lora, Train
from callwright.trainer.batches import BatchPlan
from callwright.trainer.loss import CHUNK_POSITIONS
from callwright.trainer.sharding import layers
from callwright.trainer.targets import adapted_modules, check_names, sizes, target_modules

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
    """The base, or this worker's share of its layers with two of them gathered."""
    optimizer_bytes: int
    """What is trained: weights, gradients, moments."""
    sharded: bool | None
    """Whether workers hold shares of the layers; None where only a worker can know whether the whole fits it."""
    activations_bytes: int
    """Kept for the backward pass of the largest micro-batch, and the logits of one chunk."""

    @property
    def memory_bytes(self) -> int:
        """Estimated total, too low rather than too high."""
        return self.weights_bytes + self.optimizer_bytes + self.activations_bytes

    def describe(self) -> str:
        """One line for people."""
        share = self.trained_parameters / self.base_parameters
        kind = "share of the base" if self.sharded else "base"
        return (
            f"{self.trained_parameters:,} trained parameters ({share:.2%} of {self.base_parameters:,}), "
            f"{self.rows:,} sequences and {self.tokens_per_epoch:,} tokens an epoch, {self.steps:,} steps, about "
            f"{_size(self.memory_bytes)} a worker ({_size(self.weights_bytes)} {kind}, {_size(self.optimizer_bytes)} "
            f"adapter and optimizer, {_size(self.activations_bytes)} activations)"
        )

    def check_memory(self, capacity_bytes: int, *, where: str) -> None:
        """Raise `InvalidInput`, with the numbers and what may help, when a worker needs more than `capacity_bytes`."""
        if self.memory_bytes > capacity_bytes:
            raise InvalidInput(
                f"training {self.base}: a worker needs about {_size(self.memory_bytes)} "
                f"({_size(self.weights_bytes)} base, {_size(self.optimizer_bytes)} adapter and optimizer, "
                f"{_size(self.activations_bytes)} activations); {where} has {_size(capacity_bytes)} for it; lower "
                "train.batchSize or data.maxLength, set train.gradientCheckpointing, or lora.quantize to nf4 on a GPU, "
                "or share the base over more GPUs with resources.workers and train.sharding full"
            )


def forecast(
    base_dir: Path,
    base: Base,
    lora: Lora,
    train: Train,
    *,
    lengths: Sequence[int],
    workers: int,
    dtype: torch.dtype,
    capacity_bytes: int | None = None,
) -> Forecast:
    """Work out what training on sequences of `lengths` tokens takes, computing in `dtype`.

    `capacity_bytes` is what a worker has, where that is known: it decides whether `train.sharding: auto` shares out the
    layers. Raises `InvalidInput` for no sequences, for modules that the base does not have, for a rank above a layer's,
    and for a quantized base that is to be shared.
    """
    if not lengths:
        raise InvalidInput("training: got no sequences; expected at least one; look at the report of `callwright data`")
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
    made = Forecast(
        base=base.model, trained_parameters=trained, base_parameters=sum(p.numel() for p in model.parameters()),
        rows=len(lengths), tokens_per_epoch=sum(lengths), steps=BatchPlan(tuple(lengths), train, workers).steps,
        weights_bytes=_weights(model, lora, dtype), optimizer_bytes=trained * _ADAM_BYTES, sharded=False,
        activations_bytes=_activations(model.config.get_text_config(), train, lengths, dtype),
    )  # fmt: skip
    shared = replace(made, sharded=True, weights_bytes=_shared_weights(model, dtype, workers))
    match train.sharding:
        case "full" if lora.quantize != "none":
            raise InvalidInput(
                f"training {base.model}: got lora.quantize {lora.quantize} with train.sharding full; expected one of "
                "them; set the other to none"
            )
        case "full" if workers > 1:
            return shared
        case "auto" if workers > 1 and lora.quantize == "none":
            if capacity_bytes is None:
                return replace(made, sharded=None)
            return shared if made.memory_bytes > capacity_bytes else made
        case _:
            return made


def _weights(model: Any, lora: Lora, dtype: torch.dtype) -> int:
    total = int(sum(p.numel() for p in model.parameters()))
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    quantized = linear if lora.quantize == "nf4" else 0
    return round(quantized * _NF4_BYTES) + (total - quantized) * dtype.itemsize


def _shared_weights(model: Any, dtype: torch.dtype, workers: int) -> int:
    """What is not in layers, a share of the layers, and two layers gathered: one in use, one on its way."""
    each = [sum(p.numel() for p in layer.parameters()) for layer in layers(model)] or [0]
    outside = int(sum(p.numel() for p in model.parameters())) - sum(each)
    return (outside + math.ceil(sum(each) / workers) + 2 * max(each)) * dtype.itemsize


def _activations(config: Any, train: Train, lengths: Sequence[int], dtype: torch.dtype) -> int:
    """Tensors kept by each layer, about: its input and norms, attention's four, the three of its MLP.

    With checkpointing each keeps its input and attention's output, and one layer at a time keeps everything.
    """
    tokens = sum(sorted(lengths, reverse=True)[: train.batch_size])
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    layer = tokens * dtype.itemsize * (10 * width + 4 * inner)
    kept = layer + layers * tokens * 2 * width * dtype.itemsize if train.gradient_checkpointing else layers * layer
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
