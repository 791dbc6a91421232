"""What a training will do and need, worked out before it starts: parameters, tokens, steps, memory.

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
from callwright.store.model_folder import WITHOUT_CODE, loading
from callwright.trainer import host_memory
from callwright.trainer.batches import BatchPlan
from callwright.trainer.loss import CHUNK_POSITIONS
from callwright.trainer.sharding import layers
from callwright.trainer.targets import adapted_modules, check_names, sizes, target_modules

_NF4_BYTES = 0.53
"""Bytes of a weight in 4 bits, its share of the scales included."""
_ADAM_BYTES = 16
"""Bytes per trained parameter: float32 weight, gradient and AdamW's two moments."""
_LOGIT_BYTES = 12
"""Bytes per logit of a chunk when the loss goes back through it: three of float32."""
_LINEAR_LAYERS = 7
"""Linear layers of a layer, about, each with its adapter's own low-rank product."""
_FLOAT32 = 4
_STEPS_LOOKED_AT = 2000
"""Steps among which the largest micro-batch is looked for."""


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
    """The most that the largest micro-batch holds at once."""
    process_bytes: int
    """The worker's libraries and the kernels compiled for it, on the CPU; on a GPU 0, as they are not in its memory."""

    @property
    def memory_bytes(self) -> int:
        """Estimated total."""
        return self.weights_bytes + self.optimizer_bytes + self.activations_bytes + self.process_bytes

    def _parts(self) -> str:
        kind = "share of the base" if self.sharded else "base"
        parts = {kind: self.weights_bytes, "adapter and optimizer": self.optimizer_bytes,
                 "activations": self.activations_bytes, "the process itself": self.process_bytes}  # fmt: skip
        return ", ".join(f"{_size(size)} {name}" for name, size in parts.items() if size)

    def describe(self) -> str:
        """Return one line for people."""
        share = self.trained_parameters / self.base_parameters
        return (
            f"{self.trained_parameters:,} trained parameters ({share:.2%} of {self.base_parameters:,}), "
            f"{self.rows:,} sequences and {self.tokens_per_epoch:,} tokens an epoch, {self.steps:,} steps, about "
            f"{_size(self.memory_bytes)} a worker ({self._parts()})"
        )

    def check_memory(self, capacity_bytes: int, *, where: str) -> None:
        """Raise `InvalidInput`, with the numbers and what may help, when a worker needs more than `capacity_bytes`."""
        if self.memory_bytes > capacity_bytes:
            raise InvalidInput(
                f"training {self.base}: a worker needs about {_size(self.memory_bytes)} ({self._parts()}); {where} has "
                f"{_size(capacity_bytes)} for it; lower train.batchSize or data.maxLength, set "
                "train.gradientCheckpointing, or lora.quantize to nf4 on a GPU, or share the base over more GPUs with "
                "resources.workers and train.sharding full"
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
    gpu: bool = False,
    capacity_bytes: int | None = None,
) -> Forecast:
    """Work out what training on sequences of `lengths` tokens takes, computing in `dtype` on a GPU or the CPU.

    `capacity_bytes` is what a worker has, where that is known: it decides whether `train.sharding: auto` shares out the
    layers. Raises `InvalidInput` for no sequences, for modules that the base does not have, for a rank above a layer's,
    and for a quantized base that is to be shared.
    """
    if not lengths:
        raise InvalidInput("training: got no sequences; expected at least one; look at the report of `callwright data`")
    try:
        with torch.device("meta"), loading(base_dir):
            config = AutoConfig.from_pretrained(base_dir, local_files_only=True, **WITHOUT_CODE)
            model = AutoModelForCausalLM.from_config(config, **WITHOUT_CODE)
    except RuntimeError as error:  # no memory is taken, so it is the configuration's fault
        raise InvalidInput(f"loading {base_dir}: its configuration cannot be used: {error}; mend config.json") from None
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
    plan = BatchPlan(tuple(lengths), train, workers, packed=train.packing)
    made = Forecast(
        base=base.model, trained_parameters=trained, base_parameters=sum(p.numel() for p in model.parameters()),
        rows=len(lengths), tokens_per_epoch=sum(lengths), steps=plan.steps,
        weights_bytes=_weights(model, lora, dtype), optimizer_bytes=trained * _ADAM_BYTES, sharded=False,
        activations_bytes=_activations(model.config.get_text_config(), train, lora, _most_places(plan), dtype, gpu=gpu),
        process_bytes=0 if gpu else host_memory.process_bytes(dtype),
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
    """Return what is not in layers, a share of the layers, and two layers gathered: one in use, one on its way."""
    each = [sum(p.numel() for p in layer.parameters()) for layer in layers(model)] or [0]
    outside = int(sum(p.numel() for p in model.parameters())) - sum(each)
    return (outside + math.ceil(sum(each) / workers) + 2 * max(each)) * dtype.itemsize


def _most_places(plan: BatchPlan) -> int:
    """Places of the largest micro-batch, as far as the first steps tell."""
    return max(
        sum(plan.lengths[row] for row in rows) if plan.packed else len(rows) * max(plan.lengths[row] for row in rows)
        for step in range(1, min(plan.steps, _STEPS_LOOKED_AT) + 1)
        for worker in range(plan.workers)
        for rows in plan.micro_batches(step, worker)
    )


def _activations(config: Any, train: Train, lora: Lora, tokens: int, dtype: torch.dtype, *, gpu: bool) -> int:
    """Return the most that a micro-batch of `tokens` places holds at once: what is kept, and a layer's or a chunk's
    own.

    Kept for the backward pass: every layer's tensors, or with checkpointing its input and attention's output. The rest
    comes and goes: a chunk's logits, outside the CPU's heap as each tensor of them is large; or the gradients
    of a layer's backward pass and, with checkpointing, its tensors.
    """
    width, layers, size = int(config.hidden_size), int(config.num_hidden_layers), dtype.itemsize
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    heads = int(getattr(config, "num_attention_heads", None) or 1)
    head = int(getattr(config, "head_dim", None) or width // heads)
    queries, keys = heads * head, int(getattr(config, "num_key_value_heads", None) or heads) * head
    # Norms take their input to float32. Attention has queries, keys, values, its output and that again in one piece.
    norms = 2 * width * (_FLOAT32 + size)
    attention = (3 * queries + 2 * keys) * size + heads * _FLOAT32
    layer = norms + attention + (4 * inner + _LINEAR_LAYERS * lora.rank) * size
    kept = width * size + queries * size if train.gradient_checkpointing else layer
    passing = (3 * inner + 2 * width) * size + (layer if train.gradient_checkpointing else 0)
    logits = min(tokens, CHUNK_POSITIONS) * int(config.vocab_size) * _LOGIT_BYTES
    dropout = tokens * max(inner, queries, width) * size * 5 // 4 if lora.dropout else 0
    heap = 1.0 if gpu else host_memory.HEAP_PER_BYTE
    return round(heap * (layers * tokens * kept + dropout) + max(heap * tokens * passing, logits))


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
