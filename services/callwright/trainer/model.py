"""The base with its LoRA adapter on one device.

Owns how a base is loaded, which of its modules are adapted, and how hidden states and logits come out of it. Knows
nothing of data, steps or Ray.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
    set_peft_model_state_dict,
)
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from callwright.errors import InvalidInput
from callwright.spec.model import Base, Lora, Train
from callwright.store.model_folder import WITHOUT_CODE, loading
from callwright.trainer import attention, host_memory
from callwright.trainer.lora import DropoutBits, FusedLinear, fuse
from callwright.trainer.rows import Batch
from callwright.trainer.sharding import shard
from callwright.trainer.targets import target_modules

_PACKABLE_LAYERS = {"full_attention", "sliding_attention"}


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in: `auto` is bfloat16 on a GPU that has it, else float32."""
    match dtype:
        case "auto":
            native = device.type == "cuda" and torch.cuda.is_bf16_supported()
            return torch.bfloat16 if native else torch.float32
        case "bfloat16":
            return torch.bfloat16
        case _:
            return torch.float32


@dataclass(frozen=True)
class AdaptedModel:
    """A base with its adapter, ready to train."""

    model: PeftModel
    packable: bool
    """Whether sequences can stand in one row without attending to each other."""
    bits: DropoutBits | None
    """Dropout's random bits, to be drawn for every step; None without dropout."""
    neftune_alpha: float | None = None
    """Strength of the noise on the embeddings in training."""
    sharded: bool = False
    """Whether this worker holds a share of each layer only, so that all workers must go through the model together."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def widest_input(self) -> int:
        """Features of the widest adapted layer's input."""
        return max((m.in_features for m in self.model.modules() if isinstance(m, FusedLinear)), default=0)

    def hidden_states(self, batch: Batch) -> Tensor:
        """Last hidden states (rows, tokens, width).

        No mask is needed: no token sees the padding after it, and packed sequences don't see each other.
        """
        base = self.model.get_base_model()
        known: dict[str, Any] = {"input_ids": batch.input_ids}
        if self.model.training and self.neftune_alpha is not None:
            known = {"inputs_embeds": self._with_noise(base.get_input_embeddings()(batch.input_ids), batch)}
        if batch.segments is not None:
            known |= {"position_ids": batch.positions, "segments": batch.segments}
        output: Tensor = base.base_model(**known, use_cache=False).last_hidden_state
        return output

    def logits(self) -> Callable[[Tensor], Tensor]:
        """Return what turns hidden states (…, width) into logits (…, vocabulary), the base's own scaling included."""
        base = self.model.get_base_model()
        head, config = base.get_output_embeddings(), base.config.get_text_config()
        cap, divisor = getattr(config, "final_logit_softcapping", None), getattr(config, "logits_scaling", None)
        factor = getattr(config, "logit_scale", None)

        def compute(states: Tensor) -> Tensor:
            made: Tensor = head(states)
            made = made if divisor is None else made / divisor
            made = made if factor is None else made * factor
            return made if cap is None else torch.tanh(made / cap) * cap

        return compute

    def state(self) -> dict[str, Tensor]:
        """Return the adapter's own weights, by PEFT's names."""
        state: dict[str, Tensor] = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put weights saved by `state` back."""
        set_peft_model_state_dict(self.model, state)

    def _with_noise(self, embedded: Tensor, batch: Batch) -> Tensor:
        """NEFTune: uniform noise of alpha / sqrt(length · width), the length being each sequence's own."""
        assert self.neftune_alpha is not None
        width, device = embedded.shape[-1], embedded.device
        if batch.segments is None:
            lengths = torch.full((1, 1), embedded.shape[1], device=device)
        else:
            each = batch.segments.ends.diff()
            lengths = each.repeat_interleave(each, output_size=embedded.shape[1]).unsqueeze(0)
        size = self.neftune_alpha / (lengths * width).sqrt().unsqueeze(-1)
        return embedded + torch.empty_like(embedded).uniform_(-1, 1) * size.to(embedded.dtype)


def load_model(
    base_dir: Path, base: Base, lora: Lora, train: Train, device: torch.device, *, shards: int = 1
) -> AdaptedModel:
    """Load the base on `device` and put a fresh adapter on it, the same on every worker by `train.seed`.

    With `shards` above 1 the workers of the default process group, as many, share out the base's layers.

    Raises `InvalidInput` for a base whose files lack weights, for targets that it does not have, and for quantization
    that is not possible here.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    attention.register()
    if device.type == "cpu":
        host_memory.keep_few_kernels()
    with loading(base_dir):
        model, found = AutoModelForCausalLM.from_pretrained(
            base_dir, dtype=resolve_dtype(train.dtype, device), local_files_only=True, ignore_mismatched_sizes=True,
            output_loading_info=True, use_safetensors=True, **WITHOUT_CODE, **quantization(lora, device)
        )  # fmt: skip
    _refuse_made_up(found, base_dir)
    if lora.quantize == "none":
        model = model.to(device) if shards == 1 else model
    else:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    packable = _is_packable(model)
    if packable:
        model.set_attn_implementation(attention.NAME)
    model.config.use_cache = False
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, use_rslora=lora.rslora, use_dora=lora.dora,
        target_modules=target_modules(model, lora.targets, base=base.model),
        modules_to_save=list(lora.modules_to_save) or None, task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(train.seed)
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base.model
    adapted.peft_config["default"].revision = base.revision
    if train.gradient_checkpointing:
        adapted.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": attention.checkpoint_contexts}
        )
    bits = fuse(adapted, lora.dropout)
    if shards > 1:
        shard(adapted.get_base_model(), device, shards)
    return AdaptedModel(adapted, packable and train.packing, bits, train.neftune_alpha, sharded=shards > 1)


def _refuse_made_up(found: Mapping[str, Any], base_dir: Path) -> None:
    """Raise `InvalidInput` for weights that the files do not have, or in another shape: transformers draws them."""
    made_up = sorted({*found["missing_keys"], *(str(name) for name, *_ in found["mismatched_keys"])})
    if made_up:
        more = f" and {len(made_up) - 5} more" if len(made_up) > 5 else ""
        raise InvalidInput(
            f"loading the base: {base_dir} lacks {', '.join(made_up[:5])}{more}, or has it in another shape than its "
            "config.json says; fetch the base again"
        )


def _is_packable(model: Any) -> bool:
    """Return whether tokens meet only in attention, and that through transformers' attention interface."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    return bool(model._supports_attention_backend and model._supports_sdpa and kinds <= _PACKABLE_LAYERS)


def quantization(lora: Lora, device: torch.device) -> dict[str, Any]:
    """Return how transformers is to load the base, for `lora.quantize`. Raises `InvalidInput` where that cannot be
    done.
    """
    if lora.quantize == "none":
        return {}
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if device.type != "cuda" or not is_bitsandbytes_available():
        got = f"{device.type}{'' if is_bitsandbytes_available() else ' and no bitsandbytes'}"
        raise InvalidInput(
            f"loading the base: lora.quantize is {lora.quantize}; got {got}; expected a GPU and bitsandbytes; set "
            "resources.gpusPerWorker and install callwright[gpu], or set lora.quantize to none"
        )
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    return {"quantization_config": config, "device_map": {"": device}}
